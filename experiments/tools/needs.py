"""What decoding a model needs: memory and time, as doctor.py says them, and the job of a cluster that
04_decode.py asks for by them."""

import math
from pathlib import Path

from boxes.models.shapes import GB, MEASURED, weight_bytes
from boxes.models.table import ModelSpec
from boxes.records import read_csv
from boxes.runs.devices import CPU, is_small, needed
from boxes.runs.submission import Needs

STORED, RUN = 1024, 4096  # tokens of a prompt with its statement, and of the largest forward, about
ANY_GPU = "any"  # of those that were measured the slowest: on which a job will run is not known
CARD = 80e9  # bytes of a GPU's memory, where --gpus does not say how many a model needs
MOST_GPUS = 8  # of a node
CORES = 4  # of a model that keeps more than one busy
# A node's memory: the weights once while they are read, with some room; Python, torch and more prompts
# than one; rounded up to whole steps, so that like models are alike and share an array.
ROOM, BESIDE, STEP = 1.2, 2.0, 4  # times, GB, GB
# A job's limit: so many times what was measured or predicted, for other nodes are slower, and weights
# are read over a network; doubled up from the least one, for the same reason. A job that meets it is
# queued again, and goes on where it stopped.
SLACK = 4.0
LEAST, UNKNOWN = 30, 240  # minutes


def memory_needed(spec: ModelSpec, itemsize: int, folder: Path | None = None) -> float:
    """Bytes of memory for the weights at `itemsize` bytes each, and for one prompt at a time where the
    folder of a checkpoint says what that takes."""
    need = weight_bytes(spec, itemsize)
    if folder:
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        need += row_bytes(config, itemsize)
    return need


def row_bytes(config, itemsize: int) -> int:
    """What one prompt needs beside the weights."""
    from boxes.decoding.memory import passing_bytes, stored_bytes

    config = config.get_text_config()
    return STORED * stored_bytes(config, itemsize) + RUN * passing_bytes(config, itemsize)


def seconds_of(spec: ModelSpec, bench: Path, gpu: str | None) -> float | None:
    """Seconds for the test set, measured at a model's shape on this kind of GPU, or on ANY_GPU; else
    None."""
    if not spec.shape or not gpu or not bench.exists():
        return None
    table = read_csv(bench, ("shape", "device", "status", "seconds"))
    measured = (table["shape"] == spec.shape) & (table.status == MEASURED)
    kind = table.device == gpu
    if gpu == ANY_GPU:
        kind = ~table.device.astype(str).str.endswith(" threads")  # which only processors have
    seconds = table.seconds[measured & kind]
    return float(seconds.max()) if len(seconds) else None


def predicted_on_cores(spec: ModelSpec, speeds: dict[tuple[int, int], float]) -> float | None:
    """Seconds for all runs on CORES of a processor like this one; None for a shape that is not known."""
    if not spec.shape:
        return None
    import torch

    from experiments.tools.prediction import predicted_seconds

    torch.set_num_threads(CORES)  # this process decodes nothing
    return predicted_seconds(spec, speeds)


def needs_of(
    spec: ModelSpec,
    gpus: int | None,
    device: str | None,
    dtype: str | None,
    bench: Path,
    speeds: dict[tuple[int, int], float],
) -> Needs:
    """What a model's job asks for. gpus: those asked for; else as many as hold the weights, or none for
    a small model. `speeds`: of this processor, as far as they were measured."""
    cores = CORES
    if is_small(spec):
        cores = 1
    if device == CPU or (is_small(spec) and not gpus and not device):
        memory = memory_needed(spec, 4)
        return Needs(0, cores, gigabytes_of(memory), minutes_of(predicted_on_cores(spec, speeds)))
    itemsize = 2
    if dtype == "float32":
        itemsize = 4
    count = gpus or needed(spec.name, itemsize, [int(CARD)] * MOST_GPUS)
    memory = memory_needed(spec, itemsize)
    return Needs(count, cores, gigabytes_of(memory), minutes_of(seconds_of(spec, bench, ANY_GPU)))


def gigabytes_of(memory: float) -> int:
    """What a job asks for where a model needs so many bytes."""
    return STEP * math.ceil((ROOM * memory / GB + BESIDE) / STEP)


def minutes_of(seconds: float | None) -> int:
    """The limit of a job that is to take so many seconds."""
    if seconds is None:
        return UNKNOWN
    minutes = LEAST
    while 60 * minutes < SLACK * seconds:
        minutes *= 2
    return minutes
