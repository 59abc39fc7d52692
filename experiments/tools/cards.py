"""A page for every run that is deposited: what was decoded, with what, and what came out."""

from pathlib import Path

from boxes.models.table import NOT_STATED
from boxes.records import read_csv
from boxes.runs.agreement import is_elsewhere
from boxes.runs.folder import read_provenance
from boxes.runs.task import dataset_note
from boxes.score_tables import Scores, read_scores

CARD = "CARD.md"
# What a page says of a run -> the field of its run.json.
FIELDS = {
    "Model": "model", "Repository": "hub_id", "Revision": "revision", "SHA-256 of the checkpoint": "checkpoint_sha256",
    "Prompt format": "prompt_format", "Prompt style": "prompt_style", "SHA-256 of the prompt": "prompt_sha256",
    "Token limit": "max_new_tokens", "Number format": "dtype", "Device": "device", "Engine": "engine",
    "Dataset": "dataset", "SHA-256 of the dataset": "dataset_sha256", "Descriptions": "examples",
    "Cut by the token limit": "truncated", "No whole statement": "invalid", "Not answered": "not_answered",
    "Commit of the artifact": "git_commit", "Begun": "started",
}  # fmt: skip
ABOUT = """\
The model reads what seven boxes hold and up to twelve operations, after two examples, and states what each box holds in the
end (Kim, Schuster and Toshniwal 2024). A box is right where its set of objects is the true one; accuracy is by how many
operations changed the box, with 95 % intervals that take scenarios as independent. The descriptions and statements are not
here: the task's text is kept out of training corpora. It measures this task alone, in English, and no other ability."""


def cards(results: Path, runs: Path) -> dict[str, bytes]:
    """name in the archive -> page, of every complete run in runs.csv. UserError for what cannot be
    read."""
    lines = read_csv(results / "runs.csv", ("model", "status")).to_dict("records")
    complete = [line["model"] for line in lines if line["status"] == "complete"]
    scores, found = read_scores(results / "scores.csv"), {}
    for model in complete:
        path = runs / model / "run.json"
        if path.exists():  # nothing was run for the printed counts
            found[f"runs/{model}/{CARD}"] = card(read_provenance(path), scores).encode()
    return found


def card(run: dict, scores: Scores) -> str:
    """The page of a run, in Markdown."""
    model = run["model"]
    where = "decoded elsewhere, its settings as they were stated" if is_elsewhere(run) else "decoded by this artifact"
    said = [f"# {model}: entity tracking in boxes", "", f"A run {where}, {_decoding(run)}."]
    note = dataset_note(run.get("dataset") or "")
    if note:
        said += ["", f"**{note}**"]
    said += ["", ABOUT, "", "| | |", "|---|---|"]
    for name, field in FIELDS.items():
        if run.get(field) is not None:
            said.append(f"| {name} | {_cell(run[field])} |")
    said += ["", "| operations | queries | right | accuracy, % | 95 % interval |", "|---|---:|---:|---:|---:|"]
    for (name, num_ops), score in scores.items():
        if name == model and score.n:
            interval = f"{score.low:.2f} to {score.high:.2f}"
            said.append(f"| {num_ops} | {score.n} | {score.correct:g} | {score.accuracy:.2f} | {interval} |")
    return "\n".join(said) + "\n"


def _cell(value: object) -> str:
    """A value in a table of Markdown: what somebody has stated may have a bar or a line end in it."""
    return " ".join(str(value).split()).replace("|", "\\|")


def _decoding(run: dict) -> str:
    """Whether under the regular expression."""
    stated = run.get("constrained", run.get("regex") is not None)
    if stated == NOT_STATED:
        return "with or without the paper's regular expression (not stated)"
    if stated in (True, "yes"):
        return "under the paper's regular expression"
    return "without the paper's regular expression"
