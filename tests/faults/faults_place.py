"""Where faults are injected while one model is decoded: its run, and forks that decode, torch and the model loaded once."""

import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from scenarios_fixture import write_dataset
from tqdm import tqdm

from boxes.commandline import command
from boxes.interrupts import ENDING
from boxes.models import loading
from boxes.records import JsonLines, read_json
from boxes.runs import decode
from boxes.runs.decode import decode_run
from boxes.runs.task import Settings, Task, read_task

MODEL = "tiny-base"
SETTINGS = Settings(batch_size=3, device="cpu", dtype="float32")


@dataclass(frozen=True)
class Place:
    """A dataset, a run's folder, the lines that an uninterrupted run writes, and how long it takes."""

    task: Task
    folder: Path
    truth: list[str]
    seconds: float

    def decode(self, settings: Settings = SETTINGS) -> dict:
        """decode_run in the folder."""
        return decode_run(MODEL, self.task, self.folder, settings)

    @property
    def path(self) -> Path:
        """predictions.jsonl."""
        return self.folder / "predictions.jsonl"

    def content(self) -> bytes:
        """What there is of predictions.jsonl."""
        return self.path.read_bytes() if self.path.exists() else b""

    def as_without(self) -> bool:
        """Whether the run is complete, its lines those of an uninterrupted one, and nothing else is left."""
        names = {path.name for path in self.folder.iterdir()}
        return (
            read_json(self.folder / "run.json")["status"] == "complete"
            and names == {"run.json", "predictions.jsonl"}
            and sorted(self.path.read_text().splitlines()) == self.truth
        )

    def wipe(self) -> None:
        """Delete the run."""
        for path in self.folder.iterdir():
            path.unlink()


LOAD = cache(loading.load)


def place_in(folder: Path, truth: list[str], seconds: float) -> Place:
    """A dataset in a folder, the same in each, and a run's folder, which is empty."""
    (folder / MODEL).mkdir()
    data = write_dataset(folder / "test-t5.jsonl", count=5, operations=3)
    return Place(read_task(data), folder / MODEL, truth, seconds)


@cache
def faultless() -> tuple[list[str], float]:
    """The lines that a run without faults writes, in order, and how long it takes."""
    with tempfile.TemporaryDirectory() as folder:
        place = place_in(Path(folder), [], 0.0)
        place.decode()  # loads
        place.wipe()
        began = time.monotonic()
        place.decode()
        return sorted(place.path.read_text().splitlines()), time.monotonic() - began


@contextlib.contextmanager
def begin(folder: Path) -> Iterator[Place]:
    """Decode without faults, once a process; while it lasts, the model is loaded once and torch has one thread, which a
    fork survives."""
    threads, load = torch.get_num_threads(), decode.load
    torch.set_num_threads(1)
    # By default forks share a lock of tqdm's, which nobody releases for one that was killed.
    tqdm.monitor_interval = 0
    tqdm.set_lock(threading.RLock())
    decode.load = LOAD
    try:
        yield place_in(folder, *faultless())
    finally:
        decode.load = load
        torch.set_num_threads(threads)


def fork(run: Callable[[], object], stderr: Path, told: int | None = None) -> int:
    """Run as a script does, in a fork. Every line that was reported as written is a byte in the pipe `told`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # the fork heeds them from where a script does
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        return pid
    status = 99
    try:
        for number in ENDING:  # jobs in the background inherit some of them ignored
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        with open(stderr, "w") as file:
            os.dup2(file.fileno(), 2)
        if told is not None:
            append = JsonLines.append

            def telling(self: JsonLines, values: list[dict]) -> None:
                append(self, values)
                os.write(told, b"." * len(values))

            JsonLines.append = telling
        sys.argv = ["04_decode.py"]

        def main() -> None:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
            run()

        command(main)()
    except SystemExit as end:
        status = end.code
    finally:
        sys.stderr.flush()
        os._exit(status)


def stopped(pid: int, delay: float, number: int) -> int:
    """Send a fork a signal after a while; its status as the shell would say it, 0 where it was through before."""
    time.sleep(delay)
    os.kill(pid, number)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status if status >= 0 else 128 - status
