"""The lock of a run's folder: whose it is, who waits, who takes over."""

import json
import os
import random
import subprocess
import sys
import threading
import time

import pytest

from boxes.records import CannotWrite, UserError
from boxes.runs import lock
from boxes.runs.lock import LOCK, held


def test_a_lock_says_whose_it_is_and_goes(tmp_path):
    with held(tmp_path / "run") as check:
        check()
        said = json.loads((tmp_path / "run" / LOCK).read_text())
        assert said["pid"] == os.getpid()
        assert said["host"]
        assert said["since"].startswith("20")
    assert not list((tmp_path / "run").iterdir())


def test_the_second_waits_and_says_for_whom(tmp_path, capsys):
    order = []

    def second():
        with held(tmp_path):
            order.append("second")

    with held(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.2)
        order.append("first")
        fields = json.loads((tmp_path / LOCK).read_text())
    thread.join(timeout=30)
    assert order == ["first", "second"]
    owner = f"process {os.getpid()} on {fields['host']} since {fields['since']}"
    assert capsys.readouterr().err == f"{tmp_path}: in use by {owner}; waiting for it\n"


def ended() -> int:
    """The number of a process that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("fields", "waited"),
    [({"machine": lock._machine()}, False),
     ({"machine": lock._machine(), "pid": os.getpid(), "process_started": "1"}, False),  # the number was given again
     ({"machine": "another boot"}, True), (None, True)],
    ids=["ended", "a-new-process", "elsewhere", "empty"],
)  # fmt: skip
def test_a_stale_lock_is_taken_over_and_its_owner_named(fields, waited, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lock, "STALE", 0.3)
    monkeypatch.setattr(lock, "POLL", 0.02)
    usual = {"pid": ended(), "host": "node7", "since": "2024-05-31T09:00:00+00:00", "process_started": "1"}
    said = {} if fields is None else usual | fields
    (tmp_path / LOCK).write_text(json.dumps(said) if said else "")
    with held(tmp_path) as check:
        check()
    owner = f"process {said.get('pid', '?')} on {said.get('host', '?')} since {said.get('since', '?')}"
    lines = [f"{tmp_path}: in use by {owner}; waiting for it"] if waited else []
    lines.append(f"{tmp_path}: {owner} is gone; going on in its place")
    assert capsys.readouterr().err.splitlines() == lines
    assert not list(tmp_path.iterdir())


def test_what_a_kill_left_aside_is_swept_up_and_a_living_owners_lock_is_not(tmp_path):
    """One is killed while it takes a lock over; another has put a new lock aside for a moment."""
    dead = {"machine": lock._machine(), "pid": ended(), "process_started": "1"}
    living = {"machine": "another boot", "pid": 1}
    for name, fields in (("dead", dead), ("living", living)):
        (tmp_path / f"{LOCK}.{name}").write_text(json.dumps(fields))
    with held(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {LOCK, f"{LOCK}.living"}


def test_a_signal_right_behind_the_taking_leaves_no_lock(tmp_path, monkeypatch):
    def interrupt(folder):
        assert (folder / LOCK).exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(lock, "_sweep", interrupt)
    with pytest.raises(KeyboardInterrupt), held(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_living_owner_elsewhere_is_not_robbed(tmp_path, monkeypatch):
    """Its lock shows signs of life, by a clock that jumps about."""
    monkeypatch.setattr(lock, "STALE", 0.5)
    monkeypatch.setattr(lock, "POLL", 0.02)
    path = tmp_path / LOCK
    path.write_text(json.dumps({"host": "node7", "pid": 1, "machine": "another boot", "id": "x"}))
    got = threading.Event()

    def second():
        with held(tmp_path):
            got.set()

    thread = threading.Thread(target=second, daemon=True)
    thread.start()
    for _ in range(15):
        at = random.Random(_).uniform(0, 2e9)
        os.utime(path, (at, at))
        assert not got.wait(0.1)
    path.unlink()
    assert got.wait(30)
    thread.join(timeout=30)


def test_an_owner_that_stood_still_writes_no_more(tmp_path):
    with held(tmp_path) as check:
        (tmp_path / LOCK).write_text('{"pid": 7, "host": "node7", "since": "today"}')
        with pytest.raises(UserError) as caught:
            check()
    said = "this process stood still and now process 7 on node7 since today has it; run again, what was written is kept"
    assert str(caught.value) == f"{tmp_path}: {said}"
    assert (tmp_path / LOCK).exists()  # it is the other's


def test_an_owner_shows_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.02)
    with held(tmp_path):
        os.utime(tmp_path / LOCK, (0, 0))
        deadline = time.monotonic() + 30
        while (tmp_path / LOCK).stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_where_no_lock_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CannotWrite) as caught, held(tmp_path / "file" / "run"):
        pass
    said = "cannot write here (Not a directory); check the disk and the permissions"
    assert str(caught.value) == f"{tmp_path}/file/run/{LOCK}: {said}"
