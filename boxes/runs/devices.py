"""Where a model is decoded on this machine: on GPUs of its own, or with a share of the CPU's cores.

A GPU is one of CUDA_VISIBLE_DEVICES or of nvidia-smi. What is taken is locked (flock) in a folder
that all commands share, until the process that has it ends, however it ends. Without a GPU small
models share the cores, and a larger one has them all.
"""

import fcntl
import math
import os
import re
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from boxes.models.shapes import weight_bytes
from boxes.models.table import ModelSpec, spec_of
from boxes.records import UserError

CPU = "cpu"  # a share of its cores is cpu0, cpu1, ...
# Bytes of weights in float32: threads of one forward of such a model wait for each other more than
# they work.
SMALL = 1e8
PAUSE = 0.2  # seconds between two looks for a free GPU
USABLE = 0.85  # of a GPU's memory for weights; the rest is for the rows, 1 GB at least each
QUERY = ("nvidia-smi", "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits")


def gpus() -> dict[str, int]:
    """The GPUs that may be used, as CUDA_VISIBLE_DEVICES names them, and the bytes of their memory
    (0: not known)."""
    found = installed_gpus()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return {name: size for name, size in found.items() if name.isdigit()}
    return {name: found.get(name, 0) for name in visible(named, list(found))}


def installed_gpus() -> dict[str, int]:
    """Every GPU of nvidia-smi and the bytes of its memory, twice: by its index and by its UUID."""
    try:
        said = subprocess.run(QUERY, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return {}
    found = {}
    for line in said.splitlines():
        fields = re.split(r",\s*", line.strip())
        if len(fields) == 3:
            index, uuid, mebibytes = fields
            found[index] = found[uuid] = int(mebibytes) * 2**20 if mebibytes.isdigit() else 0
    return found


def visible(named: str, there: list[str]) -> list[str]:
    """The GPUs that CUDA_VISIBLE_DEVICES names, as CUDA reads it: up to the first name that none of
    `there` has; none where one is named twice.

    A GPU is named by its index or by the beginning of its UUID, a part of one (MIG) by a UUID that
    is not in `there`.
    """
    names: list[str] = []
    for name in map(str.strip, named.split(",")):
        uuids = [uuid for uuid in there if uuid.startswith(name) and name.startswith("GPU-")]
        is_part = bool(there) and name.startswith("MIG-")
        if name in names:
            return []
        if not (name in there or len(uuids) == 1 or is_part):
            break
        names.append(name)
    return names


def needed(model: str | None, itemsize: int, memory: list[int]) -> int:
    """How many GPUs hold a model's weights: one where the memory is not known. No more than there
    are."""
    least = min(memory)
    if not model or not least:
        return 1
    hold = math.ceil(weight_bytes(spec_of(model), itemsize) / (USABLE * least))
    return min(len(memory), max(1, hold))


# ------------------------------------------------------------------------------------------------ locks


def try_lock(path: Path, wait: bool = False) -> int | None:
    """The descriptor of a lock; None where another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def wait_for_lock(path: Path) -> int:
    """The descriptor of a lock; where another process has it, say which and wait for it."""
    handle = try_lock(path)
    if handle is not None:
        return handle
    owner = path.read_text() or "another process"
    print(f"{path}: in use by {owner}; waiting for it", file=sys.stderr, flush=True)
    return try_lock(path, wait=True)


def sign(handle: int) -> None:
    """Write into a lock that this process has it."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()} since {since}".encode(), 0)


def take(folder: Path, names: list[str], count: int) -> dict[str, int]:
    """Lock `count` of the devices named, as soon as so many are free: name -> descriptor. One at a
    time chooses, so that none waits for ever with half of what it needs."""
    queue = try_lock(folder / "queue", wait=True)
    taken: dict[str, int] = {}
    while len(taken) < count:
        for name in names:
            if name in taken or len(taken) == count:
                continue
            handle = try_lock(folder / name)
            if handle is not None:
                taken[name] = handle
        if len(taken) < count:
            time.sleep(PAUSE)
    os.close(queue)
    return taken


# ------------------------------------------------------------------------------------------------ places


@dataclass(frozen=True)
class Place:
    """What a model has to itself, while a process holds the locks."""

    locks: tuple[int, ...]
    gpus: tuple[str, ...] = ()  # as CUDA_VISIBLE_DEVICES names them; none on the CPU
    threads: int = 0  # of its share of the CPU
    device: str | None = None  # what the model is loaded on, of the GPUs that are then visible

    @property
    def environment(self) -> dict[str, str]:
        """What its process is told: its GPUs, or the threads of its share of the CPU (the user's go
        before)."""
        if self.gpus:
            return {"CUDA_VISIBLE_DEVICES": ",".join(self.gpus)}
        return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(self.threads))}


@dataclass(frozen=True)
class Machine:
    """The GPUs and cores of this machine, and what was asked for: --device and --dtype of the
    models, GPUs a model, and how many small models at a time where there is no GPU."""

    locks: Path  # folder of the locks, a file a device
    there: dict[str, int]  # GPU -> bytes of its memory
    cores: int
    jobs: int
    device: str | None = None
    dtype: str | None = None
    asked: int | None = None

    def gpu_placement(self, model: str | None) -> tuple[list[str], int]:
        """The GPUs to choose from and how many of them to take; none for the CPU. cuda:1 is the
        second GPU, auto all of them. UserError for more than there are."""
        names = list(self.there)
        if not names or self.device == CPU:
            return [], 0
        number = re.fullmatch(r"cuda:(\d+)", self.device or "")
        if number:
            if int(number[1]) >= len(names):
                raise UserError(f"--device {self.device}: there are {len(names)} GPUs, cuda:0 is the first")
            return [names[int(number[1])]], 1
        count = self.asked or self._default_count(model)
        if count > len(names):
            raise UserError(f"GPUS_PER_MODEL={count}, but there are {len(names)} GPUs")
        return names, count

    def _default_count(self, model: str | None) -> int:
        if self.device == "auto":
            return len(self.there)
        itemsize = 4 if self.dtype == "float32" else 2
        return needed(model, itemsize, list(self.there.values()))

    def cpu_placement(self, model: str | None) -> tuple[list[str], int, int]:
        """The shares of the CPU to choose from, one for each of `jobs` at a time; how many to take,
        and with how many threads."""
        shares = max(1, min(self.jobs, self.cores))
        names = [f"{CPU}{number}" for number in range(shares)]
        if model is not None and is_small(spec_of(model)):
            return names, 1, self.cores // shares
        return names, shares, self.cores

    def take(self, model: str | None) -> Place:
        """Wait until what a model needs is free, and lock it."""
        names, count = self.gpu_placement(model)
        if not names:
            shares, count, threads = self.cpu_placement(model)
            taken = take(self.locks, shares, count)
            return Place(tuple(taken.values()), threads=threads, device=self.device)
        taken = take(self.locks, names, count)
        device = device_among(self.device, count)
        return Place(tuple(taken.values()), tuple(sorted(taken, key=names.index)), device=device)


def device_among(asked: str | None, count: int) -> str | None:
    """What a model is loaded on, where it sees so many GPUs and they are its own: cuda:1 is then the only
    one there is."""
    if count > 1:
        return "auto"
    return asked and "cuda"


def is_small(spec: ModelSpec) -> bool:
    """Whether a model is decoded as fast with one thread as with all."""
    return weight_bytes(spec, 4) < SMALL
