"""A checkout of links to this one in which `make all` runs, with two tiny models on a small dataset, and what it gives."""

import atexit
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from functools import cache
from pathlib import Path

import pandas as pd
from scenarios_fixture import write_dataset

from boxes.dataset import FILES, RELEASE_FOLDER

ROOT = Path(__file__).resolve().parents[2]
PARTS = sorted(f"paper/{path.name}" for path in (ROOT / "paper").glob("*.py"))
LINKED = ("Makefile", "experiments", "requirements.lock", "requirements-cpu.lock", "data/checksums.sha256",
          "data/models", "data/reported", "paper/templates", *PARTS)  # fmt: skip
MODELS = ("tiny-base", "tiny-code")
HARDWARE = "--device cpu --dtype float32 --batch-size {}"
WRITTEN = ("data/boxes", "data/runs", "data/results", "paper/out")
# Of runs.csv: what may differ between two runs that gave the same. report.html and run.json show these, too, and dates.
TIMED = ["seconds", "statements_per_second", "device", "batch_size", "tokens_per_forward", "started"]
STAGES = ("data", "decoding", "scoring", "rendering")
STAGE_OF = {"01_": "data", "04_": "decoding", "paper.": "rendering"}  # other scripts: scoring
SCRIPT = re.compile(r"(?:experiments/(?!tools/)|-m (?=paper\.))(\S+)")
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


def environment(variables: dict[str, str]) -> dict[str, str]:
    """That of a `make all`: nothing of a make around these tests, one thread unless variables say otherwise."""
    inherited = {key: value for key, value in os.environ.items() if not OUTER.match(key)}
    return inherited | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""} | variables


@cache
def warm(before: tuple[str, ...], variables: tuple[tuple[str, str], ...]) -> Path:
    """The VENV of warm.py, begun by the words `before`, which lasts as long as this process."""
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    command = [*before, sys.executable, str(ROOT / "tests/faults/warm.py"), str(folder)]
    inherited = environment(dict(variables))
    inherited.pop("PYTHONPATH", None)  # a fork takes it from the Makefile
    process = subprocess.Popen(command, env=inherited, stdin=subprocess.PIPE, cwd=folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    while not (folder / ".installed").exists():
        if process.poll() is not None:
            raise SystemExit(f"tests/faults/warm.py ended with status {process.returncode}")
        time.sleep(0.1)
    return folder


def start(folder: Path, log: Path, batch_size: int = 4, before: tuple[str, ...] = (), **variables: str):
    """`make all`, in a process group of its own, its output in a file."""
    venv = warm(before, tuple(variables.items()))
    command = [*before, "make", "all", f"VENV={venv}", "DATA=release", "RELEASE_ZIP=small.zip",
               f"MODELS={' '.join(MODELS)}", f"HARDWARE={HARDWARE.format(batch_size)}"]  # fmt: skip
    with open(log, "w") as file:
        return subprocess.Popen(
            command, cwd=folder, env=environment(variables), stdout=file, stderr=file, process_group=0
        )


def make(folder: Path, **options) -> tuple[int, str]:
    """Exit status and output of a `make all` that is waited for."""
    with tempfile.TemporaryDirectory() as place:
        log = Path(place) / "log"
        return start(folder, log, **options).wait(timeout=600), log.read_text()


def outcome(folder: Path) -> dict[str, object]:
    """What must be the same: predictions in any order, CSVs, tables and figures, byte by byte. A hidden file is what a kill
    left of one that was being written."""
    found: dict[str, object] = {}
    for path in sorted((folder / "data/runs").rglob("predictions.jsonl")):
        found[str(path.relative_to(folder))] = sorted(path.read_bytes().splitlines())
    for path in [*(folder / "data/results").rglob("*.csv"), *(folder / "paper/out").rglob("*")]:
        if path.is_file() and not path.name.startswith(("report", ".")):
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


@cache
def faultless() -> tuple[Path, dict[str, object], dict[str, float]]:
    """A checkout in which `make all` ran without faults, what came out, and the seconds in each of STAGES."""
    folder = checkout(Path(tempfile.mkdtemp(prefix="faultless-")))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    spans: Counter[str] = Counter()
    process, last = start(folder, folder / "log"), time.monotonic()
    while process.poll() is None:
        time.sleep(0.02)
        now = time.monotonic()
        spans[stage_of(process.pid)] += now - last
        last = now
    if process.returncode:
        raise SystemExit(f"make all fails without any fault:\n{(folder / 'log').read_text()[-2000:]}")
    return folder, outcome(folder), spans


def begin(folder: Path) -> tuple[dict[str, object], dict[str, float]]:
    """Make a folder a checkout in which `make all` ran without faults; what came out, and the seconds in each of STAGES."""
    whole, truth, spans = faultless()
    shutil.copytree(whole, folder, symlinks=True, dirs_exist_ok=True)
    return truth, spans


def goes_on(folder: Path, truth: dict[str, object], **options) -> bool:
    """Whether `make all` now ends as without faults; says what does not."""
    status, output = make(folder, **options)
    wrong = differences(folder, truth)
    if status or wrong:
        print(f"status {status}, other than without faults: {wrong}\n{output[-1500:]}", file=sys.stderr)
    return not status and not wrong


def stage_of(group: int) -> str:
    """Which of STAGES a process group of `make all` is in, or "between scripts"."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode().replace("\0", " ")
            if os.getpgid(int(path.parent.name)) != group or not (script := SCRIPT.search(words)):
                continue
        except (OSError, ValueError):
            continue
        return next((stage for sign, stage in STAGE_OF.items() if script[1].startswith(sign)), "scoring")
    return "between scripts"
