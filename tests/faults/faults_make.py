"""Faults around a whole `make all`, in a checkout of faults_checkout.py."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from faults_checkout import (
    ROOT,
    STAGES,
    WRITTEN,
    begin,
    checkout,
    differences,
    goes_on,
    make,
    stage_of,
    start,
    wipe,
)


def refused(status: int, output: str, sign: str) -> bool:
    """Whether it ended with an error, in lines for people that say `sign`; says so where not."""
    right = status != 0 and sign in output and "Traceback" not in output
    if not right:
        print(f"status {status}, expected an error with {sign!r}:\n{output[-1500:]}", file=sys.stderr)
    return right


def whole_lines(folder: Path) -> dict[Path, bytes]:
    """What has been written of each predictions.jsonl."""
    return {
        path: content[: content.rfind(b"\n") + 1]
        for path in (folder / "data/runs").rglob("predictions.jsonl")
        for content in [path.read_bytes()]
    }


def make_killed(folder: Path, rounds: int, seed: int) -> tuple[int, str]:
    """Kill at a random moment of each stage in turn, and go on with what was written; after a kill in the last stage all is
    made, compared and deleted, the data too or not."""
    truth, spans = begin(folder)
    rng, stages, survived, pending = np.random.default_rng(seed), Counter(), 0, 0
    wipe(folder)
    before: dict[Path, bytes] = {}
    while stages.total() < rounds:
        for aim in STAGES:
            stage = killed_in(folder, aim, rng.uniform(0, spans[aim])) if stages.total() < rounds else None
            if stage:
                stages[stage] += 1
                after = whole_lines(folder)
                pending += all(after.get(path, b"").startswith(lines) for path, lines in before.items())
                before = after
        survived += pending if goes_on(folder, truth) else 0
        pending, before = 0, {}
        wipe(folder, WRITTEN[rng.integers(2) :])
    return survived, ", ".join(f"{count} in {stage}" for stage, count in stages.most_common())


def killed_in(folder: Path, aim: str, delay: float) -> str | None:
    """Begin `make all` and kill it some seconds after a stage has begun: the stage that it was in; None where it was through."""
    process = start(folder, folder / "log")
    while stage_of(process.pid) != aim and process.poll() is None:
        time.sleep(0.02)
    try:
        process.wait(timeout=delay)
    except subprocess.TimeoutExpired:
        stage = stage_of(process.pid)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(0.05)  # until the last of the group is gone
        return stage
    return None


def used(path: Path) -> int:
    """Bytes that a file or a folder takes on the disk."""
    return int(subprocess.check_output(["du", "-s", "-B1", path], text=True).split()[0])


def full_disk(folder: Path, rounds: int, seed: int) -> tuple[int, str]:
    """A file system of a random size, too small; where none may be mounted, a limit of the size of files."""
    rng, survived = np.random.default_rng(seed), 0
    whole = folder / "whole"
    truth, _ = begin(whole)
    least = used(whole / "boxes") + used(whole / "small.zip")
    need = used(whole) - least
    largest = max(path.stat().st_size for path in (whole / "data/runs").rglob("predictions.jsonl"))
    place = folder / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)]
    mounted = subprocess.run(mount, capture_output=True).returncode == 0
    if mounted:
        subprocess.run(["umount", place], check=True)
    for _ in range(rounds):
        share = rng.uniform(0.3, 0.9)
        if mounted:
            subprocess.run([*mount[:4], f"size={least + int(share * need)}", "none", str(place)], check=True)
        try:
            before = () if mounted else ("prlimit", f"--fsize={int(share * largest)}")
            sign = "No space left" if mounted else "File too large"
            right = refused(*make(checkout(place), before=before), sign)
            if mounted:
                subprocess.run(["mount", "-o", "remount,size=256m", place], check=True)
            survived += right and goes_on(place, truth)
        finally:
            if mounted:
                subprocess.run(["umount", place], check=True)
            else:
                shutil.rmtree(place)
                place.mkdir()
    return survived, "a tmpfs too small" if mounted else "a limit of the size of files"


def no_permission(folder: Path, rounds: int, seed: int) -> tuple[int, str]:
    """Folders of each stage, emptied and read-only."""
    truth, _ = begin(folder)
    places = ("data/runs/tiny/tiny-code", "data/results/tiny", "paper/out/tiny", "data/boxes")
    powerless = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.getuid() == 0 else ()
    survived = 0
    for number in range(seed, seed + rounds):
        place = folder / places[number % len(places)]
        shutil.rmtree(place)
        place.mkdir()
        place.chmod(0o555)
        try:
            right = refused(*make(folder, before=powerless), "ermission")
        finally:
            place.chmod(0o755)
        survived += right and goes_on(folder, truth)
    return survived, ", ".join(places[:rounds])


def clock_jumps(folder: Path, rounds: int, seed: int) -> tuple[int, str]:
    """What was written before the jump is a day older, or a day newer than now; then something has to be made again."""
    truth, _ = begin(folder)
    rng, survived = np.random.default_rng(seed), 0
    lacking = ("data/runs/tiny/tiny-base", "data/results/tiny/scores.csv", "paper/out/tiny/table6.csv")
    for number in range(rounds):
        jump, now = 86_400 * (1 if number % 2 else -1), time.time()
        for path in (path for name in WRITTEN for path in (folder / name).rglob("*") if path.is_file()):
            if rng.random() < 0.8:
                os.utime(path, (now + jump, now + jump))
        gone = folder / lacking[rng.integers(len(lacking))]
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
        survived += goes_on(folder, truth)
    return survived, "by turns back and forward"


def two_at_once(folder: Path, rounds: int, seed: int) -> tuple[int, str]:
    """The second begins a random moment after the first."""
    truth, _ = begin(folder)
    rng, survived, waited = np.random.default_rng(seed), 0, 0
    for number in range(rounds):
        wipe(folder, WRITTEN[number % 2 :])
        logs = folder / "log.0", folder / "log.1"
        first = start(folder, logs[0])
        time.sleep(rng.uniform(0, 6) if number else 0)
        second = start(folder, logs[1])
        statuses = [first.wait(timeout=600), second.wait(timeout=600)]
        waited += any("waiting for it" in log.read_text() for log in logs)
        wrong = differences(folder, truth)
        survived += statuses == [0, 0] and not wrong
        if statuses != [0, 0] or wrong:
            print(statuses, wrong, *(log.read_text()[-1500:] for log in logs), sep="\n", file=sys.stderr)
    return survived, f"in {waited} one said whom it waited for"


def truncated_checkpoint(folder: Path, rounds: int, seed: int) -> tuple[int, str]:
    """One model's weights end early; then they are whole again."""
    truth, _ = begin(folder)
    rng, survived = np.random.default_rng(seed), 0
    (folder / "data/models").unlink()
    shutil.copytree(ROOT / "data/models", folder / "data/models")
    weights = folder / "data/models/tiny-code/model.safetensors"
    whole = weights.read_bytes()
    for _ in range(rounds):
        wipe(folder, ("data/runs",))
        weights.write_bytes(whole[: rng.integers(len(whole))])
        status, output = make(folder)
        right = refused(status, output, "tiny-code") and "failed" in output
        right &= set(pd.read_csv(folder / "data/results/tiny/scores.csv").model) == {"Random", "tiny-base"}
        weights.write_bytes(whole)
        survived += right and goes_on(folder, truth)
    return survived, "of two models one"


def other_hardware(folder: Path, rounds: int, seed: int) -> tuple[int, str]:
    """Everything anew in float32."""
    truth, _ = begin(folder)
    survived, used = 0, []
    for number, batch_size in zip(range(rounds), np.random.default_rng(seed).permutation([1, 3, 7, 64]), strict=False):
        wipe(folder, ("data/runs", "data/results", "paper/out"))
        threads = 1 + (number + 1) % 2
        survived += goes_on(folder, truth, batch_size=batch_size, OMP_NUM_THREADS=str(threads))
        used.append(f"{threads} threads and {batch_size} prompts")
    return survived, ", ".join(used)
