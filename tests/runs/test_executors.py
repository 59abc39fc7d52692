"""Models in processes: never two on one GPU, never more than there are, none left locked. A made-up
nvidia-smi names the GPUs."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from boxes.runs.devices import gpus

ROOT = Path(__file__).resolve().parents[2]
CORES = len(os.sched_getaffinity(0))
SHARES = min(2, CORES)
# Runs one work on what it is given, as 04_decode.py does; it notes when it began and ended, and on
# what, and ends when the file that it is told is there.
DRIVER = """
import argparse, json, os, signal, sys, time
from dataclasses import dataclass
from pathlib import Path
from boxes.commandline import command
from boxes.records import UserError
from boxes.runs.devices import Machine, gpus
from boxes.runs.executors import run_all

signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background inherit it ignored
parser = argparse.ArgumentParser()
parser.add_argument("log", type=Path)
parser.add_argument("until", type=Path)
parser.add_argument("--locks", type=Path)
parser.add_argument("--once", type=Path)
parser.add_argument("--model", default="Llama-2-7b-hf")
for name in ("--gpus", "--jobs"):
    parser.add_argument(name, type=int)
for name in ("--device", "--dtype"):
    parser.add_argument(name)
asked = parser.parse_args()


@dataclass
class Noting:
    name: str
    lock: Path

    def run(self, place):
        note = {"gpus": os.environ.get("CUDA_VISIBLE_DEVICES"), "pid": os.getpid(), "began": time.monotonic(),
                "device": place.device, "threads": os.environ.get("OMP_NUM_THREADS")}
        asked.log.with_suffix(".began").write_text(json.dumps(note))
        end = time.monotonic() + 20
        while not asked.until.exists() and time.monotonic() < end:
            time.sleep(0.01)
        asked.log.write_text(json.dumps(note | {"ended": time.monotonic()}))


@command
def main():
    cores = len(os.sched_getaffinity(0))
    options = (asked.device, asked.dtype, asked.gpus)
    machine = Machine(asked.locks, gpus(), cores, asked.jobs or 1, *options)
    if run_all([Noting(asked.model, asked.once or asked.log.with_suffix(".lock"))], machine):
        raise UserError("ended badly")


main()
"""


class Slots:
    """Jobs of DRIVER on a machine with so many GPUs of so many MiB."""

    def __init__(self, folder: Path, count: int, mebibytes: int = 80_000):
        self.folder, self.jobs = folder, []
        smi = folder / "bin" / "nvidia-smi"
        smi.parent.mkdir()
        lines = "\n".join(f"echo '{index}, GPU-{index:04}, {mebibytes}'" for index in range(count))
        smi.write_text(f"#!/bin/sh\n{lines or 'exit 9'}\n")
        smi.chmod(0o755)
        (folder / "driver.py").write_text(DRIVER)
        self.environment = {
            key: value for key, value in os.environ.items() if key not in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
        }
        self.environment |= {"PATH": f"{smi.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

    def start(self, *options: str, until: str = ".", **variables: str) -> Path:
        """Start a job; the file of its notes. `until`: the file that it waits for (default:
        none)."""
        log = self.folder / f"job{len(self.jobs)}.json"
        line = [
            sys.executable,
            self.folder / "driver.py",
            log,
            self.folder / until,
            "--locks",
            self.folder / "locks",
            *options,
        ]
        self.jobs.append(subprocess.Popen(line, env=self.environment | variables, stderr=subprocess.PIPE, text=True))
        return log

    def notes(self) -> list[dict]:
        """What the jobs noted, when all have ended well."""
        for job in self.jobs:
            assert job.wait(60) == 0, job.stderr.read()
        return [json.loads((self.folder / f"job{number}.json").read_text()) for number in range(len(self.jobs))]


@pytest.fixture
def machine(tmp_path):
    made = []

    def make(count: int, **more) -> Slots:
        made.append(Slots(tmp_path, count, **more))
        return made[0]

    yield make
    for job in made[0].jobs if made else []:
        job.kill()
        job.wait()


def wait_for(path: Path) -> dict:
    end = time.monotonic() + 30
    while not path.exists() or not path.read_text():
        assert time.monotonic() < end, f"{path} did not come"
        time.sleep(0.02)
    return json.loads(path.read_text())


def overlapping(notes: list[dict]) -> list[tuple[dict, dict]]:
    """The pairs of jobs of which one began before the other ended."""
    ordered = sorted(notes, key=lambda note: note["began"])
    return [
        (one, other)
        for place, one in enumerate(ordered)
        for other in ordered[place + 1 :]
        if other["began"] < one["ended"]
    ]


def test_each_job_has_a_gpu_of_its_own_and_the_rest_wait(machine):
    slots = machine(3)
    running = [slots.start(until="go").with_suffix(".began") for _ in range(3)]
    gpus = [wait_for(path)["gpus"] for path in running]
    assert sorted(gpus) == ["0", "1", "2"]
    waiting = [slots.start().with_suffix(".began") for _ in range(3)]
    time.sleep(1.5)
    assert not any(path.exists() for path in waiting)
    (slots.folder / "go").touch()
    notes = slots.notes()
    assert all(one["gpus"] != other["gpus"] for one, other in overlapping(notes))
    assert {note["gpus"] for note in notes} <= {"0", "1", "2"}


def test_several_gpus_are_taken_together_and_never_shared(machine):
    slots = machine(3)
    for _ in range(4):
        slots.start("--gpus", "2")
    notes = slots.notes()
    assert not overlapping(notes)
    assert all(len(set(note["gpus"].split(","))) == 2 and note["device"] == "auto" for note in notes)


def test_a_killed_job_leaves_its_gpu(machine):
    slots = machine(1)
    killed = wait_for(slots.start(until="never").with_suffix(".began"))
    after = slots.start().with_suffix(".began")
    time.sleep(1)
    assert not after.exists()
    os.kill(killed["pid"], signal.SIGKILL)
    assert wait_for(after)["gpus"] == "0"


def test_a_killed_starter_does_not_leave_its_job_behind(machine):
    """Its process ends with it, and leaves the GPU to the next."""
    slots = machine(1)
    log = slots.start(until="never")
    wait_for(log.with_suffix(".began"))
    after = slots.start().with_suffix(".began")
    slots.jobs[0].kill()
    assert wait_for(after)["gpus"] == "0"
    assert not log.exists()  # it did not come to its end


@pytest.mark.parametrize(("number", "said"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "ended by SIGTERM")])
def test_a_signal_ends_all_in_one_line(machine, number, said):
    slots = machine(1)
    log = slots.start(until="never")
    wait_for(log.with_suffix(".began"))
    slots.jobs[0].send_signal(number)
    assert slots.jobs[0].wait(20) == 128 + number
    assert slots.jobs[0].stderr.read() == f"driver.py: {said}; what was written is kept\n"
    assert not log.exists()


def test_the_same_run_is_not_made_twice_at_a_time(machine):
    slots = machine(2)
    for _ in range(2):
        slots.start("--once", str(slots.folder / "runs" / ".a.lock"))
    assert not overlapping(slots.notes())


def test_the_second_says_for_whom_it_waits(machine):
    slots = machine(2)
    once = ("--once", str(slots.folder / "runs" / ".a.lock"))
    first = wait_for(slots.start(*once, until="go").with_suffix(".began"))
    slots.start(*once)
    said = slots.jobs[1].stderr.readline()
    assert re.fullmatch(rf"{once[1]}: in use by process {first['pid']} on \S+ since \S+; waiting for it\n", said)
    (slots.folder / "go").touch()
    assert not overlapping(slots.notes())


def test_without_a_gpu_a_large_model_has_the_cpu_to_itself(machine):
    slots = machine(0)
    for model in ("Llama-2-7b-hf", "tiny-base", "Llama-2-7b-hf"):
        slots.start("--jobs", "2", "--model", model)
    notes = slots.notes()
    assert not overlapping(notes)
    assert [(note["gpus"], note["device"]) for note in notes] == [(None, None)] * 3
    assert notes[0]["threads"] == str(CORES)


def test_without_a_gpu_small_models_share_the_cores(machine):
    slots = machine(0)
    running = [
        slots.start("--jobs", "2", "--model", "tiny-base", until="go").with_suffix(".began") for _ in range(SHARES)
    ]
    assert [wait_for(path)["threads"] for path in running] == [str(CORES // SHARES)] * SHARES  # at the same time
    waiting = slots.start("--jobs", "2", "--model", "tiny-base", OMP_NUM_THREADS="3").with_suffix(".began")
    time.sleep(1.5)
    assert not waiting.exists()
    (slots.folder / "go").touch()
    assert slots.notes()[-1]["threads"] == "3"  # the user's own goes before


@pytest.mark.parametrize(
    ("visible", "expected"), [("1", "1"), ("2,0", "2"), ("GPU-0001", "GPU-0001"), ("", ""), ("-1", "-1")]
)
def test_gpus_that_are_hidden_are_not_taken(machine, visible, expected):
    slots = machine(3)
    slots.start(CUDA_VISIBLE_DEVICES=visible)
    assert [note["gpus"] for note in slots.notes()] == [expected]


@pytest.mark.parametrize("named", ["0", "NoDevFiles", "0,1"])
def test_without_a_gpu_none_is_visible(machine, monkeypatch, named):
    slots = machine(0)
    monkeypatch.setenv("PATH", slots.environment["PATH"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert gpus() == {}
    slots.start("--jobs", "1", "--model", "tiny-base", CUDA_VISIBLE_DEVICES=named)
    [note] = slots.notes()
    assert (note["gpus"], note["threads"]) == (named, str(CORES))  # as it was, with all cores


@pytest.mark.parametrize(
    ("asked", "gpus", "loaded_on"),
    [("cuda:1", "1", "cuda"), ("auto", "0,1", "auto"), ("cpu", None, "cpu")],
)
def test_the_number_of_a_device_is_heeded(machine, asked, gpus, loaded_on):
    slots = machine(2)
    slots.start("--device", asked)
    [note] = slots.notes()
    assert (note["gpus"], note["device"]) == (gpus, loaded_on)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--gpus", "3"), "GPUS_PER_MODEL=3, but there are 2 GPUs"),
        (("--device", "cuda:2"), "--device cuda:2: there are 2 GPUs, cuda:0 is the first"),
        (("--model", "tiny-bse"), "unknown model 'tiny-bse'; did you mean tiny-base"),
    ],
)
def test_what_cannot_be_is_one_line(machine, options, message):
    slots = machine(2)
    slots.start(*options)
    assert slots.jobs[0].wait(30) == 2
    [line] = slots.jobs[0].stderr.read().splitlines()
    assert line.startswith(f"driver.py: {message}")
