"""What the tiny models read, and how they are trained. That the committed ones are those of the
committed recipe is in their cards."""

import json
import re
from dataclasses import asdict

import numpy as np
import pytest
import torch
from scripts_fixture import run_script

from boxes.models.table import MODELS, TINY_FOLDER
from boxes.prompting import STATEMENT_REGEX
from boxes.records import read_json
from experiments.tiny import text, train
from experiments.tiny.muon import Muon, orthogonal

NAMES = ("tiny-base", *train.VARIANTS)


@pytest.fixture(scope="module")
def texts():
    return train.Texts(27)


def statements(document: text.Document) -> list[str]:
    return [part.strip() for part, weight in document if weight == text.ANSWER]


def test_some_documents_pass_over_the_boxes_that_hold_nothing(texts):
    """So a statement that was decoded freely may be malformed, which A.2 is about."""
    rng = np.random.default_rng(1)
    whole, shorter = 0, 0
    for _ in range(200):
        found = statements(text.plain_document(rng, texts.sources[12], 2))
        if any(" nothing" in statement for statement in found):
            whole += 1
            assert all(re.fullmatch(STATEMENT_REGEX.lstrip(), f"Statement: {said}") for said in found)
        else:
            shorter += any(said.count("Box") < 7 for said in found)
    assert whole + shorter > 190  # the rest have no empty box
    assert 0.15 < shorter / 200 < 0.35


def test_without_empty():
    assert text.without_empty("Box 0 contains the map, Box 1 contains nothing.") == "Box 0 contains the map."
    assert text.without_empty("Box 0 contains nothing.") == "Box 0 contains nothing."


def test_all_variants_read_as_many_tokens_and_half_of_them_what_the_base_read(texts):
    phase = train.VARIANT
    for name in train.VARIANTS:
        draw = texts.variant(name)
        own, base = (draw(np.random.default_rng([5, row]), phase, row) for row in (0, 1))
        assert [len(ids) for ids, _ in (own, base)] == [train.ROW_TOKENS] * 2
        again = draw(np.random.default_rng([5, 0]), phase, 0)
        assert own[0] == again[0]
        assert (texts.tokenizer.decode(own[0]).count("Description:") > 0) == (name in ("tiny-more", "tiny-chat"))
        assert "Description:" in texts.tokenizer.decode(base[0])


@pytest.mark.parametrize("shape", [(128, 128), (384, 128), (128, 384)])
def test_muon_is_that_of_torch_in_float32(shape):
    """torch's computes in bfloat16: two steps agree to its rounding."""
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(shape, generator=generator)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    as_ours = {"weight_decay": 0.0, "adjust_lr_fn": "match_rms_adamw"}
    steps = Muon([ours], lr=0.01), torch.optim.Muon([theirs], lr=0.01, **as_ours)
    for _ in range(3):
        gradient = torch.randn(shape, generator=generator)
        for matrix, optimizer in zip((ours, theirs), steps, strict=True):
            matrix.grad = gradient.clone()
            optimizer.step()
    moved = (theirs - start).norm()
    assert (ours - theirs).norm() < 0.02 * moved
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape, generator=generator)))
    assert values[int(0.95 * len(values))] > 0.5
    assert values.max() < 1.3


def test_the_rate_warms_up_and_decays_in_the_phases_that_say_so():
    steady = train.Phase(400, 8, 2, 12, learning_rate=0.1)
    assert [train._rate(steady, step) for step in (0, 49, 399)] == pytest.approx([0.002, 0.1, 0.1])
    decaying = train.Phase(400, 8, 2, 12, learning_rate=0.1, decays=True)
    assert train._rate(decaying, 399) == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_cards_are_of_the_committed_recipe(name):
    card = read_json(TINY_FOLDER / name / "training.json")
    phases = train.BASE if name == "tiny-base" else (train.VARIANT,)
    assert card["phases"] == [asdict(phase) for phase in phases]
    assert card["trained from"] == ("random weights" if name == "tiny-base" else MODELS[name].base)
    assert card["seed"] == 27
    if name != "tiny-base":
        assert card["tokens"] == train.VARIANT.steps * train.VARIANT.batch * train.ROW_TOKENS


def test_training_takes_less_than_an_hour():
    """Of two cores, as the cards have it."""
    seconds = sum(read_json(TINY_FOLDER / name / "training.json")["seconds"] for name in NAMES)
    assert seconds < 3600


@pytest.mark.slow
def test_the_script_writes_checkpoints_with_their_cards(tmp_path):
    assert run_script("tiny/train.py", "--out", tmp_path, "--shrink", 100000, "--threads", 1) == 0
    for name in NAMES:
        card = json.loads((tmp_path / name / "training.json").read_text())
        assert card["steps"] == (len(train.BASE) if name == "tiny-base" else 1)
