"""Sizes of models: one formula, whoever names gigabytes."""

import re
from pathlib import Path

import pytest

from boxes.models.shapes import SHAPES, file_bytes, gigabytes, parameter_count, weight_bytes
from boxes.models.table import MODELS, models_of

ROOT = Path(__file__).resolve().parents[2]


def test_every_model_of_the_paper_has_the_shape_of_its_size():
    for spec in models_of("paper", extra=False):
        billions = SHAPES[spec.shape].parameters / 1e9
        assert billions == pytest.approx(float(spec.size.removesuffix("B")), rel=0.08), spec.name
    assert parameter_count(MODELS["Llama-2-7b-hf"]) == 6_738_415_616  # as its model card counts


def test_a_row_of_no_known_shape_counts_by_its_size():
    assert MODELS["Qwen2.5-7B"].shape is None
    assert parameter_count(MODELS["Qwen2.5-7B"]) == 7e9
    assert weight_bytes(MODELS["tiny-base"], 4) == 4e6


def test_files_are_counted_as_they_were_published():
    assert gigabytes(file_bytes(MODELS["Llama-2-7b-hf"])) == "13.5 GB"
    assert file_bytes(MODELS["llemma_34b"]) == 2 * file_bytes(MODELS["CodeLlama-34b-hf"])
    assert weight_bytes(MODELS["llemma_34b"]) == weight_bytes(MODELS["CodeLlama-34b-hf"])


def test_the_sum_is_that_of_claims_md():
    total = gigabytes(sum(map(file_bytes, models_of("paper", extra=False))))
    assert total in re.sub(r"\s+", " ", (ROOT / "CLAIMS.md").read_text())
