"""Score the runs of a profile: every box of every statement, and accuracy by number of operations.

    python experiments/05_score.py --profile tiny \\
        --data data/boxes/test-subsample-states-t5.jsonl \\
        --runs data/runs/tiny --random data/results/tiny/random.csv --out data/results/tiny
    python experiments/05_score.py --profile reported --out data/results/reported

Writes scores.csv (a model whose run is not complete has no row), runs.csv (every model, and why it
was not run; one that --models leaves out is "not chosen") and, except for the printed counts of
`reported`, queries.csv (every answer right or wrong). --random must be of the same dataset.
"""

import sys
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout comes first

from boxes.baseline import expected_accuracy, mentions
from boxes.commandline import add_models, add_shared, argument_parser, command
from boxes.dataset import SUBSET, Example
from boxes.minimal_pairs import QUERY_COLUMNS
from boxes.models.table import NOT_CHOSEN, PROFILES, ModelSpec, choose, models_of
from boxes.records import UserError, read_csv, write_csv
from boxes.runs.agreement import check_belongs, check_one_table
from boxes.runs.folder import COLUMNS as RUN_COLUMNS
from boxes.runs.folder import not_run, read_run, score_run
from boxes.runs.task import read_task
from boxes.score_tables import (
    NUM_OPS,
    REPORTED,
    SCORE_COLUMNS,
    bucket_scores,
    in_bucket,
    random_scores,
    reported_scores,
)

ROUNDING = 1e-5  # per cent: CSVs carry six digits after the point


@command
def main() -> None:
    arguments = parse_arguments()
    chosen = {spec.name for spec in choose(arguments.profile, arguments.models)}
    if arguments.profile == "reported":
        write_reported(arguments.reported, arguments.out, chosen)
        return
    for name in ("data", "runs", "random"):
        if getattr(arguments, name) is None:
            raise UserError(f"--{name} is missing; only --profile reported does without it")
    task = read_task(arguments.data)
    examples = task.by_key
    runs, queries = [], []
    for spec in models_of(arguments.profile):
        folder = arguments.runs / spec.name
        run = left_out(spec)
        if spec.name in chosen:
            run = read_run(spec, folder)
        runs.append(run)
        if run["status"] == "complete":
            check_belongs(spec, run, folder, task.data, task.checksum)
            queries += score_run(spec, folder / "predictions.jsonl", examples)
    check_one_table({run["model"]: run for run in runs})
    table = pd.DataFrame(queries, columns=list(QUERY_COLUMNS))
    chance = read_chance(arguments.random, task.data, examples.values())
    scores = score_table(table, chance, longer=task.data.name != SUBSET)
    write_csv(arguments.out / "queries.csv", table)
    write_csv(arguments.out / "runs.csv", pd.DataFrame(runs).reindex(columns=RUN_COLUMNS))
    write_csv(arguments.out / "scores.csv", scores)
    complete = sum(run["status"] == "complete" for run in runs)
    print(f"{arguments.out}: {complete} of {len(chosen)} models scored")


def parse_arguments() -> Namespace:
    parser = argument_parser(__doc__)
    add_shared(parser, PROFILES, "out_folder", data=None, runs=None, reported=REPORTED)
    add_models(parser)
    parser.add_argument("--random", type=Path, help="random.csv of experiment 02")
    return parser.parse_args()


def left_out(spec: ModelSpec) -> dict:
    """The line of runs.csv of a model that --models does not name."""
    return not_run(spec, "") | {"status": NOT_CHOSEN}


def write_reported(reported: Path, out: Path, chosen: set[str]) -> None:
    """The printed counts as scores; every model counts as run, by the paper's authors."""
    printed = {"status": "complete", "reason": "printed in Table 6"}
    runs = []
    for spec in models_of("reported"):
        run = left_out(spec)
        if spec.name in chosen:
            run |= printed
        runs.append(run | {"prompt_format": spec.prompt_format, "revision": spec.revision})
    write_csv(out / "runs.csv", pd.DataFrame(runs, columns=list(RUN_COLUMNS)))
    write_csv(out / "scores.csv", reported_scores(reported))
    print(f"{out}: {len(chosen)} models as printed")


def read_chance(path: Path, data: Path, examples: Iterable[Example]) -> pd.DataFrame:
    """num_ops,n,expected of the random baseline. UserError where that is another dataset's."""
    chance = read_csv(path, ("num_ops", "n", "expected"))
    expected, known = chances(examples), chance.set_index("num_ops")
    for name in NUM_OPS:
        ours = expected[in_bucket(expected.index, name)]
        n, accuracy = 0, 0.0
        if name in known.index:
            n, accuracy = known.n[name], known.expected[name]
        same = not len(ours) or abs(ours.mean() - accuracy) < ROUNDING
        if len(ours) != n or not same:
            raise UserError(
                f"{path}: the random baseline of another dataset than {data} ({n:g} and "
                f"{len(ours)} queries in bucket {name}, expected to be right in {accuracy:.4f} and "
                f"{ours.mean():.4f} % of them); "
                "make it from that dataset with experiments/02_random_baseline.py"
            )
    return chance


def chances(examples: Iterable[Example]) -> pd.Series:
    """The baseline's expected accuracy of every query, in per cent, by number of operations."""
    found, num_ops = [], []
    for example in examples:
        for pool, contents in zip(mentions(example.description), example.contents, strict=True):
            found.append(100 * expected_accuracy(pool, contents))
        num_ops += example.num_ops
    return pd.Series(found, index=num_ops, dtype=float)


def score_table(queries: pd.DataFrame, chance: pd.DataFrame, longer: bool = False) -> pd.DataFrame:
    """SCORE_COLUMNS of the random baseline and of every scored model; `longer`: of more operations
    than those of Table 6, too, as data of one's own may have."""
    tables = [random_scores(chance.num_ops, chance.n, chance.expected)]
    for model, rows in queries.groupby("model", sort=False):
        tables.append(bucket_scores(rows, longer).assign(model=model).astype({"correct": object}))
    return pd.concat(tables)[list(SCORE_COLUMNS)]


if __name__ == "__main__":
    main()
