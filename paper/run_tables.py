"""What the report says of runs: runs.csv, and the provenance in their run.json."""

import os
from pathlib import Path
from urllib.parse import quote

from boxes.models.table import NOT_CHOSEN
from boxes.records import read_json
from paper.formats import Table, or_dash, whole
from paper.results import Results, read_table

Provenance = list[tuple[str, list[tuple[str, str]]]]  # (run, its run.json as names and values)

# A column of runs.csv -> its heading. Counts are whole; rates have a digit behind the point.
_TEXTS = {"status": "Status", "prompt_format": "Prompt", "device": "Device", "dtype": "Type"}
_COUNTS = {"examples": "Descriptions", "truncated": "Truncated", "invalid": "Invalid",
           "broken": "Broken", "halvings": "Halvings"}  # fmt: skip
_RATES = {"seconds": "Seconds", "statements_per_second": "Statements/s",
          "tokens_per_forward": "Tokens/forward"}  # fmt: skip


def runs_table(folder: Path) -> Table:
    """runs.csv: what was decoded, on what, how fast, and what went wrong; without models that
    were not asked for."""
    body = []
    texts = ("model", "label", "reason", *_TEXTS)
    for run in read_table(folder / "runs.csv", texts, (*_COUNTS, *_RATES)):
        if run["status"] == NOT_CHOSEN:
            continue
        row = [run["label"] or run["model"]]
        row += [or_dash(run[name]) for name in _TEXTS]
        row += [whole(run[name]) for name in _COUNTS]
        row += [_one_digit(run[name]) for name in _RATES]
        body.append((*row, or_dash(run["reason"])))
    header = ("Model", *_TEXTS.values(), *_COUNTS.values(), *_RATES.values(), "Remark")
    return Table(0, "", (header,), tuple(body), "lllll" + "rrrrrrrr" + "l")


def _one_digit(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f}"


def provenance(results: Results, runs: Path) -> Provenance:
    """Every run of the profile, those beside a model's own included."""
    found = []
    for spec in results.specs:
        folder = runs / spec.name
        for path in (folder / "run.json", *sorted(folder.glob("*/run.json"))):
            if path.exists() and not path.parent.name.startswith("superseded-"):
                name = spec.label
                if path.parent != folder:
                    name += f": {path.parent.name}"
                found.append((name, _flat(read_json(path))))
    return found


def sample_links(results: Results, runs: Path, out: Path) -> dict[str, str]:
    """model -> link from a page in `out` to its samples.csv, of every model that has one."""
    found = {}
    for spec in results.specs:
        path = runs / spec.name / "samples.csv"
        if path.exists():
            found[spec.name] = quote(Path(os.path.relpath(path, out)).as_posix())
    return found


def _flat(run: dict) -> list[tuple[str, str]]:
    """Names and values in order; a value that is an object on one line."""
    lines = []
    for name, value in sorted(run.items()):
        if isinstance(value, dict):
            text = ", ".join(f"{key} {part}" for key, part in sorted(value.items()))
        else:
            text = or_dash(value)
        lines.append((name, text))
    return lines


# Of a run.json, what the Markdown report has room for: column -> (field, its longest text).
_PROVENANCE = {
    "Revision": ("revision", 19), "Prompt style": ("prompt_style", 12),
    "Prompt sha256": ("prompt_sha256", 12), "Data sha256": ("dataset_sha256", 12),
    "Commit": ("git_commit", 12), "Batch": ("batch_size", 9), "Halvings": ("halvings", 9),
    "Broken": ("broken", 9), "Tokens a forward": ("tokens_per_forward", 9),
    "Versions": ("versions", 200),
}  # fmt: skip


def provenance_table(runs: Provenance) -> Table:
    """The runs of `provenance`, one a row, long values cut."""
    body = []
    for name, fields in runs:
        values = dict(fields)
        row = [values.get(field, "–")[:longest] for field, longest in _PROVENANCE.values()]
        body.append((name, *row))
    return Table(0, "", (("Run", *_PROVENANCE),), tuple(body), "llllllrrrrl")
