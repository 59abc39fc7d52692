"""The checks of doctor.py, one model at a time. Nothing is loaded or fetched."""

from dataclasses import dataclass, field
from pathlib import Path

from boxes.models import Checkpoint, WeightsMissing, find_row
from boxes.models.files import check_files
from boxes.models.loading import load_tokenizer
from boxes.models.table import ModelSpec
from boxes.records import UserError
from boxes.runs.devices import USABLE, needed
from experiments.tools.needs import memory_needed, seconds_of

# A statement as the models are to write it.
STATEMENT = (
    "Statement: Box 0 contains the book, Box 1 contains the car and the map, "
    "Box 2 contains nothing, Box 3 contains nothing, Box 4 contains the guitar, "
    "Box 5 contains nothing, Box 6 contains the chemical and the fish and the television."
)
HERE, TO_FETCH, MISSING = "here", "to fetch", "missing"
Memory = dict[str, int]  # a GPU -> its bytes
OPEN, CLOSED, NOT_NEEDED = "open", "closed", "not needed"


@dataclass
class Checkup:
    """What was found out about a model; `faults` are what would fail, but for memory."""

    weights: str = ""
    need: float = 0.0  # bytes of memory, for the weights and one prompt
    held: float = 0.0  # bytes of the memory that it would have; 0: not known
    on: str = ""  # what memory that is
    tokenizer: str = "not here"
    access: str = "not asked"
    seconds: float | None = None  # for the test set, where somebody measured it
    predicted: float | None = None  # for all runs, on this machine's processor
    faults: list[str] = field(default_factory=list)

    @property
    def short(self) -> bool:
        """Whether it needs more memory than there is."""
        return 0 < self.held < self.need


def examine(spec: ModelSpec, there: Memory, asked: int | None, bench: Path, gpu: str | None) -> Checkup:
    """All checks of one model but that of the hub. `asked`: GPUs a model."""
    row = Checkup(seconds=seconds_of(spec, bench, gpu))
    folder = None
    try:
        checkpoint = find_row(spec)
        row.weights, row.access = HERE, NOT_NEEDED
        check_files(checkpoint.folder)
        checkpoint.check_recorded()
        check_tokenizer(checkpoint, row)
        folder = checkpoint.folder
    except WeightsMissing as missing:
        row.weights = TO_FETCH if spec.hub_id or spec.packaged else MISSING
        if row.weights == MISSING:
            row.faults.append(str(missing))
    except UserError as error:
        row.faults.append(str(error))
    check_memory(spec, None if row.faults else folder, there, asked, row)
    return row


# --- the tokenizer ---


def check_tokenizer(checkpoint: Checkpoint, row: Checkup) -> None:
    """The tokens sent are those of the tokenizer's files (loading checks that), the expression of
    Figure 4 can be spelled, and the canonical tokens of a statement are accepted."""
    from boxes.decoding.constraint import compile_regex, token_bytes
    from boxes.prompting import STATEMENT_HEAD, STATEMENT_REGEX

    row.tokenizer = "fails"
    tokenizer = load_tokenizer(checkpoint)
    spelled = token_bytes(tokenizer)
    vocabulary = max(len(tokenizer), max(spelled) + 1)
    automaton = compile_regex(STATEMENT_REGEX, tokenizer, vocabulary)
    ids = tokenizer(STATEMENT, add_special_tokens=False).input_ids
    if accepts(automaton, spelled, ids, STATEMENT_HEAD):
        row.tokenizer = "ok"
    else:
        wrong = "the expression of Figure 4 refuses the tokenizer's own spelling of a statement"
        row.faults.append(wrong)


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
    may_end = automaton.done[state] or automaton.allowed[state, list(automaton.end_ids)].any()
    return bool(ids) and bool(may_end)


# --- memory ---


def check_memory(spec: ModelSpec, folder: Path | None, there: Memory, asked: int | None, row: Checkup) -> None:
    """What the weights and one prompt at a time need: on GPUs, or in the machine's memory."""
    from boxes.decoding.memory import free_bytes

    itemsize = 2 if there else 4
    row.need = memory_needed(spec, itemsize, folder)
    if not there:
        import torch

        row.held, row.on = free_bytes(torch.device("cpu")), "without a GPU, in float32"
        return
    count = asked or needed(spec.name, itemsize, list(there.values()))
    if count > len(there):
        row.faults.append(f"GPUS_PER_MODEL={count}, but there are {len(there)} GPUs")
    row.held = USABLE * min(count, len(there)) * min(there.values())
    row.on = "on 1 GPU" if count == 1 else f"on {count} GPUs"


# --- the hub ---


def ask_hub(specs: list[ModelSpec], rows: list[Checkup]) -> None:
    """check_access of what is to be fetched, until the hub does not answer: it would not answer for
    the others either."""
    for spec, row in zip(specs, rows, strict=True):
        if row.weights == TO_FETCH and spec.hub_id:
            check_access(spec, row)
            if row.access not in (OPEN, CLOSED):
                return


def check_access(spec: ModelSpec, row: Checkup) -> None:
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


def config_url(hub_id: str) -> str:
    """The address of a file that every repository has."""
    from huggingface_hub import hf_hub_url

    return hf_hub_url(hub_id, "config.json")
