"""What the benches share: seconds and peak memory of a way, rounds in which all ways take turns, the name of the machine."""

import ctypes
import gc
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from boxes.models.device import device_name

MIB = 2**20


def machine_name(device: torch.device) -> str:
    """The accelerator, or the processor and how many of its threads are used."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return device_name(device, names[0] if names else platform.machine())


def _status(field: str) -> float:
    """A line of /proc/self/status in MiB: VmHWM, the most memory the process had; VmRSS, what it has."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/self/status has no {field}")


def measured(way: Callable[[], object], device: torch.device) -> tuple[float, float, object]:
    """Wall seconds of a way, the MiB it had at its peak beyond what was there before, and what it gave."""
    gc.collect()  # what the way before left behind is no part of this one's time
    gc.freeze()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device) / MIB
    else:
        ctypes.CDLL(None).malloc_trim(0)  # what is freed but kept at hand would count as there before
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
        before = _status("VmRSS")
    began = time.perf_counter()
    result = way()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - began
    peak = torch.cuda.max_memory_allocated(device) / MIB if device.type == "cuda" else _status("VmHWM")
    return seconds, max(0.0, peak - before), result


def rounds(ways: dict[str, Callable[[], object]], count: int, device: torch.device) -> dict[str, list[tuple]]:
    """Every way once a round, `count` rounds, so that what else the machine does meets them all alike; each way's runs."""
    runs: dict[str, list[tuple]] = {name: [] for name in ways}
    for _ in range(count):
        for name, way in ways.items():
            runs[name].append(measured(way, device))
    return runs


def median_seconds(runs: list[tuple]) -> float:
    """The median of the seconds of runs."""
    return statistics.median(seconds for seconds, *_ in runs)


def median_ratio(runs: list[tuple], others: list[tuple]) -> float:
    """The median over the rounds of how many times as long a way took as another."""
    return statistics.median(one[0] / other[0] for one, other in zip(runs, others, strict=True))
