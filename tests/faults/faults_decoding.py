"""Faults while one model is decoded, in this process and in forks of it."""

import json
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from faults_place import MODEL, SETTINGS, Place, begin, fork, stopped

from boxes.decoding import loop, price, stems
from boxes.decoding.constraint import token_bytes
from boxes.models import find
from boxes.models.table import spec_of
from boxes.runs import decode, lock
from boxes.runs.folder import score_run
from boxes.runs.task import Settings
from boxes.score_tables import bucket_scores

KEPT = "what was written is kept"


def decoding_killed(folder: Path, rounds: int, seed: int) -> tuple[int, str]:
    """Kill, and go on; every third time a part of a line is left behind, as a machine that loses power may leave it."""
    rng, killed, survived, pending, torn = np.random.default_rng(seed), 0, 0, 0, 0
    with begin(folder) as place:
        before = b""
        while killed < rounds:
            read, write = os.pipe()
            pid = fork(place.decode, folder / "stderr", write)
            status = stopped(pid, rng.uniform(0.01, place.seconds), signal.SIGKILL)
            os.close(write)
            with open(read, "rb") as pipe:
                reported = len(pipe.read())
            content = place.content()
            whole = content[: content.rfind(b"\n") + 1]
            if status:
                killed += 1
                pending += whole.startswith(before) and whole.count(b"\n") >= before.count(b"\n") + reported
                if killed % 3 == 0 and whole:
                    torn += 1
                    next_line = json.dumps(json.loads(whole.splitlines()[0]) | {"sample_id": 9})
                    place.path.write_bytes(whole + next_line.encode()[: rng.integers(1, len(next_line))])
                before = whole
            if status == 0 or killed == rounds:
                survived += pending if place.decode()["status"] == "complete" and place.as_without() else 0
                pending, before = 0, b""
                place.wipe()
    return survived, f"after {torn} of them a torn line was left behind"


def decoding_ended(folder: Path, rounds: int, seed: int) -> tuple[int, str]:
    """Signals that ask a process to end; it goes on with what was written."""
    rng, statuses, survived, pending = np.random.default_rng(seed), Counter(), 0, 0
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    with begin(folder) as place:
        while statuses.total() < rounds:
            number = numbers[statuses.total() % 3]
            status = stopped(fork(place.decode, folder / "stderr"), rng.uniform(0.02, place.seconds), number)
            if status:
                statuses[status] += 1
                said = (folder / "stderr").read_text()
                content = place.content()
                right = status == 128 + number and content[-1:] in (b"", b"\n")
                right &= not (place.folder / lock.LOCK).exists() and "Traceback" not in said
                right &= len(re.findall(rf"^04_decode\.py: .*; {KEPT}$", said, re.MULTILINE)) == 1
                if not right:
                    print(f"{number.name}: status {status}\n{said}", file=sys.stderr)
                pending += right
            if status == 0 or statuses.total() == rounds:
                survived += pending if place.decode()["status"] == "complete" and place.as_without() else 0
                pending = 0
                place.wipe()
    return survived, ", ".join(f"{count} with status {status}" for status, count in sorted(statuses.items()))


def stale_locks(folder: Path, rounds: int, seed: int) -> tuple[int, str]:
    """Four processes want a folder that a dead one left locked: each gets it, one after the other."""
    rng, survived, usual = np.random.default_rng(seed), 0, (lock.STALE, lock.POLL)
    lock.STALE, lock.POLL = 0.4, 0.05
    try:
        for number in range(rounds):
            place, log = folder / str(number), folder / f"{number}.log"
            place.mkdir()
            left_behind(place, ("here", "elsewhere", "empty")[number % 3], int(rng.integers(-9999, 9999)))

            def enter(place=place, log=log) -> None:
                with lock.held(place) as check:
                    for word in ("in", "out"):
                        check()
                        with open(log, "a") as file:
                            file.write(f"{os.getpid()} {word}\n")
                        time.sleep(0.05)

            pids = [fork(enter, folder / "stderr") for _ in range(4)]
            statuses = [os.waitpid(pid, 0)[1] for pid in pids]
            words = log.read_text().split()
            turns = [words[at : at + 4] for at in range(0, len(words), 4)]
            alone = all(turn == [turn[0], "in", turn[0], "out"] for turn in turns)
            survived += not any(statuses) and alone and len(turns) == 4 and not list(place.iterdir())
    finally:
        lock.STALE, lock.POLL = usual
    return survived, "by turns of a process here, of one elsewhere, and empty"


def left_behind(place: Path, kind: str, age: int) -> None:
    """The lock of a process that was killed."""
    path = place / lock.LOCK

    def hold() -> None:
        with lock.held(place):
            time.sleep(60)

    pid = fork(hold, place.with_suffix(".stderr"))
    while not path.exists() or not path.read_text():
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    if kind == "elsewhere":
        path.write_text(json.dumps(json.loads(path.read_text()) | {"host": "node7", "machine": "another boot"}))
    elif kind == "empty":
        path.write_text("")
    os.utime(path, (time.time() - age, time.time() - age))  # whatever the other's clock says


def failing(function: Callable, call: int, error: Exception) -> Callable:
    """The function, but that one call, from 1, raises; `calls` are counted."""

    def run(*arguments, **more):
        run.calls += 1
        if run.calls == call:
            raise error
        return function(*arguments, **more)

    run.calls = 0
    return run


def memory_short(folder: Path, rounds: int, seed: int) -> tuple[int, str]:
    """An injected error of torch in one forward."""
    rng, survived, forward = np.random.default_rng(seed), 0, loop.forward
    measured, price.MEASURED = price.MEASURED, set()  # so that forwards are as many each time
    settings = replace(SETTINGS, batch_size=8)
    with begin(folder) as place:
        try:
            loop.forward = stems.forward = failing(forward, 0, ValueError())  # of steps, of prefills
            place.decode(settings)
            last = loop.forward.calls
            for number in range(rounds):
                place.wipe()
                call = (1, int(rng.integers(2, last)), last)[number % 3]
                loop.forward = stems.forward = failing(forward, call, torch.OutOfMemoryError("injected"))
                run = place.decode(settings)
                survived += place.as_without() and (run["halvings"], run["batch_size"]) == (1, 4)
        finally:
            loop.forward = stems.forward = forward
            price.MEASURED = measured
    return survived, f"of {last} forwards"


def broken_models(folder: Path, rounds: int, seed: int) -> tuple[int, str]:
    """Changed logits; then the same model unchanged."""
    survived = 0
    with begin(folder) as place:
        loaded = decode.load(find(MODEL), "cpu", "float32")
        letters = [id_ for id_, text in token_bytes(loaded.tokenizer).items() if re.fullmatch(rb" ?[a-z]", text)]
        special = [loaded.tokenizer.bos_token_id, loaded.tokenizer.eos_token_id]
        count = len(place.truth)
        kinds = [
            (value, constrained, {"invalid": count, "broken": count, "truncated": 0})
            for value in (torch.nan, torch.inf, -torch.inf)
            for constrained in (True, False)
        ]
        kinds += [
            (letters, constrained, {"truncated": count, "invalid": 0, "broken": 0}) for constrained in (True, False)
        ]
        kinds += [(special, True, {"truncated": 0, "invalid": 0, "broken": 0})]
        kinds += [(special[1:], False, {"truncated": 0, "invalid": count, "broken": 0})]
        for number in range(seed, seed + rounds):
            place.wipe()
            wrong, constrained, expected = kinds[number % len(kinds)]
            run = misbehaving(
                place, loaded.model, wrong, replace(SETTINGS, constrained=constrained, max_new_tokens=150)
            )
            rows = score_run(spec_of(MODEL), place.path, place.task.by_key)
            scores = bucket_scores(to_frame(rows))
            right = len(rows) == 7 * count and np.isfinite(scores[scores.n > 0].accuracy).all()
            right &= {key: run[key] for key in expected} == expected and run["status"] == "complete"
            place.wipe()
            survived += bool(right) and place.decode()["status"] == "complete" and place.as_without()
    return survived, f"{len(kinds)} ways, with and without the regular expression"


def misbehaving(place: Place, model, wrong: float | list[int], settings: Settings) -> dict:
    """Decode while logits are replaced by a value, or some tokens win wherever they are allowed."""

    def change(_module, _input, logits):
        return logits.index_fill(-1, torch.tensor(wrong), 1e4) if isinstance(wrong, list) else logits.fill_(wrong)

    handle = model.get_output_embeddings().register_forward_hook(change)
    try:
        return place.decode(settings)
    finally:
        handle.remove()


def to_frame(rows: list[tuple]):
    """The rows of score_run as 05_score.py has them."""
    import pandas as pd

    from boxes.minimal_pairs import QUERY_COLUMNS

    return pd.DataFrame(rows, columns=list(QUERY_COLUMNS))
