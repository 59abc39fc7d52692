"""Whether runs agree: with the dataset, prompt, expression and weights of now, and with each
other."""

from pathlib import Path

from boxes.models.checkpoint import UNVERIFIED, Checkpoint, pinned_commit
from boxes.models.table import ModelSpec
from boxes.prompting import PROMPT_STYLES, statement_prompt, statement_regex
from boxes.records import UserError, sha256_text
from boxes.runs.folder import ELSEWHERE, WHOLE
from boxes.world import BASE, WORDINGS, Wording, shown

# What two runs must agree in for their predictions to belong to one table row.
IDENTITY = (
    "model", "revision", "checkpoint_sha256", "prompt_format", "prompt_sha256", "prompt_ids_sha256", "regex",
    "max_new_tokens", "dataset_sha256", "selection", "dtype",
)  # fmt: skip


MAY_LACK = ("regex", "checkpoint_sha256")  # of IDENTITY: none in free decoding; older runs do not say


# What a user may choose, and then for all rows of a table: prompt_style holds for the plain format
# alone.
CHOICES = {"prompt_style": "--prompt-style", "max_new_tokens": "--max-new-tokens"}


def identity(checkpoint: Checkpoint) -> dict:
    """Which checkpoint it is: the commit as far as one is known, and a hash of its files."""
    return {"revision": checkpoint.revision, "checkpoint_sha256": checkpoint.sha256}


def same_weights(old: dict, now: dict) -> bool:
    """Whether a run is of the checkpoint of now, as two run.json say. One that has no hash of the
    files is held to its revision, where that stands for them."""
    if old.get("revision") != now["revision"]:
        return False
    if old.get("checkpoint_sha256") is None:
        return now["revision"] is not None and UNVERIFIED.format("") not in now["revision"]
    return old["checkpoint_sha256"] == now["checkpoint_sha256"]


def same_identity(old: dict, now: dict) -> bool:
    """Whether predictions of one run may stand beside those of the other in one row."""
    others = (name for name in IDENTITY if name not in ("revision", "checkpoint_sha256"))
    return same_weights(old, now) and all(old.get(name) == now[name] for name in others)


def plain_prompt_sha256(style: str, wording: Wording = BASE) -> str:
    """The hash of the plain prompt with "{description}" in place of one, as run.json has it.
    UserError: unknown style."""
    return sha256_text(statement_prompt("{description}", style, wording))


def check_belongs(spec: ModelSpec, run: dict, folder: Path, data: Path, checksum: str) -> None:
    """UserError unless a run may stand in a table: all of this very dataset, the prompt, expression
    and weights of now.

    The chat prompt is rendered by the tokenizer, which lies beside the weights: it is compared when
    a run goes on.
    """
    path = folder / "run.json"
    if spec.elsewhere != is_elsewhere(run):
        raise UserError(f"{path}: decoded here or elsewhere, the table says otherwise; score or decode again")
    if spec.elsewhere:  # how it was decoded is not known, or as somebody says
        check_dataset(run, folder, data, checksum)
        return
    lacking = lacking_identity(run)
    if lacking:
        raise UserError(f"{path}: no {', '.join(lacking)}; decode again")
    check_dataset(run, folder, data, checksum)
    # The dataset's checksum says which wording it has, and its run has that one's expression.
    wordings = {statement_regex(wording): wording for wording in WORDINGS.values()}
    wording = wordings.get(run.get("regex"))
    if not wording:
        raise UserError(f"{path}: decoded without the regular expression of boxes/prompting.py; decode again")
    if run["prompt_format"] == "plain" and run.get("prompt_style") not in list(PROMPT_STYLES):
        found = shown(run.get("prompt_style"))
        raise UserError(f"{path}: prompt style {found} is none of {', '.join(PROMPT_STYLES)}; decode again")
    if run["prompt_format"] == "plain" and run["prompt_sha256"] != plain_prompt_sha256(run["prompt_style"], wording):
        raise UserError(f"{path}: decoded with another prompt than that of boxes/prompting.py; decode again")
    pinned = _pinned(spec)
    if pinned and run["revision"] not in (pinned, UNVERIFIED.format(pinned)):
        raise UserError(
            f"{path}: results of revision {shown(run['revision'])}, {spec.name} is now {pinned}; decode again"
        )


def is_elsewhere(run: dict) -> bool:
    """Whether the statements of a run were decoded elsewhere (elsewhere.py)."""
    return run.get("decoded") == ELSEWHERE


def lacking_identity(run: dict) -> list[str]:
    """What a run.json does not say of IDENTITY: earlier versions knew less. Without an expression
    there is none to name."""
    return [name for name in IDENTITY if run.get(name) is None and name not in MAY_LACK]


def check_dataset(run: dict, folder: Path, data: Path, checksum: str, selection: str = WHOLE) -> None:
    """UserError unless a run is of this very dataset, and of so much of it."""
    if run.get("dataset_sha256") != checksum:
        raise UserError(f"{folder / 'run.json'}: results of another dataset than {data}; decode again")
    if run.get("selection") != selection:
        found = shown(run.get("selection"))
        raise UserError(f"{folder / 'run.json'}: results of {found}, not of {selection} of {data}; decode again")


def check_free(free: dict, constrained: dict, folder: Path) -> None:
    """UserError unless two runs of a model differ in nothing but the expression, which the first
    does without."""
    if free.get("regex") is not None:
        raise UserError(f"{folder / 'run.json'}: decoded with a regular expression; decode again")
    for name in IDENTITY:
        unknown = name in MAY_LACK and None in (free.get(name), constrained.get(name))
        if not unknown and free.get(name) != constrained.get(name):
            raise UserError(
                f"{folder / 'run.json'}: {name} is {shown(free.get(name))}, with the expression {shown(constrained.get(name))}; "
                "decode again"
            )


def _pinned(spec: ModelSpec) -> str | None:
    """The revision a model has now; None where nothing is pinned, or weights that ship with the
    repository are gone."""
    if spec.folder is None:
        return pinned_commit(spec)
    if not any(spec.folder.glob("*.safetensors")):
        return None
    return Checkpoint(spec, spec.folder, spec.folder).revision


def check_one_table(runs: dict[str, dict]) -> None:
    """UserError unless the complete runs of a table, by model, were made with the same CHOICES, on
    the same dataset. Those of runs that were decoded elsewhere are as they are said to be."""
    complete = {name: run for name, run in runs.items() if run["status"] == "complete"}
    for field, option in {"dataset_sha256": "--data", **CHOICES}.items():
        concerned = [
            (name, run.get(field)) for name, run in complete.items()
            if (field != "prompt_style" or run.get("prompt_format") == "plain")
            and (field == "dataset_sha256" or not is_elsewhere(run))
        ]  # fmt: skip
        for name, value in concerned[1:]:
            first, expected = concerned[0]
            if value != expected:
                raise UserError(
                    f"{name}: decoded with {field} {shown(value)}, but {first} with {shown(expected)}; decode one of them "
                    f"again with the other's {option}, or name with --models (MODELS) those that belong together"
                )
