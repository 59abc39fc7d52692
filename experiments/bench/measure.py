"""What the benches share: seconds and peak memory of a way, rounds in which all ways take turns,
the name of the machine."""

import argparse
import ctypes
import gc
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from boxes.commandline import out_file, positive
from boxes.models import device as devices

MIB = 2**20
Ways = dict[str, Callable[[], object]]


def add_bench(parser: argparse.ArgumentParser) -> None:
    """The options of every bench: what is decoded, and the CSV to write."""
    parser.add_argument("--data", type=Path, required=True, help="dataset in the release's schema")
    parser.add_argument("--out", type=out_file, required=True, help="the CSV to write")


def add_model(parser: argparse.ArgumentParser) -> None:
    """The option that names a model."""
    what = "a name of boxes/models/table.py or a folder (%(default)s)"
    parser.add_argument("--model", default="tiny-base", help=what)


def add_prompts(parser: argparse.ArgumentParser) -> None:
    """The option that takes fewer prompts."""
    what = "only so many, all over the dataset (default: all of them)"
    parser.add_argument("--prompts", type=positive, help=what)


def add_rounds(parser: argparse.ArgumentParser, name: str = "--rounds") -> None:
    """The option that says how often a way runs."""
    what = "runs of which the median counts (default: %(default)s)"
    parser.add_argument(name, type=positive, default=3, help=what)


def device_name(device: torch.device) -> str:
    """The accelerator, or the processor and how many of its threads are used."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return devices.device_name(device, names[0] if names else platform.machine())


def _status(field: str) -> float:
    """A line of /proc/self/status in MiB: VmHWM, the most memory the process had; VmRSS, what it
    has."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/self/status has no {field}")


def measured(way: Callable[[], object], device: torch.device) -> tuple[float, float, object]:
    """Wall seconds of a way, the MiB it had at its peak beyond what was there before, and what it
    gave."""
    gc.collect()  # what the way before left behind is no part of this one's time
    gc.freeze()
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device) / MIB
    else:
        # What is freed but kept at hand would count as there before.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
        before = _status("VmRSS")
    began = time.perf_counter()
    result = way()
    if on_gpu:
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - began
    peak = torch.cuda.max_memory_allocated(device) / MIB if on_gpu else _status("VmHWM")
    return seconds, max(0.0, peak - before), result


def rounds(ways: Ways, count: int, device: torch.device) -> dict[str, list[tuple]]:
    """Every way once a round, `count` rounds, so that what else the machine does meets them all
    alike; each way's runs."""
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
