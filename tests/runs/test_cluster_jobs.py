"""What a model's job on a cluster needs and how it ended, without a cluster (tests/cluster has real ones)."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from boxes.models.table import spec_of
from boxes.records import UserError
from boxes.runs import cluster
from boxes.runs.cluster import Command, Job, Needs, Ray, Slurm, last_line, needs_of, run_remote
from boxes.runs.status import write_status


@pytest.mark.parametrize(
    ("name", "gpus", "device", "expected"),
    [
        ("tiny-base", None, None, Needs(0, 1, 2)),
        ("tiny-base", 1, None, Needs(1, 1, 2)),
        ("CodeLlama-7b-hf", None, None, Needs(1, 4, 18)),
        ("Llama-2-70b-hf", None, None, Needs(3, 4, 167)),
        ("Llama-2-70b-hf", 2, None, Needs(2, 4, 167)),
        ("CodeLlama-7b-hf", None, "cpu", Needs(0, 4, 18)),
    ],
)
def test_what_a_model_needs(name, gpus, device, expected):
    assert needs_of(spec_of(name), gpus, device) == expected


@pytest.mark.parametrize(("where", "place", "package"), [("slurm", Slurm, "submitit"), ("ray", Ray, "ray")])
def test_a_package_that_is_not_installed_is_named_with_the_mend(monkeypatch, tmp_path, where, place, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"^WHERE={where} needs .* requirements-cluster\.lock$"):
        place(tmp_path, "")


class Fake:
    """A place whose jobs end as they are told, after one look."""

    def __init__(self, tmp_path, endings):
        self.folder, self.endings, self.submitted, self.cancelled, self.looks = tmp_path, endings, [], [], 0

    def submit(self, jobs):
        self.submitted += [job.name for job in jobs]
        return {job.name: f"7_{number}" for number, job in enumerate(jobs)}

    def states(self, ids):
        self.looks += 1
        if self.looks == 1:
            return dict.fromkeys(ids, "RUNNING")
        if isinstance(self.endings, BaseException):
            raise self.endings
        return dict(zip(ids, self.endings, strict=False))

    def log(self, identity):
        return self.folder / f"{identity}.log"

    def cancel(self, ids):
        self.cancelled += ids


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "PAUSE", 0.0)
    return [Job(name, ("true",), Needs(0, 1, 1), tmp_path / f".{name}.lock") for name in ("tiny-base", "tiny-code")]


def run(monkeypatch, tmp_path, jobs, endings):
    place = Fake(tmp_path, endings)
    monkeypatch.setattr(cluster, "Slurm", lambda _logs, _options: place)
    return place, lambda: run_remote(jobs, "slurm", "", tmp_path)


def test_a_failed_job_says_why_in_status_csv(monkeypatch, tmp_path, jobs):
    (tmp_path / "7_1.log").write_text("04_decode.py: error: no room\nTraceback\n")
    _, wait = run(monkeypatch, tmp_path, jobs, ["COMPLETED", "OUT_OF_MEMORY"])
    ended = wait()
    assert ended["tiny-base"].failure is None
    assert ended["tiny-code"].failure == "OUT_OF_MEMORY; 04_decode.py: error: no room"
    specs = [spec_of(job.name) for job in jobs]
    rows = write_status(tmp_path / "status.csv", specs, tmp_path, ended)
    assert {row["reason"] for row in rows if row["model"] == "tiny-code"} == {ended["tiny-code"].failure}
    assert rows[0]["job"] == f"slurm 7_0: {tmp_path / '7_0.log'}"


def test_an_interrupt_cancels_what_was_submitted(monkeypatch, tmp_path, jobs):
    place, wait = run(monkeypatch, tmp_path, jobs, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        wait()
    assert place.cancelled == ["7_0", "7_1"]


def test_jobs_under_way_are_not_submitted_again(monkeypatch, tmp_path, jobs):
    (tmp_path / "slurm.json").write_text('{"tiny-base": "6_0", "other": "6_1"}')
    place, wait = run(monkeypatch, tmp_path, jobs, ["COMPLETED", "COMPLETED"])
    assert set(wait()) == {"tiny-base", "tiny-code"}
    assert place.submitted == ["tiny-code"]


def test_a_controller_that_is_away_ends_nothing(monkeypatch):
    away = SimpleNamespace(returncode=1, stdout="", stderr="Unable to contact slurm controller")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: away)
    assert Slurm.states(None, ["7_0"]) == {"7_0": "PENDING"}
    gone = SimpleNamespace(returncode=1, stdout="", stderr="slurm_load_jobs error: Invalid job id specified")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: gone)
    assert Slurm.states(None, ["7_0"]) == {}


def test_a_command_writes_its_log_and_fails_aloud(tmp_path):
    log = tmp_path / "log"
    with pytest.raises(subprocess.CalledProcessError):
        Command((sys.executable, "-c", "raise SystemExit('x: error: full')"), str(tmp_path), str(log))()
    assert last_line(log) == "x: error: full"
    assert last_line(tmp_path / "none") == "it wrote no log"
