"""Run a command on a free GPU, or on several for a model too large for one; wait where all are taken.

python experiments/tools/on_gpu.py --locks data/runs/.gpus --once data/runs/paper/gemma-7b/.lock --model gemma-7b -- COMMAND

A GPU is one of CUDA_VISIBLE_DEVICES or of nvidia-smi; without any, small models share the CPU's cores between --jobs commands,
and a larger one has them all. The locks (flock) are those of the process that runs the command, however it ends. --once: a
second command with this lock waits for the first. How many GPUs: --gpus (GPUS_PER_MODEL), or as many as hold the weights of
--model. The command's own --device is heeded: cuda:1 is the second GPU, auto all of them, cpu none.
"""

import argparse
import fcntl
import math
import os
import re
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout, whatever is installed

from boxes.commandline import argument_parser, command, positive
from boxes.models.shapes import weight_bytes
from boxes.models.table import spec_of
from boxes.records import UserError

CPU = "cpu"  # a share of its cores is cpu0, cpu1, ...
# Bytes of weights in float32: threads of one forward of such a model wait for each other more than they work.
SMALL = 1e8
PAUSE = 0.2  # seconds between two looks for a free GPU
USABLE = 0.85  # of a GPU's memory for weights; the rest is for the rows, 1 GB at least each
QUERY = ("nvidia-smi", "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits")


def gpus() -> dict[str, int]:
    """The GPUs that may be used, as CUDA_VISIBLE_DEVICES names them, and the bytes of their memory (0: not known)."""
    try:
        lines = subprocess.run(QUERY, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        lines = []
    found = {}
    for index, uuid, mebibytes in (re.split(r",\s*", line.strip()) for line in lines if line.count(",") == 2):
        found[index] = found[uuid] = int(mebibytes) * 2**20 if mebibytes.isdigit() else 0
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return {name: size for name, size in found.items() if name.isdigit()}
    return {name: found.get(name, 0) for name in visible(named, list(found))}


def visible(named: str, there: list[str]) -> list[str]:
    """The GPUs that CUDA_VISIBLE_DEVICES names, as CUDA reads it: up to the first name that none of `there` has; none where
    one is named twice.

    A GPU is named by its index or by the beginning of its UUID, a part of one (MIG) by a UUID that is not in `there`.
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
    """How many GPUs hold a model's weights: one where the memory is not known. No more than there are."""
    least = min(memory)
    if not model or not least:
        return 1
    return min(len(memory), max(1, math.ceil(weight_bytes(spec_of(model), itemsize) / (USABLE * least))))


def option(words: list[str], name: str) -> str | None:
    """The value of the last --name VALUE or --name=VALUE of a command; None without one."""
    values = [words[place + 1] for place, word in enumerate(words[:-1]) if word == name]
    values += [word.split("=", 1)[1] for word in words if word.startswith(f"{name}=")]
    return values[-1] if values else None


def try_lock(path: Path, wait: bool = False) -> int | None:
    """The descriptor of a lock, which a command inherits; None where another process has it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(handle)
        return None
    os.set_inheritable(handle, True)
    return handle


def take_once(path: Path) -> None:
    """Lock a file, which then names this process; where another has it, say which and wait for it."""
    handle = try_lock(path)
    if handle is None:
        print(f"{path}: in use by {path.read_text() or 'another process'}; waiting for it", file=sys.stderr, flush=True)
        handle = try_lock(path, wait=True)
    os.ftruncate(handle, 0)
    since = datetime.now(UTC).isoformat(timespec="seconds")
    os.write(handle, f"process {os.getpid()} on {socket.gethostname()} since {since}".encode())


def take(folder: Path, names: list[str], count: int) -> list[str]:
    """Lock `count` of the GPUs named, as soon as so many are free. One at a time chooses, so that none waits for ever with
    half of what it needs."""
    folder.mkdir(parents=True, exist_ok=True)
    queue = try_lock(folder / "queue", wait=True)
    taken: list[str] = []
    while True:
        for name in names:
            if name not in taken and len(taken) < count and try_lock(folder / name) is not None:
                taken.append(name)
        if len(taken) == count:
            os.close(queue)
            return sorted(taken, key=names.index)
        time.sleep(PAUSE)


def placement(words: list[str], there: dict[str, int], model: str | None, asked: int | None) -> tuple[list[str], int]:
    """The GPUs to choose from and how many of them to take, by the command's --device and by `asked`; none for the CPU."""
    device, names = option(words, "--device"), list(there)
    if not names or device == CPU:
        return [], 0
    number = re.fullmatch(r"cuda:(\d+)", device or "")
    if number:
        if int(number[1]) >= len(names):
            raise UserError(f"--device {device}: there are {len(names)} GPUs, cuda:0 is the first")
        return [names[int(number[1])]], 1
    itemsize = 4 if option(words, "--dtype") == "float32" else 2
    count = asked or (len(names) if device == "auto" else needed(model, itemsize, list(there.values())))
    if count > len(names):
        raise UserError(f"GPUS_PER_MODEL={count}, but there are {len(names)} GPUs")
    return names, count


def cpu_placement(model: str | None, jobs: int, cores: int) -> tuple[list[str], int, int]:
    """The shares of the CPU to choose from, one for each of `jobs` at a time; how many to take, and with how many threads."""
    shares = max(1, min(jobs, cores))
    names = [f"{CPU}{number}" for number in range(shares)]
    small = model is not None and weight_bytes(spec_of(model), 4) < SMALL
    return (names, 1, cores // shares) if small else (names, shares, cores)


def parse_arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--locks", type=Path, required=True, help="folder of the locks, a file a GPU")
    parser.add_argument("--once", type=Path, help="a lock of this command's own, taken first")
    parser.add_argument("--model", help="name of the row whose weights must find room")
    parser.add_argument("--gpus", type=positive, help="GPUs to take (default: as many as the weights need)")
    parser.add_argument(
        "--jobs", type=positive, default=1, help="commands at a time, without a GPU (default: %(default)s)"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- and the command")
    arguments = parser.parse_args()
    arguments.command = arguments.command[arguments.command[:1] == ["--"] :]
    if not arguments.command:
        raise UserError("no command; see --help")
    return arguments


def environment(taken: list[str], threads: int) -> dict[str, str]:
    """What the command is told in the environment: its GPUs, or the threads of its share of the CPU (the user's go before)."""
    if threads:
        return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}
    return {"CUDA_VISIBLE_DEVICES": ",".join(taken)}


@command
def main() -> None:
    arguments = parse_arguments()
    words, threads = arguments.command, 0
    names, count = placement(words, gpus(), arguments.model, arguments.gpus)
    if not names:
        names, count, threads = cpu_placement(arguments.model, arguments.jobs, len(os.sched_getaffinity(0)))
    if arguments.once:
        arguments.once.parent.mkdir(parents=True, exist_ok=True)
        take_once(arguments.once)
    os.environ |= environment(take(arguments.locks, names, count), threads)
    if not threads and (count > 1 or option(words, "--device")):
        # the last one counts; cuda:1 is now the only one there is
        words = [*words, "--device", "auto" if count > 1 else "cuda"]
    sys.stdout.flush()
    try:
        os.execvp(words[0], words)
    except OSError as error:
        raise UserError(f"{words[0]}: {error.strerror}") from None


if __name__ == "__main__":
    main()
