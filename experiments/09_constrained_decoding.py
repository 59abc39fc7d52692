"""Free against constrained decoding (Appendix A.2): what the regular expression of Figure 4 is
worth.

    python experiments/09_constrained_decoding.py --profile tiny \\
        --data data/boxes/test-subsample-states-t5.jsonl \\
        --runs data/runs/tiny --out data/results/tiny/constrained.csv

04_decode.py decoded both; the free predictions lie in RUNS/MODEL/free, for the models of the `tiny`
profile and for Llama 2 70B, the one the paper reports. gain: constrained minus free in points, with
the interval and test of answers to the same queries (boxes/minimal_pairs.py). scorer: authors |
ours, the one of the release (boxes/release_scoring.py), by which the paper's 54.95 was measured,
and the one of Table 6 here (boxes/scoring.py); under the expression they agree. accepted_alone:
statements of which a scorer accepts a box that the other does not.
"""

import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout comes first

from boxes.commandline import add_models, add_shared, argument_parser, command
from boxes.minimal_pairs import QUERY_COLUMNS, paired_rows
from boxes.models.table import PROFILES, ModelSpec, choose
from boxes.records import write_csv
from boxes.release_scoring import score_as_released
from boxes.runs.agreement import check_belongs, check_free
from boxes.runs.folder import read_run, score_run
from boxes.runs.plan import FREE, decodes_freely
from boxes.runs.task import Task, read_task
from boxes.score_tables import SCORE_COLUMNS, bucket_scores
from boxes.scoring import AUTHORS, OURS, score_statement

# The comparison of A.2 goes by the authors' scorer, as the paper's does; our own stands beside it.
SCORERS = {AUTHORS: score_as_released, OURS: score_statement}
GAIN = {
    "difference": "gain",
    "ci_low": "gain_low",
    "ci_high": "gain_high",
    "interval": "interval",
    "p_mcnemar": "p_mcnemar",
}
COLUMNS = ["model", "decoding", "scorer", *SCORE_COLUMNS[1:]]
COLUMNS += ["truncated", "invalid", "accepted_alone", *GAIN.values()]


def answers(spec: ModelSpec, task: Task, folders: dict[str, Path], scorer: str) -> pd.DataFrame:
    """QUERY_COLUMNS of both ways of decoding, whose names stand in the column `model`."""
    rows = []
    for decoding, folder in folders.items():
        found = score_run(spec, folder / "predictions.jsonl", task.by_key, SCORERS[scorer])
        rows += [(decoding, *row[1:]) for row in found]
    return pd.DataFrame(rows, columns=list(QUERY_COLUMNS))


def accepted_alone(mine: pd.DataFrame, other: pd.DataFrame) -> dict[str, int]:
    """decoding -> statements of which a scorer accepts a box that the other scorer does not."""
    alone = mine[(mine.correct == 1) & (other.correct == 0)]
    statements = alone[["model", "sample_id", "num_operations"]].drop_duplicates()
    return statements.model.value_counts().to_dict()


def model_rows(spec: ModelSpec, task: Task, folders: dict[str, Path], runs: dict[str, dict]) -> pd.DataFrame:
    """COLUMNS of a model decoded both ways and scored by both scorers; what the expression gains
    stands beside "constrained"."""
    queries = {scorer: answers(spec, task, folders, scorer) for scorer in SCORERS}
    tables = []
    for scorer, other in ((AUTHORS, OURS), (OURS, AUTHORS)):
        mine, alone = queries[scorer], accepted_alone(queries[scorer], queries[other])
        scored = []
        for decoding, run in runs.items():
            counts = {name: run[name] for name in ("truncated", "invalid")}
            counts["accepted_alone"] = alone.get(decoding, 0)
            rows = bucket_scores(mine[mine.model == decoding])
            scored.append(rows.assign(decoding=decoding, **counts))
        gains = pd.DataFrame(paired_rows("free", "constrained", mine)).rename(columns=GAIN)
        gains = gains.assign(decoding="constrained")[["decoding", "num_ops", *GAIN.values()]]
        both = pd.concat(scored).merge(gains, on=["decoding", "num_ops"], how="left")
        tables.append(both.assign(model=spec.name, scorer=scorer))
    return pd.concat(tables)[COLUMNS]


@command
def main() -> None:
    parser = argument_parser(__doc__)
    add_shared(parser, PROFILES, "data", "runs", "out_file")
    add_models(parser)
    arguments = parser.parse_args()
    task = read_task(arguments.data)
    specs = [spec for spec in choose(arguments.profile, arguments.models) if decodes_freely(spec)]
    tables = []
    for spec in specs:
        folder = arguments.runs / spec.name
        runs = {"constrained": read_run(spec, folder), "free": read_run(spec, folder / FREE)}
        if any(run["status"] != "complete" for run in runs.values()):
            continue
        check_belongs(spec, runs["constrained"], folder, task.data, task.checksum)
        check_free(runs["free"], runs["constrained"], folder / FREE)
        tables.append(model_rows(spec, task, {"constrained": folder, "free": folder / FREE}, runs))
    write_csv(arguments.out, pd.concat(tables or [pd.DataFrame(columns=COLUMNS)]))
    print(f"{arguments.out}: {len(tables)} of {len(specs)} models compared")


if __name__ == "__main__":
    main()
