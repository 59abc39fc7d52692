"""The tiny profile decoded over two nodes of Slurm and of Ray: the bytes of a run on one machine, whatever becomes of a
node."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, until

from boxes.models.table import models_of

pytestmark = pytest.mark.cluster
MODELS = [spec.name for spec in models_of("tiny", extra=False)]
WHOLE = ROOT / "data/boxes/test-subsample-states-t5.jsonl"
LINES = 7 * 40  # of a part of the dataset, seven a description


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    """The beginning of the evaluated subset, where it is not the bytes that matter most."""
    path = tmp_path_factory.mktemp("data") / "part.jsonl"
    path.write_text("".join(WHOLE.read_text().splitlines(keepends=True)[:LINES]))
    return path


class Decoding:
    """One 04_decode.py over the models, in an environment."""

    def __init__(self, data: Path, runs: Path, where: str, environment, *more: str):
        self.runs, self.status, self.environment = runs, runs / "status.csv", dict(environment)
        script = [sys.executable, str(ROOT / "experiments/04_decode.py"), "--profile", "tiny", "--models", *MODELS]
        paths = ["--data", str(data), "--runs", str(runs), "--out", str(self.status)]
        # Not all at a time, so that there is a middle to be stopped in.
        command = [*script, *paths, "--where", where, "--batch-size", "16", "--dtype", "float32", *more]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=self.environment | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True
        )

    def ended(self) -> tuple[int, str]:
        """Exit status and what was said."""
        said = self.process.communicate(timeout=1500)[1]
        return self.process.returncode, said

    def predictions(self) -> dict[str, list[bytes]]:
        """Every line; their order is that in which rows were finished."""
        return {name: sorted((self.runs / name / "predictions.jsonl").read_bytes().splitlines()) for name in MODELS}

    def begun(self) -> bool:
        """Whether the first model has written something."""
        path = self.runs / MODELS[0] / "predictions.jsonl"
        return path.exists() and path.stat().st_size > 0

    def rows(self) -> list[dict]:
        return list(csv.DictReader(self.status.read_text().splitlines()))

    def jobs(self) -> dict[str, str]:
        """The job of each model, as soon as they are recorded."""
        record = self.runs / ".jobs/slurm.json"
        until(record.exists)
        return json.loads(record.read_text())


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """What one machine decodes of the whole subset."""
    run = Decoding(WHOLE, tmp_path_factory.mktemp("runs") / "local", "local", os.environ)
    status, said = run.ended()
    assert status == 0, said
    return run.predictions()


def said_by(environment, *command: str) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def jobs(environment, states: str = "all") -> list[str]:
    return said_by(environment, "squeue", "--noheader", "--array", f"--states={states}", "--format=%i").split()


def test_slurm_gives_the_same_when_a_job_is_stopped_and_a_node_drained(local, slurm, tmp_path):
    options = ("--gpus", "1", "--cluster=--partition=all --comment=boxes")
    run = Decoding(WHOLE, tmp_path / "runs", "slurm", slurm, *options)
    until(run.begun)
    identity = run.jobs()[MODELS[0]]
    said_by(slurm, "scontrol", "requeue", identity)  # as a preemption does
    said_by(slurm, "scontrol", "update", "nodename=node2", "state=drain", "reason=test")
    try:
        until(lambda: "PENDING" in said_by(slurm, "squeue", "-h", "-o%T", f"-j{identity}", "-tall"))
        said_by(slurm, "scontrol", "update", f"jobid={identity}", "starttime=now")  # not in two minutes
        status, said = run.ended()
        assert status == 0, said
    finally:
        said_by(slurm, "scontrol", "update", "nodename=node2", "state=resume")
    assert run.predictions() == local
    assert [row["status"] for row in run.rows() if row["run"] == "own"] == ["complete"] * len(MODELS)
    for row in run.rows():
        log = Path(row["job"].partition(": ")[2])
        assert row["job"].startswith("slurm ")
        assert log.exists()


def test_a_second_command_waits_for_the_jobs_of_one_that_was_killed(part, local, slurm, tmp_path):
    first = Decoding(part, tmp_path / "runs", "slurm", slurm)
    first.jobs()
    first.process.kill()
    first.ended()
    before = jobs(slurm)
    second = Decoding(part, tmp_path / "runs", "slurm", slurm)
    status, said = second.ended()
    assert status == 0, said
    for name, lines in second.predictions().items():
        assert len(lines) == LINES // 7
        assert set(lines) <= set(local[name])
    assert set(jobs(slurm)) <= set(before)


def test_ctrl_c_cancels_what_was_submitted(part, slurm, tmp_path):
    run = Decoding(part, tmp_path / "runs", "slurm", slurm)
    run.jobs()
    run.process.send_signal(signal.SIGINT)
    assert run.ended()[0] == 130
    until(lambda: not jobs(slurm, "PENDING,RUNNING,COMPLETING"))


def test_a_failed_job_says_why(part, slurm, tmp_path):
    run = Decoding(part, tmp_path / "runs", "slurm", slurm)
    identity = run.jobs()[MODELS[0]]
    until(lambda: identity in jobs(slurm, "RUNNING"))
    said_by(slurm, "scancel", identity)
    status, said = run.ended()
    assert status == 2
    assert f"{MODELS[0]}: the job failed" in said
    reasons = [row["reason"] for row in run.rows() if row["model"] == MODELS[0]]
    assert "CANCELLED" in reasons[0]


def test_jobs_that_are_cancelled_before_they_begin_are_said_to_be(part, slurm, tmp_path):
    """Slurm then keeps of an array no job, only what is left of it."""
    run = Decoding(part, tmp_path / "runs", "slurm", slurm, "--cluster=--hold")
    said_by(slurm, "scancel", *run.jobs().values())
    status, said = run.ended()
    assert status == 2, said
    reasons = {row["reason"] for row in run.rows() if row["run"] == "own"}
    assert reasons == {"CANCELLED; it wrote no log"}


def test_what_sbatch_refuses_is_said_in_one_line(part, slurm, tmp_path):
    run = Decoding(part, tmp_path / "runs", "slurm", slurm, "--cluster=--partition=none-such")
    status, said = run.ended()
    assert (status, said.count("\n")) == (2, 1), said
    assert "sbatch refuses: " in said
    assert "nvalid partition" in said
    assert not (run.runs / ".jobs/slurm.json").exists()


def test_ray_gives_the_same_when_a_node_is_lost(local, ray_cluster, tmp_path):
    environment, second = ray_cluster
    run = Decoding(WHOLE, tmp_path / "runs", "ray", environment, "--gpus", "1")
    until(run.begun)
    second.terminate()
    status, said = run.ended()
    assert status == 0, said
    assert run.predictions() == local
    assert all(row["job"].startswith("ray ") for row in run.rows())
