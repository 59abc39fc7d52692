"""Sizes of models: one formula, whoever names gigabytes."""

import re
from pathlib import Path

import pytest

from boxes.models.shapes import (
    SHAPES,
    download_bytes,
    file_bytes,
    gigabytes,
    parameter_count,
    shape_of,
    weight_bytes,
)
from boxes.models.table import MODELS, models_of

ROOT = Path(__file__).resolve().parents[2]


def test_every_model_of_the_paper_has_the_shape_of_its_size():
    for spec in models_of("paper", extra=False):
        billions = SHAPES[spec.shape].parameters / 1e9
        assert billions == pytest.approx(float(spec.size.removesuffix("B")), rel=0.08), spec.name
    assert parameter_count(MODELS["Llama-2-7b-hf"]) == 6_738_415_616  # as its model card counts


# As their model cards or their configurations count; biases and the norms of heads are left out here.
PARAMETERS = {
    "Qwen2.5-0.5B": 494_032_768, "Qwen2.5-Coder-1.5B": 1_543_714_304, "SmolLM2-135M": 134_515_008,
    "SmolLM2-360M": 361_821_120, "gemma-3-270m": 268_098_176, "gemma-3-1b-pt": 999_885_952,
    "Llama-3.2-1B": 1_235_814_400, "OLMo-2-0425-1B": 1_484_916_736,
}  # fmt: skip


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_small_shapes_are_those_of_the_models(name):
    assert parameter_count(MODELS[name]) == pytest.approx(PARAMETERS[name], rel=2e-4)


def test_every_small_model_has_a_shape():
    for spec in models_of("small", extra=False):
        assert shape_of(spec) == shape_of(MODELS[spec.base]) if spec.base else shape_of(spec), spec.name


def test_of_a_packaged_model_another_size_is_fetched_than_is_written():
    spec = MODELS["smollm2-135m-instruct-q4_1"]
    assert gigabytes(download_bytes(spec)) == "0.1 GB"
    assert gigabytes(file_bytes(spec)) == "0.5 GB"
    assert download_bytes(MODELS["Qwen2.5-7B"]) == file_bytes(MODELS["Qwen2.5-7B"])


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
