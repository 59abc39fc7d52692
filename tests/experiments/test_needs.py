"""What a model's job asks for follows from what make doctor says of the model."""

import argparse
import math
import runpy
from pathlib import Path

import pytest

from boxes.models.table import MODELS, models_of, spec_of
from boxes.records import write_text
from boxes.runs.model_runs import ModelRuns
from boxes.runs.submission import Needs
from boxes.runs.task import Settings
from experiments.tools import prediction
from experiments.tools.checkup import Checkup, check_memory
from experiments.tools.needs import ANY_GPU, SLACK, memory_needed, minutes_of, needs_of, seconds_of

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = Path("no-such-bench.csv")
HEAD = "shape,device,status,seconds\n"


@pytest.mark.parametrize(
    ("name", "gpus", "device", "dtype", "expected"),
    [
        ("tiny-base", None, None, None, Needs(0, 1, 4, 240)),
        ("tiny-base", 1, None, None, Needs(1, 1, 4, 240)),
        ("tiny-base", None, "cuda", None, Needs(1, 1, 4, 240)),
        ("tiny-base", 1, "cpu", None, Needs(0, 1, 4, 240)),
        ("CodeLlama-7b-hf", None, None, None, Needs(1, 4, 20, 240)),
        ("Llama-2-70b-hf", None, None, None, Needs(3, 4, 168, 240)),
        ("Llama-2-70b-hf", 2, None, None, Needs(2, 4, 168, 240)),
        ("Llama-2-70b-hf", None, "auto", "float32", Needs(5, 4, 336, 240)),
    ],
)
def test_what_a_model_needs(name, gpus, device, dtype, expected):
    assert needs_of(spec_of(name), gpus, device, dtype, NOWHERE, {}) == expected


@pytest.mark.parametrize("name", ["tiny-base", "CodeLlama-7b-hf", "gemma-7b"])
def test_memory_is_doctors_with_room(name):
    row = Checkup()
    check_memory(MODELS[name], None, {"0": 80 * 10**9}, None, row)
    assert row.need == memory_needed(MODELS[name], 2)
    needs = needs_of(MODELS[name], 1, None, None, NOWHERE, {})
    assert row.need < needs.gigabytes * 1e9 < 1.2 * row.need + 6e9


def test_a_processor_is_asked_for_the_minutes_that_doctor_predicts(monkeypatch):
    """At float32, on as many threads as the job has cores."""
    threads = []
    monkeypatch.setattr("torch.set_num_threads", threads.append)
    monkeypatch.setattr(prediction, "speed_of", lambda *_: 1e11)
    spec = MODELS["SmolLM2-135M"]
    needs = needs_of(spec, None, "cpu", None, NOWHERE, {})
    assert needs == Needs(0, 4, 4, minutes_of(prediction.predicted_seconds(spec, {})))
    assert threads == [4]
    slower = needs_of(spec, None, "cpu", None, NOWHERE, {(576, 1536): 1e9})
    assert slower.minutes > needs.minutes


def test_a_gpu_that_is_not_known_is_the_slowest_that_was_measured(tmp_path):
    rows = ("7b,GPU A,measured,400", "7b,GPU B,measured,4000", "7b,GPU C,failed,9999", "13b,GPU A,not measured,",
            '7b,"AMD EPYC, 2 threads",measured,99999')  # fmt: skip
    bench = tmp_path / "shapes.csv"
    write_text(bench, HEAD + "\n".join(rows) + "\n")
    assert seconds_of(MODELS["Llama-2-7b-hf"], bench, ANY_GPU) == 4000
    assert seconds_of(MODELS["Llama-2-13b-hf"], bench, ANY_GPU) is None
    minutes = [
        needs_of(MODELS[name], None, None, None, bench, {}).minutes for name in ("Llama-2-7b-hf", "Llama-2-13b-hf")
    ]
    assert minutes == [minutes_of(4000), 240]


@pytest.mark.parametrize(
    ("seconds", "minutes"), [(None, 240), (0, 30), (450, 30), (451, 60), (3600, 240), (3601, 480), (36000, 3840)]
)
def test_minutes_are_doubled_until_they_are_enough(seconds, minutes):
    assert minutes_of(seconds) == minutes
    assert seconds is None or SLACK * seconds <= 60 * minutes


@pytest.mark.parametrize("profile", ["tiny", "paper", "modern"])
def test_like_models_share_an_array(profile):
    specs = models_of(profile, extra=False)
    kinds = {needs_of(spec, None, None, None, NOWHERE, {}) for spec in specs}
    assert len(kinds) <= math.ceil(len(specs) / 4)


@pytest.mark.parametrize(
    ("name", "gpus", "device", "expected"),
    [
        ("tiny-base", None, None, "cpu"),  # it has asked for no GPU, whatever the node has
        ("tiny-base", 1, None, None),
        ("tiny-base", 1, "cuda:1", "cuda"),
        ("CodeLlama-7b-hf", 1, "auto", "cuda"),
        ("Llama-2-70b-hf", None, "cuda", "auto"),
    ],
)
def test_04_hands_a_job_what_it_was_told(tmp_path, name, gpus, device, expected):
    submissions = runpy.run_path(str(ROOT / "experiments/04_decode.py"))["submissions"]
    told = {"prompt_format": None, "prompt_style": "table2", "max_new_tokens": 9, "batch_size": None, "dtype": None}
    told |= {"gpus": gpus, "device": device, "data": Path("a.jsonl"), "dev": Path("b.jsonl"), "bench": NOWHERE}
    model = ModelRuns(name, tmp_path / name, None, None, Settings())
    (one,) = submissions(argparse.Namespace(**told), [model])
    words = list(one.command.words)
    options = dict(zip(words[2::2], words[3::2], strict=True))
    device_told = {"--device": expected} if expected else {}
    assert options == device_told | {
        "--model": name, "--out": str(tmp_path / name), "--data": "a.jsonl", "--dev": "b.jsonl",
        "--prompt-style": "table2", "--max-new-tokens": "9",
    }  # fmt: skip
    assert (one.name, one.lock, one.command.cores) == (name, model.lock, one.needs.cores)
