"""How much of a machine's memory this process may still take: what is free, or less where a container or a job of a
cluster has a limit (control groups, versions 1 and 2)."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from boxes.records import UserError

MEMORY = Path("/proc/meminfo")
GROUPS = Path("/proc/self/cgroup")  # a line each: number:controllers:path
ROOT = Path("/sys/fs/cgroup")
# A group's limits, what is used of them, and what of that can be dropped: files that were read, but for what is mapped
# into a process, weights among it.
VERSION_2 = (("memory.max", "memory.high"), "memory.current", ("inactive_file", "active_file", "file_mapped"))
VERSION_1 = (
    ("memory.limit_in_bytes",),
    "memory.usage_in_bytes",
    ("total_inactive_file", "total_active_file", "total_mapped_file"),
)


def available_bytes() -> int:
    """Bytes that can still be taken. UserError where the machine does not say."""
    return min([_of_the_machine(), *_of_groups()])


def _of_the_machine() -> int:
    with suppress(OSError):
        for line in MEMORY.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    raise UserError(f"{MEMORY} does not say how much memory is available; give --batch-size")


def _of_groups() -> Iterator[int]:
    """What each group of this process with a limit has left, those around it included."""
    with suppress(OSError, ValueError):
        for line in GROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                yield from _up_from(ROOT, path, *VERSION_2)
            elif "memory" in controllers.split(","):
                yield from _up_from(ROOT / "memory", path, *VERSION_1)


def _up_from(root: Path, path: str, limits: tuple[str, ...], used: str, droppable: tuple[str, ...]) -> Iterator[int]:
    group = root / path.lstrip("/")
    while True:
        for limit in limits:
            # Not all groups have one ("max"), or the file; and what is outside of a container is not seen in it.
            with suppress(OSError, ValueError):
                most, taken = int((group / limit).read_text()), int((group / used).read_text())
                yield max(0, most - taken + _droppable(group, droppable))
        if group == root:
            return
        group = group.parent


def _droppable(group: Path, names: tuple[str, ...]) -> int:
    try:
        counted = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return 0
    inactive, active, mapped = (int(counted.get(name, 0)) for name in names)
    return max(0, inactive + active - mapped)
