"""Predicted seconds: which forwards are recorded, what is counted of them, and that a measurement takes a prediction's
place, row by row."""

from pathlib import Path

import pandas as pd
import pytest
from decoding_fixture import BASE, engine, tiny_prompts

from boxes.decoding.forward import common_prefix
from boxes.models.shapes import SHAPES
from experiments.bench import predict, predicted, schedule
from experiments.bench.predicted import BANDWIDTH, FLOPS, LAUNCH
from paper import bench

pytestmark = pytest.mark.usefixtures("one_thread")
LAUNCHES = 33  # at least, of a layer and forward
H200 = "NVIDIA H200"


def test_every_forward_is_recorded():
    """The prefix once, every own token in one prefill and of the drafts what paid; then steps."""
    asked = tiny_prompts(BASE, 6)
    rows = schedule.record(BASE, asked, part=0.02)
    assert all(set(row) == set(schedule.COLUMNS) for row in rows)
    tokens = pd.DataFrame(rows).groupby("phase", sort=False).tokens.sum()
    assert list(tokens.index) == ["prefix", "prefill", "step"]
    assert all(row["decided"] >= row["rows"] for row in rows[1:])
    read = engine().prompts(asked)
    shared = common_prefix([prompt.ids for prompt in read])
    own = sum(len(prompt.ids) - shared for prompt in read)
    assert tokens["prefix"] == shared
    assert own <= tokens["prefill"] <= own + sum(len(prompt.draft.tokens) for prompt in read)
    for row in rows:
        assert row["tokens"] <= row["rows"] * row["columns"]
        assert row["columns"] <= row["width"]


def test_seconds_are_predicted_from_operations_bytes_and_launches():
    shape, tokens, same = SHAPES["7b"], 8 * 256, {"model": BASE, "part": 1.0}
    prefix = same | {"phase": "prefix", "rows": 1, "columns": 448, "tokens": 448, "width": 448, "decided": 0}
    prefill = same | {"phase": "prefill", "rows": 8, "columns": 256, "tokens": tokens, "width": 256, "decided": 64}
    step = same | {"phase": "step", "rows": 1, "columns": 33, "tokens": 33, "width": 320, "decided": 33}
    found = predict.predict("7b", pd.DataFrame([prefix, prefill, step, step], columns=schedule.COLUMNS))
    assert (found["status"], found["forwards"]) == ("predicted", 4)
    arithmetic = 2 * shape.layer_parameters * (448 + tokens) / FLOPS
    assert 1.5 * arithmetic < found["prefill_seconds"] < 3 * arithmetic  # half of it is no product
    weights = 2 * (shape.layer_parameters + shape.head_parameters) / BANDWIDTH  # read in every step
    assert 2 * weights < found["step_seconds"] < 2.5 * weights
    # Two steps of one row do little: the device waits for their kernels to be launched.
    launching = 2 * shape.layers * LAUNCHES * LAUNCH
    assert found["waiting_seconds"] > launching - found["step_seconds"] > 0
    parts = found["prefill_seconds"] + found["step_seconds"] + found["waiting_seconds"]
    assert found["seconds"] == pytest.approx(parts)


@pytest.fixture
def predictions(tmp_path) -> Path:
    """Two shapes, each with the schedules of two models."""
    same = {"part": 1.0, "gpus": 1, "prompts": 714, "seconds": 4.0, "status": "predicted"}
    rows = [same | {"shape": shape, "schedule": name} for shape in ("7b", "13b") for name in ("tiny-base", "real")]
    pd.DataFrame(rows, columns=predicted.COLUMNS).to_csv(tmp_path / "predicted.csv", index=False)
    return tmp_path / "predicted.csv"


def measured(shape: str, seconds: float, device: str = H200, dtype: str = "bfloat16", prompts: int = 714) -> dict:
    """What shapes.py has of a shape."""
    return {"shape": shape, "device": device, "dtype": dtype, "prompts": prompts, "seconds": seconds}


def test_what_is_measured_takes_the_place_of_what_was_predicted(predictions):
    """The row of the shape and the model that is inflated; the others stay predicted."""
    said = predicted.take_measured(predictions, measured("7b", 5.0))
    assert said == "7b: 5.0 s on NVIDIA H200; 4.0 s were predicted, 1.25 times that"
    table = pd.read_csv(predictions)
    assert list(table.status) == ["measured", "predicted", "predicted", "predicted"]
    assert (table.off[0], table.measured_seconds[0], table.device[0]) == (1.25, 5.0, H200)
    predicted.take_measured(predictions, measured("13b", 2.0))
    assert list(pd.read_csv(predictions).status) == ["measured", "predicted"] * 2
    page = bench.TABLES["predicted"][1](pd.read_csv(predictions)).splitlines()
    rows = [line for line in page if line.startswith(("| 7b", "| 13b"))]
    assert ["**measured**" in row for row in rows] == [True, False] * 2
    assert ["**predicted**" in row for row in rows] == [False, True] * 2
    assert "5.0 (NVIDIA H200)" in rows[0]


def test_another_card_is_not_held_against_what_was_predicted(predictions):
    predicted.take_measured(predictions, measured("7b", 5.0))
    said = predicted.take_measured(predictions, measured("7b", 9.0, "NVIDIA A100"))
    assert said == "7b: 9.0 s on NVIDIA A100; 4.0 s were predicted for an NVIDIA H200"
    table = pd.read_csv(predictions)
    assert (table.measured_seconds[0], table.device[0]) == (9.0, "NVIDIA A100")
    assert table.off.isna().all()


@pytest.mark.parametrize("other", [{"prompts": 64}, {"dtype": "float32"}, {"shape": "34b"}])
def test_what_was_not_predicted_changes_no_prediction(predictions, other):
    before = predictions.read_bytes()
    assert "nothing was predicted" in predicted.take_measured(predictions, measured("7b", 1.0) | other)
    assert "nothing was predicted" in predicted.take_measured(predictions.with_name("none.csv"), measured("7b", 1.0))
    assert predictions.read_bytes() == before


def test_new_predictions_leave_what_was_measured(predictions):
    predicted.take_measured(predictions, measured("7b", 5.0))
    anew = pd.read_csv(predictions)[["shape", "schedule", "part", "prompts", "seconds"]].assign(seconds=10.0)
    anew = pd.DataFrame(anew.assign(status="predicted"), columns=predicted.COLUMNS)
    table = predicted.keep_measured(anew, predictions)
    assert list(table.status) == ["measured", "predicted", "predicted", "predicted"]
    assert (table.measured_seconds[0], table.off[0]) == (5.0, 0.5)
    assert list(predicted.keep_measured(anew, predictions.with_name("none.csv")).status) == ["predicted"] * 4
