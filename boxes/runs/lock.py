"""One process a run's folder: lock.json names the owner, others wait, and the lock of one that died
is taken over.

On the owner's machine a lock is stale when its process is gone; from elsewhere (a shared folder,
another container) when it has shown no sign of life for STALE seconds of the waiter's own monotonic
clock: clocks that differ or jump change nothing.

Not filelock's lease (4.3.1), which waits for ever where a kill left the lock empty, or where the
file system cannot exchange two names (NFS), and robs an owner on another host of the same name.
"""

import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from boxes.records import CannotWrite, UserError

LOCK = "lock.json"
BEAT = 10.0  # seconds between signs of life: the lock's time of change
STALE = 90.0  # several beats, and what a network file system may keep back
POLL = 0.5


@contextmanager
def held(folder: Path) -> Iterator[Callable[[], None]]:
    """Own a run's folder while it lasts; whoever comes second waits, and says for whom.

    Yields a check to be made before each write. UserError where another process has taken the
    folder over since, CannotWrite where no lock can be written.
    """
    path, mine = folder / LOCK, _owner()
    done = threading.Event()

    def check() -> None:
        now = _look(path)
        if not now or now[0] != mine:
            other = f"now {_name(now[0])} has it" if now else "its lock is gone"
            raise UserError(f"{folder}: this process stood still and {other}; run again, what was written is kept")

    try:  # from before there is a lock: a signal may come as soon as there is one
        _acquire(path, mine)
        _sweep(folder)
        threading.Thread(target=_beat, args=(path, mine, done), daemon=True).start()
        yield check
    finally:
        done.set()
        with suppress(UserError):
            now = _look(path)
            if now and now[0] == mine:
                path.unlink(missing_ok=True)


def _acquire(path: Path, mine: str) -> None:
    """Wait until the lock is ours."""
    told, seen, since = False, None, 0.0
    while not _created(path, mine):
        now = _look(path)
        if now != seen:
            seen, since = now, time.monotonic()
        elif now and _is_dead(now[0], time.monotonic() - since):
            _remove(path, now[0], mine)
        elif now and not told:
            told = True
            print(f"{path.parent}: in use by {_name(now[0])}; waiting for it", file=sys.stderr)
        time.sleep(POLL if told else 0.01)


def _owner() -> str:
    """What a lock says; no two are the same."""
    fields = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "process_started": _started(os.getpid()),
        "id": uuid.uuid4().hex,
    }
    return json.dumps(fields, indent=2) + "\n"


def _machine() -> str | None:
    """Where a process number means the same process: this boot of this machine, this container."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return None


def _started(pid: int) -> str | None:
    """When a process began, in ticks since boot; None where it has ended."""
    with suppress(OSError):
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]
    return None


def _created(path: Path, mine: str) -> bool:
    """Whether the lock was there for the taking. The content follows its creation: for a moment a
    lock can be empty."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "x") as file:
            try:
                file.write(mine)
                file.flush()
            except BaseException:
                path.unlink(missing_ok=True)
                raise
    except FileExistsError:
        return False
    except OSError as error:
        raise CannotWrite(f"{path}: cannot write here ({error.strerror}); check the disk and the permissions") from None
    return True


def _look(path: Path) -> tuple[str, int] | None:
    """A lock's content and its time of change; None where there is none."""
    try:
        with open(path, errors="replace") as file:  # opening asks a network file system for the newest
            return file.read(), os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the folder's permissions") from None


def _fields(text: str) -> dict:
    """What a lock says; nothing where a kill left it empty or somebody wrote something else."""
    with suppress(ValueError):
        fields = json.loads(text)
        return fields if isinstance(fields, dict) else {}
    return {}


def _name(text: str) -> str:
    fields = _fields(text)
    return f"process {fields.get('pid', '?')} on {fields.get('host', '?')} since {fields.get('since', '?')}"


def _is_dead(text: str, watched: float) -> bool:
    """Whether the owner of a lock that did not change for `watched` seconds is gone."""
    fields = _fields(text)
    if fields.get("machine") and fields["machine"] == _machine() and type(fields.get("pid")) is int:
        return _started(fields["pid"]) != fields.get("process_started")
    return watched > STALE


def _remove(path: Path, stale: str, mine: str) -> None:
    """Remove a stale lock, and no other's: of several that wait only one renames it, and a newer
    one is put back."""
    aside = path.with_name(f"{LOCK}.{_fields(mine)['id']}")
    with suppress(FileNotFoundError):
        path.rename(aside)
        now = _look(aside)
        if now and now[0] != stale:
            aside.rename(path)
        else:
            aside.unlink()
            print(f"{path.parent}: {_name(stale)} is gone; going on in its place", file=sys.stderr)


def _sweep(folder: Path) -> None:
    """Remove the locks of dead owners that others, killed in _remove, have left aside."""
    for aside in folder.glob(f"{LOCK}.*"):
        now = _look(aside)
        if now and _is_dead(now[0], 0.0):
            aside.unlink(missing_ok=True)


def _beat(path: Path, mine: str, done: threading.Event) -> None:
    while not done.wait(BEAT):
        with suppress(OSError, UserError):
            now = _look(path)
            if not now or now[0] != mine:
                return
            os.utime(path)
