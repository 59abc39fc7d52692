"""What a run of the chosen models would meet, before hours are spent: GPUs, memory, disk, access, tokenizers, time.

python experiments/doctor.py --profile paper --models CodeLlama-7b-hf gemma-7b

Nothing is loaded or fetched. The hub is asked whether a gated repository is open to HF_TOKEN, unless HF_HUB_OFFLINE=1 or the
weights are here. Times are those of data/bench/shapes.csv, measured on this kind of device, or "not measured". Exit status 1
where something would fail.
"""

import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout, whatever is installed

from boxes.arguments import argument_parser, positive
from boxes.checkpoint import check_files, weight_files
from boxes.hub import GB, cache_folder
from boxes.models import PROFILES, ModelSpec, choose
from boxes.records import UserError, command, read_csv
from boxes.weights import WeightsMissing, check_recorded, find, load_tokenizer
from experiments.on_gpu import USABLE, gpus, needed, weight_bytes

# The shape of data/bench/shapes.csv that a model has, by its family and size.
SHAPE_OF = {
    **{(family, size): size.lower() for family in ("Llama", "Llama 2", "Code Llama", "FLoat", "Llemma")
       for size in ("7B", "13B", "34B", "70B")},
    **{(family, "7B"): "deepseek-7b" for family in ("DeepSeek", "DeepSeek-Coder", "DeepSeek-Math")},
    **{(family, "8B"): "gemma-7b" for family in ("Gemma", "CodeGemma")},
    **{(family, "7B"): "mistral-7b" for family in ("Mistral", "OpenMathMistral")},
}  # fmt: skip
# A statement as the models are to write it, and a description that it answers.
DESCRIPTION = "Box 0 contains the car and the book, Box 1 contains nothing. Move the car from Box 0 to Box 1."
STATEMENT = (
    "Statement: Box 0 contains the book, Box 1 contains the car and the map, Box 2 contains nothing, Box 3 contains nothing, "
    "Box 4 contains the guitar, Box 5 contains nothing, Box 6 contains the chemical and the fish and the television."
)
STORED, RUN = 1024, 4096  # tokens of a prompt with its statement, and of the largest forward, about


@dataclass
class Row:
    """A line of the report; `faults` are what would fail."""

    weights: str = ""
    memory: str = ""
    tokenizer: str = "not here"
    access: str = "not checked"
    time: str = "not measured"
    faults: list[str] = field(default_factory=list)


def device_name() -> str | None:
    """The GPU's name; None without one."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def row_bytes(config, itemsize: int) -> int:
    """What one prompt needs beside the weights."""
    from boxes.memory import passing_bytes, stored_bytes

    config = config.get_text_config()
    return STORED * stored_bytes(config, itemsize) + RUN * passing_bytes(config, itemsize)


def check_memory(spec: ModelSpec, folder: Path | None, there: dict[str, int], asked: int | None, row: Row) -> None:
    """Whether the weights and one prompt at a time fit: on so many GPUs, or in the memory of the machine."""
    from boxes.memory import free_bytes

    itemsize = 2 if there else 4
    size, one = weight_bytes(spec.name, itemsize), 0
    if folder:
        from transformers import AutoConfig

        one = row_bytes(AutoConfig.from_pretrained(folder, trust_remote_code=False), itemsize)
    need = size + one
    if not there:
        import torch

        free = free_bytes(torch.device("cpu"))
        row.memory = f"{need / GB:.1f} of {free / GB:.0f} GB"
        if need > free:
            row.faults.append(f"needs {need / GB:.1f} GB of memory in float32, {free / GB:.0f} GB are free, and no GPU")
        return
    count = asked or needed(spec.name, itemsize, list(there.values()))
    if count > len(there):
        row.faults.append(f"GPUS_PER_MODEL={count}, but there are {len(there)} GPUs")
    held = min(count, len(there)) * min(there.values())
    row.memory = f"{need / GB:.1f} of {held / GB:.0f} GB on {count} GPU{'s' if count > 1 else ''}"
    if held and need > USABLE * held:
        row.faults.append(
            f"needs {need / GB:.1f} GB on GPUs, {count} have {held / GB:.0f} GB: more GPUs, GPUS_PER_MODEL"
        )


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
    """The expression of Figure 4 can be spelled, the canonical tokens of a statement are accepted, the prompt has one BOS."""
    from boxes.constraint import compile_regex, token_bytes
    from boxes.prompting import STATEMENT_HEAD, STATEMENT_REGEX, PromptSettings, encode_prompt, prompt_maker

    tokenizer = load_tokenizer(spec, folder)
    before, spelled = len(row.faults), token_bytes(tokenizer)
    automaton = compile_regex(STATEMENT_REGEX, tokenizer, max(len(tokenizer), max(spelled) + 1))
    if not accepts(automaton, spelled, tokenizer(STATEMENT, add_special_tokens=False).input_ids, STATEMENT_HEAD):
        row.faults.append("the expression of Figure 4 refuses the tokenizer's own spelling of a statement")
    prompt = prompt_maker(PromptSettings(spec.prompt_format, "table2", spec.system_role), tokenizer)(DESCRIPTION)
    encoded, bos = encode_prompt(tokenizer, prompt), tokenizer.bos_token_id
    begins = bos is not None and tokenizer("a").input_ids[:1] == [bos]
    found = next((place for place, token in enumerate(encoded) if token != bos), len(encoded))
    if found != int(begins):
        row.faults.append(f"the prompt begins with {found} BOS tokens, not {int(begins)}")
    row.tokenizer = "ok" if len(row.faults) == before else "fails"


def config_url(hub_id: str) -> str:
    """The address of a file that every repository has."""
    from huggingface_hub import hf_hub_url

    return hf_hub_url(hub_id, "config.json")


def check_access(spec: ModelSpec, row: Row) -> None:
    """Whether the hub opens a repository to this HF_TOKEN; one HEAD request, none offline."""
    from huggingface_hub import constants, get_hf_file_metadata
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if constants.HF_HUB_OFFLINE:
        return
    try:
        get_hf_file_metadata(config_url(spec.hub_id), timeout=10)
        row.access = "open"
    except GatedRepoError:
        row.access = "closed"
        row.faults.append(f"{spec.hub_id} is gated; accept its licence on the hub and set HF_TOKEN")
    except RepositoryNotFoundError:
        row.access = "closed"
        row.faults.append(f"{spec.hub_id} is not on the hub, or not visible with this HF_TOKEN")
    except Exception as error:  # no network, mostly
        row.access = f"not checked ({type(error).__name__})"


def seconds_of(spec: ModelSpec, bench: Path, device: str | None) -> float | None:
    """Seconds for the test set, measured at a model's shape on this kind of device; None where nobody measured it."""
    shape = SHAPE_OF.get((spec.family, spec.size))
    if not shape or not device or not bench.exists():
        return None
    table = read_csv(bench, ("shape", "device", "status", "seconds"))
    found = table[(table["shape"] == shape) & (table.device == device) & (table.status == "measured")]
    return float(found.seconds.iloc[0]) if len(found) else None


def examine(spec: ModelSpec, there: dict[str, int], asked: int | None, bench: Path, device: str | None) -> Row:
    """All checks of one model."""
    row, folder = Row(), None
    try:
        folder = find(spec)
        check_files(folder)
        check_recorded(spec, folder)
        row.weights, row.access = "here", "not needed"
        check_tokenizer(spec, folder, row)
    except WeightsMissing as missing:
        row.weights = "to fetch" if spec.hub_id else "missing"
        if spec.hub_id:
            check_access(spec, row)
        else:
            row.faults.append(str(missing))
    except UserError as error:
        row.faults.append(str(error))
    if folder and not weight_files(folder):
        folder = None
    check_memory(spec, folder, there, asked, row)
    seconds = seconds_of(spec, bench, device)
    row.time = f"{seconds:.0f} s" if seconds else row.time
    return row


def check_disk(specs: list[ModelSpec], rows: list[Row]) -> tuple[str, list[str]]:
    """What is left to fetch against the room in the hub's cache, in bfloat16: where a repository has float32, twice."""
    waiting = [spec for spec, row in zip(specs, rows, strict=True) if row.weights == "to fetch"]
    need = sum(weight_bytes(spec.name, 2) for spec in waiting)
    if not need:
        return "nothing to fetch", []
    place = next(place for place in cache_folder(waiting[0].hub_id, "none").parents if place.exists())
    free = shutil.disk_usage(place).free
    line = f"{need / GB:.0f} GB to fetch, {free / GB:.0f} GB free in {place}"
    return line, [f"{line}: free some, or set HF_HOME"] if need > free else []


def token_state(specs: list[ModelSpec]) -> str:
    """Whether there is a token; never the token."""
    from huggingface_hub import get_token

    gated = sum(spec.gated for spec in specs)
    return f"{'found' if get_token() else 'none'} ({gated} of the models are gated)"


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
        print("reported: the printed numbers, no model is run")
        return 0
    specs, there, device = choose(arguments.profile, arguments.models), gpus(), device_name()
    rows = [examine(spec, there, arguments.gpus, arguments.bench, device) for spec in specs]
    disk, faults = check_disk(specs, rows)
    if there and not device:
        faults.append(
            "nvidia-smi names GPUs that torch cannot use: install requirements.lock (make setup LOCK=requirements.lock)"
        )
    memory = f", {min(there.values()) / GB:.0f} GB each" if there and min(there.values()) else ""
    print(f"GPUs   {len(there) or 'none'}{memory}{f' ({device})' if device else ''}")
    print(f"disk   {disk}\ntoken  {token_state(specs)}\nhub    {'offline' if constants.HF_HUB_OFFLINE else 'asked'}\n")
    cells = [(s.name, r.weights, r.memory, r.tokenizer, r.access, r.time) for s, r in zip(specs, rows, strict=True)]
    print(tabulate(cells, ("model", "weights", "memory", "tokenizer", "access", "time"), disable_numparse=True))
    faults += [f"{spec.name}: {fault}" for spec, row in zip(specs, rows, strict=True) for fault in row.faults]
    for fault in faults:
        print(f"doctor.py: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    main()
