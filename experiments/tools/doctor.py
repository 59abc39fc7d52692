"""What a run of the chosen models would meet, before hours are spent: GPUs, memory, disk, access,
tokenizers, time.

python experiments/tools/doctor.py --profile paper --models CodeLlama-7b-hf gemma-7b

A line a kind, whatever the number of models; what is here has a row of its own (the checks are in
checkup.py). Nothing is loaded or fetched. The hub is asked whether a gated repository is open to
HF_TOKEN, unless HF_HUB_OFFLINE=1 or the weights are here. Times are those of data/bench/shapes.csv,
measured on this kind of device, or "not measured"; without a GPU they are predicted for models that
the memory holds (prediction.py), and each of these has a row. The last line is "can run", or "cannot
run, because ..." with exit status 1.
"""

import argparse
import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout, whatever is installed

from boxes.commandline import add_models, argument_parser, command, positive
from boxes.models.hub import cache_folder
from boxes.models.shapes import GB, download_bytes, file_bytes, gigabytes
from boxes.models.table import PROFILES, ModelSpec, choose
from boxes.runs.devices import gpus
from experiments.tools.checkup import HERE, TO_FETCH, Checkup, ask_hub, examine

FEW = 3  # names that are listed


def gpu_name() -> str | None:
    """The GPU's name; None without one that torch can use."""
    import torch

    from boxes.models.device import device_name

    return device_name(torch.device("cuda", 0)) if torch.cuda.is_available() else None


def check_disk(specs: list[ModelSpec], rows: list[Checkup]) -> tuple[str, list[str]]:
    """What is left to fetch against the room in the cache; a fault where that is too little."""
    waiting = to_fetch(specs, rows)
    if not waiting:
        return "nothing to fetch", []
    line = f"{gigabytes(sum(map(download_bytes, waiting)))} to fetch"
    places: dict[int, Path] = {}  # of each disk the first
    needs: Counter[int] = Counter()
    for spec in waiting:
        place = place_of(spec)
        places.setdefault(place.stat().st_dev, place)
        needs[place.stat().st_dev] += room(spec)
    free = {disk: shutil.disk_usage(place).free for disk, place in places.items()}
    for disk, place in places.items():
        line += f", {gigabytes(free[disk])} free in {place}"
    if all(need <= free[disk] for disk, need in needs.items()):
        return line, []
    return line, [f"{line}: free some, or set HF_HOME"]


def place_of(spec: ModelSpec) -> Path:
    """A folder that is there, of the disk that a row's weights go to."""
    folder = spec.folder or cache_folder(spec.hub_id, "none")
    return next(place for place in folder.parents if place.exists())


def room(spec: ModelSpec) -> float:
    """Bytes that fetching a row's weights needs: of a GGUF file also those that it is written out to."""
    return file_bytes(spec) + (spec.packaged.size if spec.packaged else 0)


def to_fetch(specs: list[ModelSpec], rows: list[Checkup]) -> list[ModelSpec]:
    """The models whose weights are not here, but on the hub."""
    return [spec for spec, row in zip(specs, rows, strict=True) if row.weights == TO_FETCH]


def memory_line(specs: list[ModelSpec], rows: list[Checkup]) -> tuple[str, list[str]]:
    """The model that needs most, against what there is; one fault for all that have too little."""
    spec, row = max(zip(specs, rows, strict=True), key=lambda found: found[1].need)
    held = gigabytes(row.held) if row.held else "an unknown size"
    largest = f"{gigabytes(row.need)} for {spec.name}, the largest of {len(specs)}"
    line = f"{largest}; there are {held} {row.on}"
    short = [spec.name for spec, row in zip(specs, rows, strict=True) if row.short]
    if not short:
        return line, []
    mend = "more GPUs (GPUS_PER_MODEL), or smaller models (MODELS)"
    return line, [f"too little memory for {few_of(short)}: {line}; {mend}"]


def few_of(names: list[str]) -> str:
    """A few names as they are, many by their number and the first of them."""
    if len(names) <= FEW:
        return ", ".join(names)
    return f"{len(names)} models ({', '.join(names[:FEW])}, ...)"


def one_a_kind(specs: list[ModelSpec], rows: list[Checkup]) -> list[str]:
    """The faults of single models, a line for those that differ in nothing but the model's name."""
    kinds: dict[str, list[str]] = {}  # what they say -> the models
    first: dict[str, str] = {}  # what they say -> in the words of the first
    for spec, row in zip(specs, rows, strict=True):
        for fault in row.faults:
            kind = fault.replace(spec.hub_id or spec.name, "...").replace(spec.name, "...")
            kinds.setdefault(kind, []).append(spec.name)
            first.setdefault(kind, fault)
    lines = []
    for kind, names in kinds.items():
        also = f" (likewise {few_of(names[1:])})" if names[1:] else ""
        lines.append(f"{names[0]}: {first[kind]}{also}")
    return lines


def tally(words: Iterable[str]) -> str:
    """How often each word stands there: "22 open, 7 closed"."""
    return ", ".join(f"{count} {word}" for word, count in Counter(words).items())


def time_line(rows: list[Checkup]) -> str:
    """The seconds of all models, where they were measured."""
    measured = [row.seconds for row in rows if row.seconds]
    predicted = [row.predicted for row in rows if row.predicted]
    if predicted and not measured:
        models = "1 model" if len(predicted) == 1 else f"{len(predicted)} models"
        return f"{minutes(sum(predicted))} predicted for {models} on this processor"
    if not measured:
        return "not measured on this kind of device"
    models = f"{len(measured)} of {len(rows)} models, the others not measured"
    return f"{sum(measured):.0f} s of decoding for {models}"


def minutes(seconds: float) -> str:
    """Whole minutes, one at least; hours where there are many."""
    if seconds < 2 * 3600:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.0f} h"


def hub_line(specs: list[ModelSpec], rows: list[Checkup]) -> str:
    """Whether the hub was asked, what it answered, whether there is a token; never the token."""
    from huggingface_hub import constants, get_token

    asked = "offline" if constants.HF_HUB_OFFLINE else "asked"
    token = "found" if get_token() else "none"
    gated = sum(spec.gated for spec in specs)
    answers = tally(row.access for row in rows)
    return f"{asked}; {answers}; token: {token} ({gated} of the models are gated)"


def gpus_line(there: dict[str, int], gpu: str | None) -> str:
    """How many GPUs there are, how large and of which kind."""
    line = str(len(there) or "none")
    if there and min(there.values()):
        line += f", {min(there.values()) / GB:.0f} GB each"
    return f"{line} ({gpu})" if gpu else line


def show_models(specs: list[ModelSpec], rows: list[Checkup]) -> None:
    """A row for each model whose weights are on this machine, or that it could decode."""
    cells = []
    for spec, row in zip(specs, rows, strict=True):
        if row.weights == HERE or row.predicted:
            weights = row.weights
            if weights == TO_FETCH:
                weights += f", {gigabytes(download_bytes(spec))}"
            cells.append((spec.name, weights, gigabytes(row.need), row.tokenizer, time_of(row)))
    if cells:
        head = ("model", "weights", "memory", "tokenizer", "time")
        print(f"\n{tabulate(cells, head, disable_numparse=True)}")


def time_of(row: Checkup) -> str:
    """How long a model takes, as far as anybody knows."""
    if row.seconds:
        return f"{row.seconds:.0f} s"
    return f"predicted {minutes(row.predicted)}" if row.predicted else "not measured"


def predict(specs: list[ModelSpec], rows: list[Checkup]) -> None:
    """How long the models take that the memory holds, on a processor."""
    from experiments.tools.prediction import predicted_seconds

    speeds: dict[tuple[int, int], float] = {}
    for spec, row in zip(specs, rows, strict=True):
        if not row.short:
            row.predicted = predicted_seconds(spec, speeds)


def last_line(profile: str, waiting: list[ModelSpec], faults: list[str]) -> int:
    """The last line, and the exit status."""
    if faults:
        because = f" {faults[0]}"
        if len(faults) > 1:
            because = ":" + "".join(f"\n  - {fault}" for fault in faults)
        print(f"\ncannot run, because{because}", file=sys.stderr)
        return 1
    if waiting:
        size = gigabytes(sum(map(download_bytes, waiting)))
        print(f"\ncan run, once make weights PROFILE={profile} has fetched {size}")
    else:
        print("\ncan run")
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--profile", required=True, choices=PROFILES)
    option = parser.add_argument
    add_models(parser)
    option("--gpus", type=positive, help="GPUs a model (default: as many as the weights need)")
    option("--bench", type=Path, required=True, help="shapes.csv of the bench")
    return parser.parse_args()


@command
def main() -> int:
    arguments = parse_arguments()
    if arguments.profile == "reported":
        print("reported: the printed numbers, no model is run\n\ncan run")
        return 0
    specs = [spec for spec in choose(arguments.profile, arguments.models) if not spec.elsewhere]
    if not specs:
        print("these were decoded elsewhere: no model is run\n\ncan run")
        return 0
    there, gpu = gpus(), gpu_name()
    rows = [examine(spec, there, arguments.gpus, arguments.bench, gpu) for spec in specs]
    ask_hub(specs, rows)
    if not there:
        predict(specs, rows)
    memory, short = memory_line(specs, rows)
    disk, full = check_disk(specs, rows)
    faults = [*short, *full, *one_a_kind(specs, rows)]
    if there and not gpu:
        mend = "install requirements.lock (make setup LOCK=requirements.lock)"
        faults.append(f"nvidia-smi names GPUs that torch cannot use: {mend}")
    print(f"GPUs      {gpus_line(there, gpu)}")
    print(f"memory    {memory}")
    print(f"weights   {tally(row.weights or 'damaged' for row in rows)}; {disk}")
    print(f"hub       {hub_line(specs, rows)}")
    print(f"time      {time_line(rows)}")
    show_models(specs, rows)
    sys.stdout.flush()
    return last_line(arguments.profile, to_fetch(specs, rows), faults)


if __name__ == "__main__":
    main()
