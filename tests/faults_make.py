"""Faults around a whole `make all` of two tiny models on a small dataset, in a checkout of links to this one."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from scenarios_fixture import write_dataset

from boxes.dataset import FILES, RELEASE_FOLDER

ROOT = Path(__file__).resolve().parent.parent
PARTS = sorted(f"paper/{path.name}" for path in (ROOT / "paper").glob("*.py"))
LINKED = ("Makefile", "experiments", "requirements.lock", "requirements-cpu.lock", "data/checksums.sha256",
          "data/models", "data/reported", "paper/templates", *PARTS)  # fmt: skip
MODELS = ("tiny-base", "tiny-code")
HARDWARE = "--device cpu --dtype float32 --batch-size {}"
WRITTEN = ("data/boxes", "data/runs", "data/results", "paper/out", ".make")
# Of runs.csv: what may differ between two runs that gave the same. report.html and run.json show these, too, and dates.
TIMED = ["seconds", "statements_per_second", "device", "batch_size", "halvings", "tokens_per_forward", "git_commit",
         "started"]  # fmt: skip
STAGES = {"01_": "data", "04_": "decoding", "09_": "decoding", "paper.": "rendering"}  # all others: scoring
OUTER = re.compile(r"^(MAKE|MFLAGS|PROFILE|MODELS|DATA|SEED|RELEASE_ZIP|VENV|PYTHON|LOCK|DECODE|HARDWARE|ARGS)")


def checkout(folder: Path) -> Path:
    """A checkout in which nothing has run, and a small release to take the data from."""
    for name in LINKED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "boxes", folder / "boxes")  # which looks for data/models beside itself
    with tempfile.TemporaryDirectory() as place, zipfile.ZipFile(folder / "small.zip", "w") as archive:
        for number, name in enumerate(FILES):
            path = write_dataset(Path(place) / name, count=8, operations=3, seed=number)
            archive.write(path, f"{RELEASE_FOLDER}/{name}")
    return folder


def start(folder: Path, log: Path, batch_size: int = 4, before: tuple[str, ...] = (), **variables: str):
    """`make all`, in a process group of its own, its output in a file."""
    command = [*before, "make", "all", f"VENV={sys.prefix}", "DATA=release", "RELEASE_ZIP=small.zip",
               f"MODELS={' '.join(MODELS)}", f"HARDWARE={HARDWARE.format(batch_size)}"]  # fmt: skip
    environment = {key: value for key, value in os.environ.items() if not OUTER.match(key)}
    environment |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""} | variables
    with open(log, "w") as file:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=file, start_new_session=True)


def make(folder: Path, **options) -> tuple[int, str]:
    """Exit status and output of a `make all` that is waited for."""
    with tempfile.TemporaryDirectory() as place:
        log = Path(place) / "log"
        return start(folder, log, **options).wait(timeout=600), log.read_text()


def outcome(folder: Path) -> dict[str, object]:
    """What must be the same: predictions in any order, CSVs, tables and figures, byte by byte."""
    found: dict[str, object] = {}
    for path in sorted((folder / "data/runs").rglob("predictions.jsonl")):
        found[str(path.relative_to(folder))] = sorted(path.read_bytes().splitlines())
    for path in [*(folder / "data/results").rglob("*.csv"), *(folder / "paper/out").rglob("*")]:
        if path.is_file() and not path.name.startswith("report"):
            timed = path.name == "runs.csv"
            found[str(path.relative_to(folder))] = (
                pd.read_csv(path).drop(columns=TIMED).to_csv() if timed else path.read_bytes()
            )
    return found


def differences(folder: Path, truth: dict[str, object]) -> list[str]:
    """The files that are not as without faults."""
    now = outcome(folder)
    return sorted(name for name in now.keys() | truth.keys() if now.get(name) != truth.get(name))


def wipe(folder: Path, names: tuple[str, ...] = WRITTEN) -> None:
    """Delete what was written."""
    for name in names:
        shutil.rmtree(folder / name, ignore_errors=True)


def begin(folder: Path) -> tuple[Path, dict[str, object]]:
    """A checkout in which `make all` ran without faults, and what came out."""
    checkout(folder)
    status, output = make(folder)
    if status:
        raise SystemExit(f"make all fails without any fault:\n{output[-2000:]}")
    return folder, outcome(folder)


def goes_on(folder: Path, truth: dict[str, object]) -> bool:
    """Whether `make all` now ends as without faults; says what does not."""
    status, output = make(folder)
    wrong = differences(folder, truth)
    if status or wrong:
        print(f"status {status}, other than without faults: {wrong}\n{output[-1500:]}", file=sys.stderr)
    return not status and not wrong


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


def stage_of(group: int) -> str:
    """Which part of `make all` a process group is in."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode().split("\0")
            if os.getpgid(int(path.parent.name)) != group or "python" not in words[0]:
                continue
        except (OSError, ValueError):
            continue
        script = " ".join(words).replace("experiments/", "")
        return next((stage for sign, stage in STAGES.items() if f" {sign}" in script), "scoring")
    return "between scripts"


def make_killed(folder: Path, rounds: int, seed: int) -> tuple[int, str]:
    """Kill and start again, keeping what was written; whenever all is done, compare, and begin again."""
    began = time.monotonic()
    folder, truth = begin(folder)
    longest = (time.monotonic() - began) / 3  # on a slow machine, too, some scripts must get through
    rng, stages, survived, pending = np.random.default_rng(seed), Counter(), 0, 0
    wipe(folder)
    before: dict[Path, bytes] = {}
    while sum(stages.values()) < rounds:
        process = start(folder, folder / "log")
        try:
            process.wait(timeout=rng.uniform(0.2, longest))
        except subprocess.TimeoutExpired:
            stages[stage_of(process.pid)] += 1
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            time.sleep(0.05)  # until the last of the group is gone
            after = whole_lines(folder)
            lost = [path for path, lines in before.items() if not after.get(path, b"").startswith(lines)]
            pending += not lost
            before = after
            continue
        survived += pending if process.returncode == 0 and not differences(folder, truth) else 0
        pending, before = 0, {}
        wipe(folder, WRITTEN[rng.integers(2) :])
    survived += pending if goes_on(folder, truth) else 0
    return survived, ", ".join(f"{count} in {stage}" for stage, count in stages.most_common())


def used(path: Path) -> int:
    """Bytes that a file or a folder takes on the disk."""
    return int(subprocess.check_output(["du", "-s", "-B1", path], text=True).split()[0])


def full_disk(folder: Path, rounds: int, seed: int) -> tuple[int, str]:
    """A file system of a random size, too small; where none may be mounted, a limit of the size of files."""
    rng, survived = np.random.default_rng(seed), 0
    whole, truth = begin(folder / "whole")
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
    folder, truth = begin(folder)
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
    folder, truth = begin(folder)
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
    folder, truth = begin(folder)
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
    folder, truth = begin(folder)
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
    folder, truth = begin(folder)
    survived, used = 0, []
    for number, batch_size in zip(range(rounds), np.random.default_rng(seed).permutation([1, 3, 7, 64]), strict=False):
        wipe(folder, ("data/runs", "data/results", "paper/out"))
        threads = 1 + (number + 1) % 2
        status, _ = make(folder, batch_size=batch_size, OMP_NUM_THREADS=str(threads))
        survived += status == 0 and not differences(folder, truth)
        used.append(f"{threads} threads and {batch_size} prompts")
    return survived, ", ".join(used)
