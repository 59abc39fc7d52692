"""status.csv of a profile: what became of every run. Make looks into it to see whether anything is
left to decode."""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from boxes.models.table import ModelSpec
from boxes.records import UserError, write_text
from boxes.runs.folder import read_run
from boxes.runs.plan import OWN, folders_beside


@dataclass(frozen=True)
class Outcome:
    """How a model's job on a cluster ended: what it is called and where its log lies, and why it failed (None: it did
    not)."""

    job: str
    failure: str | None = None


NOWHERE: Mapping[str, Outcome] = MappingProxyType({})
# job: of a cluster, and where its log lies.
STATUS_COLUMNS = ("model", "run", "status", "reason", "weights", "folder", "job")


def write_status(
    path: Path, specs: Iterable[ModelSpec], runs: Path, outcomes: Mapping[str, Outcome] = NOWHERE
) -> list[dict]:
    """Write STATUS_COLUMNS of every run that a model is to have, in folders of `runs`; the rows.
    `weights`: the folder whose change asks for another look, for a model that lies in one. `outcomes`:
    of the models that were decoded on a cluster."""
    rows = []
    for spec in specs:
        for name in (OWN, *folders_beside(spec)):
            row = _row(spec, name, runs / spec.name) | {"job": ""}
            outcome = outcomes.get(spec.name)
            if outcome:
                row["job"] = outcome.job
                if row["status"] != "complete" and outcome.failure:
                    row["reason"] = outcome.failure
            rows.append(row)
    text = io.StringIO()
    writer = csv.DictWriter(text, STATUS_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
    return rows


def _row(spec: ModelSpec, name: str, own: Path) -> dict:
    folder = own if name == OWN else own / name
    try:
        run = read_run(spec, folder)
    except UserError as error:  # another version's, or damaged
        run = {"status": "failed", "reason": str(error)}
    weights = spec.folder or ""
    if weights and weights.is_relative_to(Path.cwd()):
        weights = weights.relative_to(Path.cwd())
    found = {"model": spec.name, "run": name, "weights": weights, "folder": folder}
    return found | {"status": run["status"], "reason": run["reason"]}
