"""Models decoded over two nodes of Slurm and of Ray: the bytes of a run on one machine, whatever becomes of a node."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, until

pytestmark = pytest.mark.cluster
MODELS = ["tiny-base", "tiny-code"]
LINES = 7 * 40  # of the dataset, seven a description


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The beginning of the evaluated subset."""
    whole = ROOT / "data/boxes/test-subsample-states-t5.jsonl"
    path = tmp_path_factory.mktemp("data") / "some.jsonl"
    path.write_text("".join(whole.read_text().splitlines(keepends=True)[:LINES]))
    return path


class Decoding:
    """One 04_decode.py over the models, in an environment."""

    def __init__(self, data: Path, runs: Path, where: str, environment, *more: str):
        self.runs, self.status, self.environment = runs, runs / "status.csv", dict(environment)
        script = [sys.executable, str(ROOT / "experiments/04_decode.py"), "--profile", "tiny", "--models", *MODELS]
        paths = ["--data", str(data), "--runs", str(runs), "--out", str(self.status)]
        # Few at a time, so that there is a middle to be stopped in.
        command = [*script, *paths, "--where", where, "--batch-size", "4", "--dtype", "float32", *more]
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


@pytest.fixture(scope="module")
def local(data, tmp_path_factory):
    run = Decoding(data, tmp_path_factory.mktemp("runs") / "local", "local", os.environ)
    status, said = run.ended()
    assert status == 0, said
    return run.predictions()


def said_by(environment, *command: str) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def jobs(environment, states: str = "all") -> list[str]:
    return said_by(environment, "squeue", "--noheader", "--array", f"--states={states}", "--format=%i").split()


def test_slurm_gives_the_same_when_a_job_is_stopped_and_a_node_drained(data, local, slurm, tmp_path):
    run = Decoding(data, tmp_path / "runs", "slurm", slurm, "--gpus", "1", "--cluster=--partition=all --comment=boxes")
    until(run.begun)
    identity = json.loads((run.runs / ".jobs/slurm.json").read_text())[MODELS[0]]
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


def test_a_second_command_waits_for_the_jobs_of_one_that_was_killed(data, local, slurm, tmp_path):
    first = Decoding(data, tmp_path / "runs", "slurm", slurm)
    until((first.runs / ".jobs/slurm.json").exists)
    first.process.kill()
    first.ended()
    before = jobs(slurm)
    second = Decoding(data, tmp_path / "runs", "slurm", slurm)
    status, said = second.ended()
    assert status == 0, said
    assert second.predictions() == local
    assert set(jobs(slurm)) <= set(before)


def test_ctrl_c_cancels_what_was_submitted(data, slurm, tmp_path):
    run = Decoding(data, tmp_path / "runs", "slurm", slurm)
    until((run.runs / ".jobs/slurm.json").exists)
    run.process.send_signal(signal.SIGINT)
    assert run.ended()[0] == 130
    until(lambda: not jobs(slurm, "PENDING,RUNNING,COMPLETING"))


def test_a_failed_job_says_why(data, slurm, tmp_path):
    run = Decoding(data, tmp_path / "runs", "slurm", slurm)
    until((run.runs / ".jobs/slurm.json").exists)
    identity = json.loads((run.runs / ".jobs/slurm.json").read_text())[MODELS[0]]
    until(lambda: identity in jobs(slurm, "RUNNING"))
    said_by(slurm, "scancel", identity)
    status, said = run.ended()
    assert status == 2
    assert f"{MODELS[0]}: the job failed" in said
    reasons = [row["reason"] for row in run.rows() if row["model"] == MODELS[0]]
    assert "CANCELLED" in reasons[0]


def test_ray_gives_the_same_when_a_node_is_lost(data, local, ray_cluster, tmp_path):
    environment, second = ray_cluster
    run = Decoding(data, tmp_path / "runs", "ray", environment, "--gpus", "1")
    until(run.begun)
    second.terminate()
    status, said = run.ended()
    assert status == 0, said
    assert run.predictions() == local
    assert all(row["job"].startswith("ray ") for row in run.rows())
