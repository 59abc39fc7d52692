"""What a run of the chosen models would meet, before hours are spent: GPUs, memory, disk, access, tokenizers, time.

python experiments/tools/doctor.py --profile paper --models CodeLlama-7b-hf gemma-7b

A line a kind, whatever the number of models; what is here has a row of its own. Nothing is loaded or fetched. The hub is asked
whether a gated repository is open to HF_TOKEN, unless HF_HUB_OFFLINE=1 or the weights are here. Times are those of
data/bench/shapes.csv, measured on this kind of device, or "not measured". The last line is "can run", or "cannot run, because
..." with exit status 1.
"""

import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout, whatever is installed

from boxes.commandline import argument_parser, positive
from boxes.models.checkpoint import check_files
from boxes.models.hub import cache_folder
from boxes.models.loading import WeightsMissing, check_recorded, find, load_tokenizer
from boxes.models.shapes import GB, file_bytes, gigabytes, shape_of, weight_bytes
from boxes.models.table import PROFILES, ModelSpec, choose
from boxes.records import UserError, command, read_csv
from boxes.runs.devices import USABLE, gpus, needed

# A statement as the models are to write it.
STATEMENT = (
    "Statement: Box 0 contains the book, Box 1 contains the car and the map, Box 2 contains nothing, Box 3 contains nothing, "
    "Box 4 contains the guitar, Box 5 contains nothing, Box 6 contains the chemical and the fish and the television."
)
STORED, RUN = 1024, 4096  # tokens of a prompt with its statement, and of the largest forward, about


HERE, TO_FETCH, MISSING = "here", "to fetch", "missing"
OPEN, CLOSED, NOT_NEEDED = "open", "closed", "not needed"


@dataclass
class Row:
    """What was found out about a model; `faults` are what would fail, but for memory."""

    weights: str = ""
    need: float = 0.0  # bytes of memory, for the weights and one prompt
    held: float = 0.0  # bytes of the memory that it would have; 0: not known
    on: str = ""  # what memory that is
    tokenizer: str = "not here"
    access: str = "not asked"
    seconds: float | None = None  # for the test set, where somebody measured it
    faults: list[str] = field(default_factory=list)

    @property
    def short(self) -> bool:
        """Whether it needs more memory than there is."""
        return 0 < self.held < self.need


def device_name() -> str | None:
    """The GPU's name; None without one."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def row_bytes(config, itemsize: int) -> int:
    """What one prompt needs beside the weights."""
    from boxes.decoding.memory import passing_bytes, stored_bytes

    config = config.get_text_config()
    return STORED * stored_bytes(config, itemsize) + RUN * passing_bytes(config, itemsize)


def check_memory(spec: ModelSpec, folder: Path | None, there: dict[str, int], asked: int | None, row: Row) -> None:
    """What the weights and one prompt at a time need: on so many GPUs, or in the memory of the machine."""
    from boxes.decoding.memory import free_bytes

    itemsize = 2 if there else 4
    row.need = weight_bytes(spec, itemsize)
    if folder:
        from transformers import AutoConfig

        row.need += row_bytes(AutoConfig.from_pretrained(folder, trust_remote_code=False), itemsize)
    if not there:
        import torch

        row.held, row.on = free_bytes(torch.device("cpu")), "without a GPU, in float32"
        return
    count = asked or needed(spec.name, itemsize, list(there.values()))
    if count > len(there):
        row.faults.append(f"GPUS_PER_MODEL={count}, but there are {len(there)} GPUs")
    row.held = USABLE * min(count, len(there)) * min(there.values())
    row.on = f"on {count} GPU{'s' if count > 1 else ''}"


def accepts(automaton, spelled: dict[int, bytes], ids: list[int], head: str) -> bool:
    """Whether the automaton takes the tokens behind `head` and is at an end then."""
    begun = b""
    while ids and begun.decode(errors="replace").strip() != head:
        begun += spelled.get(ids[0], b"")
        ids = ids[1:]
    state = automaton.starts[head]
    for token in ids:
        if not automaton.allowed[state, token]:
            return False
        state = int(automaton.next_state[state, token])
    return bool(ids) and bool(automaton.done[state] or automaton.allowed[state, list(automaton.end_ids)].any())


def check_tokenizer(spec: ModelSpec, folder: Path, row: Row) -> None:
    """The tokens sent are those of the tokenizer's files (loading checks that), the expression of Figure 4 can be spelled,
    and the canonical tokens of a statement are accepted."""
    from boxes.decoding.constraint import compile_regex, token_bytes
    from boxes.prompting import STATEMENT_HEAD, STATEMENT_REGEX

    row.tokenizer = "fails"
    tokenizer = load_tokenizer(spec, folder)
    spelled = token_bytes(tokenizer)
    automaton = compile_regex(STATEMENT_REGEX, tokenizer, max(len(tokenizer), max(spelled) + 1))
    if accepts(automaton, spelled, tokenizer(STATEMENT, add_special_tokens=False).input_ids, STATEMENT_HEAD):
        row.tokenizer = "ok"
    else:
        row.faults.append("the expression of Figure 4 refuses the tokenizer's own spelling of a statement")


def config_url(hub_id: str) -> str:
    """The address of a file that every repository has."""
    from huggingface_hub import hf_hub_url

    return hf_hub_url(hub_id, "config.json")


def check_access(spec: ModelSpec, row: Row) -> None:
    """Whether the hub opens a repository to this HF_TOKEN; one HEAD request, none offline."""
    from huggingface_hub import constants, get_hf_file_metadata
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if constants.HF_HUB_OFFLINE:
        row.access = "offline"
        return
    try:
        get_hf_file_metadata(config_url(spec.hub_id), timeout=10)
        row.access = OPEN
    except GatedRepoError:
        row.access = CLOSED
        row.faults.append(f"{spec.hub_id} is gated; accept its licence on the hub and set HF_TOKEN")
    except RepositoryNotFoundError:
        row.access = CLOSED
        row.faults.append(f"{spec.hub_id} is not on the hub, or not visible with this HF_TOKEN")
    except Exception as error:  # no network, mostly
        row.access = f"no answer ({type(error).__name__})"


def seconds_of(spec: ModelSpec, bench: Path, device: str | None) -> float | None:
    """Seconds for the test set, measured at a model's shape on this kind of device; None where nobody measured it."""
    shape = shape_of(spec)
    if not shape or not device or not bench.exists():
        return None
    table = read_csv(bench, ("shape", "device", "status", "seconds"))
    found = table[(table["shape"] == shape) & (table.device == device) & (table.status == "measured")]
    return float(found.seconds.iloc[0]) if len(found) else None


def examine(spec: ModelSpec, there: dict[str, int], asked: int | None, bench: Path, device: str | None) -> Row:
    """All checks of one model but that of the hub."""
    row, folder = Row(seconds=seconds_of(spec, bench, device)), None
    try:
        folder = find(spec)
        row.weights, row.access = HERE, NOT_NEEDED
        check_files(folder)
        check_recorded(spec, folder)
        check_tokenizer(spec, folder, row)
    except WeightsMissing as missing:
        row.weights = TO_FETCH if spec.hub_id else MISSING
        if not spec.hub_id:
            row.faults.append(str(missing))
    except UserError as error:
        row.faults.append(str(error))
    check_memory(spec, folder if folder and not row.faults else None, there, asked, row)
    return row


def ask_hub(specs: list[ModelSpec], rows: list[Row]) -> None:
    """check_access of what is to be fetched, until the hub does not answer: it would not answer for the others either."""
    for spec, row in zip(specs, rows, strict=True):
        if row.weights == TO_FETCH:
            check_access(spec, row)
            if row.access not in (OPEN, CLOSED):
                return


# --- a line a kind ---


def check_disk(specs: list[ModelSpec], rows: list[Row]) -> tuple[str, list[str]]:
    """What is left to fetch against the room in the hub's cache; and that as a fault, where it is too little."""
    waiting = [spec for spec, row in zip(specs, rows, strict=True) if row.weights == TO_FETCH]
    need = sum(map(file_bytes, waiting))
    if not need:
        return "nothing to fetch", []
    place = next(place for place in cache_folder(waiting[0].hub_id, "none").parents if place.exists())
    free = shutil.disk_usage(place).free
    line = f"{gigabytes(need)} to fetch, {gigabytes(free)} free in {place}"
    return line, [f"{line}: free some, or set HF_HOME"] if need > free else []


def memory_line(specs: list[ModelSpec], rows: list[Row]) -> tuple[str, list[str]]:
    """The model that needs most, against what there is; and those for which that is too little, as one fault."""
    largest = max(range(len(rows)), key=lambda place: rows[place].need)
    row = rows[largest]
    held = gigabytes(row.held) if row.held else "an unknown size"
    line = f"{gigabytes(row.need)} for {specs[largest].name}, the largest of {len(specs)}; there are {held} {row.on}"
    short = [spec.name for spec, found in zip(specs, rows, strict=True) if found.short]
    if not short:
        return line, []
    mend = "more GPUs (GPUS_PER_MODEL), or smaller models (MODELS)"
    return line, [f"too little memory for {named(short)}: {line}; {mend}"]


def named(names: list[str]) -> str:
    """A few names as they are, many by their number and the first of them."""
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} models ({', '.join(names[:3])}, ...)"


def one_a_kind(specs: list[ModelSpec], rows: list[Row]) -> list[str]:
    """The faults of single models, a line for those that differ in nothing but the model's name."""
    kinds: dict[str, list[tuple[str, str]]] = {}
    for spec, row in zip(specs, rows, strict=True):
        for fault in row.faults:
            kind = fault.replace(spec.hub_id or spec.name, "...").replace(spec.name, "...")
            kinds.setdefault(kind, []).append((spec.name, fault))
    lines = []
    for found in kinds.values():
        names, first = [name for name, _ in found], found[0][1]
        also = f" (likewise {named(names[1:])})" if names[1:] else ""
        lines.append(f"{names[0]}: {first}{also}")
    return lines


def counted(words: Iterable[str]) -> str:
    """How often each word stands there: "22 open, 7 closed"."""
    return ", ".join(f"{count} {word}" for word, count in Counter(words).items())


def time_line(rows: list[Row]) -> str:
    """The seconds of all models, where they were measured."""
    measured = [row.seconds for row in rows if row.seconds]
    if not measured:
        return "not measured on this kind of device"
    return f"{sum(measured):.0f} s of decoding for {len(measured)} of {len(rows)} models, the others not measured"


def token_state(specs: list[ModelSpec]) -> str:
    """Whether there is a token; never the token."""
    from huggingface_hub import get_token

    gated = sum(spec.gated for spec in specs)
    return f"{'found' if get_token() else 'none'} ({gated} of the models are gated)"


def show_those_here(specs: list[ModelSpec], rows: list[Row]) -> None:
    """A row for each model whose weights are on this machine."""
    cells = [
        (spec.name, gigabytes(row.need), row.tokenizer, f"{row.seconds:.0f} s" if row.seconds else "not measured")
        for spec, row in zip(specs, rows, strict=True)
        if row.weights == HERE
    ]
    if cells:
        print(f"\n{tabulate(cells, ('here', 'memory', 'tokenizer', 'time'), disable_numparse=True)}")


def verdict(profile: str, specs: list[ModelSpec], rows: list[Row], faults: list[str]) -> int:
    """The last line, and the exit status."""
    if faults:
        because = f" {faults[0]}" if len(faults) == 1 else ":" + "".join(f"\n  - {fault}" for fault in faults)
        print(f"\ncannot run, because{because}", file=sys.stderr)
        return 1
    waiting = [spec for spec, row in zip(specs, rows, strict=True) if row.weights == TO_FETCH]
    size = gigabytes(sum(map(file_bytes, waiting)))
    print(f"\ncan run, once make weights PROFILE={profile} has fetched {size}" if waiting else "\ncan run")
    return 0


@command
def main() -> int:
    from huggingface_hub import constants

    parser = argument_parser(__doc__)
    parser.add_argument("--profile", required=True, choices=PROFILES)
    parser.add_argument("--models", nargs="*", default=[], metavar="NAME", help="only these (default: all)")
    parser.add_argument("--gpus", type=positive, help="GPUs a model (default: as many as the weights need)")
    parser.add_argument("--bench", type=Path, required=True, help="shapes.csv of the bench")
    arguments = parser.parse_args()
    if arguments.profile == "reported":
        print("reported: the printed numbers, no model is run\n\ncan run")
        return 0
    specs, there, device = choose(arguments.profile, arguments.models), gpus(), device_name()
    rows = [examine(spec, there, arguments.gpus, arguments.bench, device) for spec in specs]
    ask_hub(specs, rows)
    (memory, short), (disk, full) = memory_line(specs, rows), check_disk(specs, rows)
    faults = [*short, *full, *one_a_kind(specs, rows)]
    if there and not device:
        faults.append(
            "nvidia-smi names GPUs that torch cannot use: install requirements.lock (make setup LOCK=requirements.lock)"
        )
    each = f", {min(there.values()) / GB:.0f} GB each" if there and min(there.values()) else ""
    print(f"GPUs      {len(there) or 'none'}{each}{f' ({device})' if device else ''}")
    print(f"memory    {memory}")
    print(f"weights   {counted(row.weights or 'damaged' for row in rows)}; {disk}")
    hub = "offline" if constants.HF_HUB_OFFLINE else "asked"
    print(f"hub       {hub}; {counted(row.access for row in rows)}; token: {token_state(specs)}")
    print(f"time      {time_line(rows)}")
    show_those_here(specs, rows)
    sys.stdout.flush()
    return verdict(arguments.profile, specs, rows, faults)


if __name__ == "__main__":
    main()
