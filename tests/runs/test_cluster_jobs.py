"""What becomes of what is submitted to a cluster, without one (tests/cluster has real ones)."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from boxes.interrupts import Ended, end, handlers
from boxes.models.table import spec_of
from boxes.records import UserError
from boxes.runs import cluster
from boxes.runs.cluster import GONE, Slurm, run_remote
from boxes.runs.devices import try_lock
from boxes.runs.status import write_status
from boxes.runs.submission import Command, Needs, Submission

SMALL, LARGE = Needs(0, 1, 4, 30), Needs(2, 4, 100, 240)
NAMES = ("tiny-base", "tiny-code")


class Fake:
    """A place that takes so many arrays, and whose jobs end as they are told, after one look."""

    def __init__(self, folder: Path, endings=(), takes: int = 9):
        self.folder, self.endings, self.takes = folder, endings, takes
        self.submitted, self.cancelled, self.looks = [], [], 0

    def submit(self, alike):
        if len(self.submitted) == self.takes:
            raise UserError("refused")
        self.submitted.append([one.name for one in alike])
        return {one.name: f"{6 + len(self.submitted)}_{number}" for number, one in enumerate(alike)}

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
        assert ids, "scancel without a job"
        self.cancelled += ids


def submissions(folder: Path, *needs: Needs) -> list[Submission]:
    found = []
    for name, its in zip(NAMES, needs, strict=True):
        found.append(Submission(name, Command(("true",), str(folder), 1), its, folder / f".{name}.lock"))
    return found


@pytest.fixture
def start(monkeypatch, tmp_path):
    """run_remote on a place that is not there."""
    monkeypatch.setattr(cluster, "PAUSE", 0.0)
    monkeypatch.setattr(cluster, "find_spec", lambda _: True)

    def run(place: Fake, *needs: Needs):
        monkeypatch.setattr(cluster, "Slurm", lambda _logs, _options: place)
        return run_remote(submissions(tmp_path, *needs), "slurm", "", tmp_path)

    return run


def recorded(folder: Path) -> dict[str, str]:
    return json.loads((folder / "slurm.json").read_text())


@pytest.mark.parametrize(("where", "package"), [("slurm", "submitit"), ("ray", "ray")])
def test_a_package_that_is_not_installed_is_named_with_the_mend(monkeypatch, tmp_path, where, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"^WHERE={where} needs .* requirements-cluster\.lock$"):
        run_remote([], where, "", tmp_path)


def test_a_failed_job_says_why_in_status_csv(start, tmp_path):
    (tmp_path / "7_1.log").write_text("04_decode.py: no room\nTraceback (most recent call last):\n")
    outcomes = start(Fake(tmp_path, ["COMPLETED", "OUT_OF_MEMORY"]), SMALL, SMALL)
    assert outcomes["tiny-base"].failure is None
    assert outcomes["tiny-code"].failure == "OUT_OF_MEMORY; 04_decode.py: no room"
    rows = write_status(tmp_path / "status.csv", [spec_of(name) for name in NAMES], tmp_path, outcomes)
    assert {row["reason"] for row in rows if row["model"] == "tiny-code"} == {outcomes["tiny-code"].failure}
    assert rows[0]["job"] == f"slurm 7_0: {tmp_path / '7_0.log'}"


def test_what_needs_the_same_is_one_array(start, tmp_path):
    place = Fake(tmp_path, ["COMPLETED", "COMPLETED"])
    start(place, SMALL, LARGE)
    assert place.submitted == [["tiny-base"], ["tiny-code"]]
    assert recorded(tmp_path) == {"tiny-base": "7_0", "tiny-code": "8_0"}


def test_an_interrupt_cancels_what_was_submitted(start, tmp_path):
    place = Fake(tmp_path, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        start(place, SMALL, SMALL)
    assert place.cancelled == ["7_0", "7_1"]
    assert recorded(tmp_path) == {}  # a next command has nothing to wait for


@pytest.mark.parametrize(("takes", "cancelled"), [(1, ["7_0"]), (0, [])])
def test_where_an_array_is_refused_those_before_it_are_cancelled(start, tmp_path, takes, cancelled):
    place = Fake(tmp_path, takes=takes)
    with pytest.raises(UserError, match="refused"):
        start(place, SMALL, LARGE)
    assert place.cancelled == cancelled


def test_each_array_is_recorded_before_the_next_is_submitted(start, tmp_path):
    """What a kill between the two leaves behind is known."""
    place, seen = Fake(tmp_path, ["COMPLETED", "COMPLETED"]), []
    submit = place.submit

    def look(alike):
        seen.append(recorded(tmp_path) if seen else (tmp_path / "slurm.json").exists())
        return submit(alike)

    place.submit = look
    start(place, SMALL, LARGE)
    assert seen == [False, {"tiny-base": "7_0"}]


def test_a_signal_while_an_array_is_submitted_counts_behind_its_record(start, tmp_path):
    place = Fake(tmp_path)
    submit = place.submit

    def interrupted(alike):
        os.kill(os.getpid(), signal.SIGTERM)
        return submit(alike)

    place.submit = interrupted
    with handlers(end), pytest.raises(Ended):
        start(place, SMALL, LARGE)
    assert place.submitted == [["tiny-base"]]
    assert place.cancelled == ["7_0"]


def test_jobs_under_way_are_not_submitted_again(start, tmp_path):
    (tmp_path / "slurm.json").write_text('{"tiny-base": "6_0", "other": "6_1"}')
    place = Fake(tmp_path, ["COMPLETED", "COMPLETED"])
    assert set(start(place, SMALL, SMALL)) == set(NAMES)
    assert place.submitted == [["tiny-code"]]
    assert recorded(tmp_path) == {"tiny-base": "6_0", "tiny-code": "7_0", "other": "6_1"}  # which may still run


def test_a_second_command_is_told_who_has_a_model(start, tmp_path):
    place = Fake(tmp_path, ["COMPLETED", "COMPLETED"])
    states, seen = place.states, []

    def look(ids):
        seen.append((try_lock(tmp_path / ".tiny-base.lock"), (tmp_path / ".tiny-base.lock").read_text()))
        return states(ids)

    place.states = look
    start(place, SMALL, SMALL)
    assert seen[0][0] is None
    assert seen[0][1].startswith(f"process {os.getpid()} on ")


# ------------------------------------------------------------------------------------------------ what Slurm says
class Said:
    """Slurm's commands, which say what they are told to: "squeue --array", "squeue" and "sacct"."""

    def __init__(self, **texts: str | tuple[int, str]):
        self.texts = texts

    def __call__(self, command, **_):
        name = command[1] + ("_array" if "--array" in command else "")
        text = self.texts.get(name, (1, "disabled"))
        if isinstance(text, str):
            return SimpleNamespace(returncode=0, stdout=text, stderr="")
        return SimpleNamespace(returncode=text[0], stdout="", stderr=text[1])


UNKNOWN = (1, "slurm_load_jobs error: Invalid job id specified")
STATES = [
    ({"squeue_array": (1, "Unable to contact slurm controller")}, ["PENDING", "PENDING"]),
    ({"squeue_array": "7_0|RUNNING\n7_1|FAILED\n"}, ["RUNNING", "FAILED"]),
    ({"squeue_array": UNKNOWN}, [GONE, GONE]),
    ({"squeue_array": "", "squeue": "7_[]|CANCELLED\n"}, ["CANCELLED", "CANCELLED"]),
    ({"squeue_array": "7_1|PENDING\n", "squeue": "7_[1]|PENDING\n"}, [GONE, "PENDING"]),
    ({"squeue_array": UNKNOWN, "sacct": "7_0|COMPLETED\n7_[1-3]|CANCELLED by 0\n"}, ["COMPLETED", "CANCELLED"]),
    ({"squeue_array": UNKNOWN, "sacct": "7_0|RUNNING\n7_1|TIMEOUT\n"}, [GONE, "TIMEOUT"]),  # it lags behind
]


@pytest.mark.parametrize(("said", "states"), STATES)
def test_states_are_those_that_slurm_can_tell(monkeypatch, said, states):
    monkeypatch.setattr(subprocess, "run", Said(**said))
    ids = ["7_0", "7_1"]
    found = Slurm.states(None, ids)
    assert [found[identity] for identity in ids] == states


def test_a_command_that_is_not_there_tells_nothing():
    assert cluster._listed("no-such-command-of-slurm") is None


class Executor:
    """submitit's, of which sbatch refuses what it is told to."""

    def __init__(self, _folder, python):
        self.python, self.parameters, self.refuses = python, [], None

    def update_parameters(self, **parameters):
        self.parameters.append(parameters)

    @contextmanager
    def batch(self):
        yield
        if self.refuses:
            print(self.refuses, file=sys.stderr)
            raise RuntimeError(self.refuses)

    def submit(self, command):
        return SimpleNamespace(job_id=f"7_{command.cores}")


@pytest.fixture
def submitit(monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", SimpleNamespace(SlurmExecutor=Executor))


def test_sbatchs_refusal_is_one_line_in_its_own_words(submitit, tmp_path, capsys):
    place = Slurm(tmp_path, "--partition=nope")
    place.executor.refuses = (
        "sbatch: error: invalid partition specified: nope\nsbatch: error: Batch job submission failed"
    )
    with pytest.raises(UserError) as error:
        place.submit(submissions(tmp_path, SMALL, SMALL))
    said = "invalid partition specified: nope; Batch job submission failed"
    assert str(error.value) == f'WHERE=slurm: sbatch refuses: {said}; SLURM="..." is what it is told'
    assert capsys.readouterr().err == ""  # once is enough


def test_an_array_without_gpus_behind_one_with_them_asks_for_none(submitit, tmp_path):
    place = Slurm(tmp_path, "--prefix='apptainer exec --nv image.sif'")
    large, small = submissions(tmp_path, LARGE, SMALL)
    assert place.submit([large]) == {"tiny-base": "7_1"}
    place.submit([small])
    assert [told["gpus_per_node"] for told in place.executor.parameters] == [2, None]
    assert place.executor.python == f"apptainer exec --nv image.sif {sys.executable}"
    assert "prefix" not in place.executor.parameters[0]["additional_parameters"]
