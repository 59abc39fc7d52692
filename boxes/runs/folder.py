"""A run on disk: predictions.jsonl, one line a description, and run.json, its provenance. Reading,
checking, scoring.

Results of another dataset, prompt, expression or revision are never mixed with a run's own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from boxes.completion import Status
from boxes.dataset import Example
from boxes.models.table import ModelSpec
from boxes.records import JsonLines, UserError, read_json
from boxes.scoring import score_statement
from boxes.world import shown

FORMAT = 1  # of run.json and predictions.jsonl: raised when a field changes its meaning; more fields change nothing
STATUSES = ("complete", "partial", "not run", "failed")
COLUMNS = ("model", "label", "status", "reason", "examples", "truncated", "invalid", "seconds",
           "statements_per_second", "device", "dtype", "prompt_format", "prompt_style", "revision", "batch_size",
           "max_new_tokens", "halvings", "broken", "tokens_per_forward", "prompt_sha256", "dataset", "dataset_sha256",
           "git_commit", "started")  # fmt: skip
FIELDS = {"sample_id": int, "num_operations": int, "input": str, "prediction": str, "status": str}
ELSEWHERE = "elsewhere"  # `decoded` of a run whose statements others decoded; of ours it says nothing
WHOLE = "all"  # `selection` of a run over every description of its dataset
Key = tuple[int, int]  # (sample_id, num_operations)
Scorer = Callable[
    [str, Sequence[str], str], tuple[bool, ...]
]  # prediction, true contents, status -> right or wrong by box


class OtherFormat(UserError):
    """A run of another version: nothing in its folder is touched."""


@dataclass(frozen=True)
class Run:
    """A run's folder."""

    folder: Path

    @property
    def provenance(self) -> Path:
        """run.json."""
        return self.folder / "run.json"

    @property
    def predictions(self) -> JsonLines:
        """predictions.jsonl."""
        return JsonLines(self.folder / "predictions.jsonl")

    def set_aside(self) -> Path | None:
        """Keep predictions that belong to other settings under another name, so that a new run can
        begin; None without any."""
        if not self.predictions.path.exists():
            return None
        number = 1
        while (kept := self.folder / f"superseded-{number}").exists():
            number += 1
        kept.mkdir()
        for path in (self.predictions.path, self.provenance):
            if path.exists():
                path.rename(kept / path.name)
        return kept

    def sweep(self) -> None:
        """Delete what a kill left of a run.json that was being written. For who has the folder:
        nobody else is writing."""
        for path in self.folder.glob(f".{self.provenance.name}.*"):
            path.unlink(missing_ok=True)

    def set_damaged_aside(self) -> str | None:
        """Where run.json cannot be read nobody knows what the predictions were made with: both are
        kept under another name. Returns what happened, None where nothing did. OtherFormat for a
        run of another version."""
        try:
            if self.provenance.exists():
                read_provenance(self.provenance)
        except OtherFormat:
            raise
        except UserError as error:
            kept = self.set_aside()
            if kept:
                return f"{error}; what was decoded with it is kept in {kept}, run again to decode anew"
            self.provenance.unlink()
        return None


def not_run(spec: ModelSpec, reason: str) -> dict:
    """COLUMNS of a row without results, and why."""
    return {"model": spec.name, "label": spec.label, "status": "not run", "reason": reason}


def read_provenance(path: Path) -> dict:
    """The content of a run.json. OtherFormat for one of another format than FORMAT, UserError where
    no run wrote it."""
    run = read_json(path)
    written = run.get("format", 1)
    if written != FORMAT:
        raise OtherFormat(
            f"{path}: format {shown(written)}, this version reads {FORMAT}; use the version that wrote it, or another folder"
        )
    if run.get("status") not in STATUSES:
        raise UserError(f"{path}: status {shown(run.get('status'))} is none of {', '.join(STATUSES)}; decode again")
    if type(run.get("seconds", 0.0)) not in (int, float):
        raise UserError(f"{path}: seconds must be a number, found {shown(run['seconds'])}; decode again")
    return run


def read_run(spec: ModelSpec, folder: Path) -> dict:
    """The provenance of a run, COLUMNS at least, or why there is none."""
    path = folder / "run.json"
    if not path.exists():
        first = "make score, or take the row out" if spec.elsewhere else "decode first"
        return not_run(spec, f"no run.json; {first}")
    run = read_provenance(path)
    if run.get("model") != spec.name:
        raise UserError(f"{path}: results of {shown(run.get('model'))}, not of {spec.name}; decode again")
    return dict.fromkeys(COLUMNS) | run | {"model": spec.name, "label": spec.label}


def read_predictions(path: Path, examples: dict[Key, Example]) -> dict[Key, dict]:
    """The lines of a predictions.jsonl by example. UserError with the line that does not belong
    here."""
    found: dict[Key, dict] = {}
    first: dict[Key, int] = {}
    for number, line in enumerate(JsonLines(path).read(), 1):
        where = f"{path}: line {number}"
        wrong = [name for name, kind in FIELDS.items() if type(line.get(name)) is not kind]  # true is no number
        if wrong:
            raise UserError(f"{where}: no proper {', '.join(wrong)}; delete the line and decode again")
        if line["status"] not in tuple(Status):
            raise UserError(f"{where}: unknown status {shown(line['status'])}; delete the line and decode again")
        key = (line["sample_id"], line["num_operations"])
        example = examples.get(key)
        if example is None or example.description != line["input"]:
            raise UserError(
                f"{where}: results of another dataset (sample {shown(key[0])}, {shown(key[1])} operations); decode again"
            )
        if key in found:
            raise UserError(f"{where}: the description of line {first[key]} again; delete one of them")
        found[key], first[key] = line, number
    return found


def complete_predictions(path: Path, examples: dict[Key, Example]) -> dict[Key, dict]:
    """read_predictions of a complete run, in the dataset's order, whatever the order of the file, with
    statements in Table 2's words. UserError where lines are lacking."""
    found = read_predictions(path, examples)
    if len(found) != len(examples):
        raise UserError(f"{path}: {len(found)} of {len(examples)} descriptions in a complete run; decode again")
    return plain_lines(examples, found)


def plain_lines(examples: Mapping[Key, Example], lines: Mapping[Key, dict]) -> dict[Key, dict]:
    """Lines of a predictions.jsonl, in the dataset's order, with statements in Table 2's words, in
    which everything is judged; `written` has them in those of the form, to be shown."""
    plain = {}
    for key, example in examples.items():
        written = lines[key]["prediction"]
        plain[key] = lines[key] | {"prediction": example.wording.plain(written), "written": written}
    return plain


def score_run(
    spec: ModelSpec, path: Path, examples: dict[Key, Example], scorer: Scorer = score_statement
) -> list[tuple]:
    """(model, sample_id, num_operations, box, num_ops, correct) of a complete run, one row a box.
    `scorer`: score_statement, or release_scoring.score_as_released."""
    found = complete_predictions(path, examples)
    rows = []
    for key, line in found.items():
        correct = scorer(line["prediction"], examples[key].contents, line["status"])
        for box, (num_ops, right) in enumerate(zip(examples[key].num_ops, correct, strict=True)):
            rows.append((spec.name, *key, box, num_ops, int(right)))
    return rows
