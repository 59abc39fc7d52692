"""The results of a profile in one file, for programs: results.json beside the CSVs.

python experiments/tools/results_json.py --profile tiny --results data/results/tiny \\
    --out data/results/tiny/results.json

data/README.md has its fields. Every number is one of a CSV; a cell that is empty there is null.
"""

import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout, whatever is installed

from boxes.commandline import add_shared, argument_parser, command
from boxes.models.table import PROFILES, ModelSpec, models_of
from boxes.records import read_csv, write_json
from boxes.runs.task import dataset_note
from boxes.score_tables import RANDOM, read_score_table

FORMAT = 1  # raised when a field changes its meaning; more fields change nothing
EFFECTS = ("code", "math", "alignment")
DECODED = ("prompt_format", "constrained", "errors")  # which the profile reported has not
SCORES = ("n", "correct", "accuracy", "ci_low", "ci_high")
# Of the runs of a profile: on what dataset, which is one for all.
DATASET = {"name": "dataset", "sha256": "dataset_sha256"}


def plain(value: object) -> object:
    """A cell as JSON has it: numbers as numbers, nothing as null."""
    if value is None or pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value


def records(path: Path) -> list[dict]:
    """The lines of a CSV. UserError where it is missing or malformed."""
    lines = read_csv(path).to_dict("records")
    return [{name: plain(value) for name, value in line.items()} for line in lines]


def scores_by_model(path: Path) -> dict[str, dict[str, dict]]:
    """model -> bucket -> SCORES."""
    found: dict[str, dict[str, dict]] = {}
    for row in read_score_table(path).to_dict("records"):
        cells = {name: plain(row.get(name)) for name in SCORES}
        found.setdefault(row["model"], {})[row["num_ops"]] = cells
    return found


def model_entry(spec: ModelSpec, run: dict, scores: dict[str, dict]) -> dict:
    """What is known of a model: its row, what became of its run, its scores."""
    row = {name: getattr(spec, name) for name in ("label", "family", "size", "base", "added", "hub_id")}
    how = {name: value for name, value in run.items() if name not in ("model", "label", "status", "reason")}
    state = {"status": run.get("status"), "reason": run.get("reason")}
    decoded = "elsewhere" if spec.elsewhere else "here"
    return {"model": spec.name, **row, "decoded": decoded, **state, "run": how, "scores": scores}


def dataset_of(runs: list[dict]) -> dict:
    """The dataset of the complete runs; null where nothing was decoded."""
    for run in runs:
        if run["status"] == "complete" and run.get("dataset"):
            found = {name: run.get(column) for name, column in DATASET.items()}
            return found | {"note": dataset_note(found["name"])}
    return dict.fromkeys(DATASET) | {"note": ""}


def collect(profile: str, results: Path) -> dict:
    """The content of results.json. UserError for a CSV that is missing or malformed."""
    scores = scores_by_model(results / "scores.csv")
    runs = records(results / "runs.csv")
    others: dict[str, list] = {name: [] for name in DECODED}
    if profile != "reported":
        others = {name: records(results / f"{name}.csv") for name in DECODED}
    by_name = {run["model"]: run for run in runs}
    models = []
    for spec in models_of(profile):
        if spec.name in by_name:
            models.append(model_entry(spec, by_name[spec.name], scores.get(spec.name, {})))
    return {
        "format": FORMAT,
        "profile": profile,
        "dataset": dataset_of(runs),
        "random": scores.get(RANDOM, {}),
        "models": models,
        "effects": {name: records(results / f"{name}.csv") for name in EFFECTS},
        "claims": records(results / "claims.csv"),
        **others,
    }


@command
def main() -> None:
    parser = argument_parser(__doc__)
    add_shared(parser, PROFILES, "results", "out_file")
    arguments = parser.parse_args()
    found = collect(arguments.profile, arguments.results)
    write_json(arguments.out, found)
    print(f"{arguments.out}: {len(found['models'])} models")


if __name__ == "__main__":
    main()
