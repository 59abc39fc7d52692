"""Score the runs of a profile: every box of every statement, and accuracy by number of operations.

    python experiments/05_score.py --profile tiny --data data/boxes/test-subsample-states-t5.jsonl \\
        --runs data/runs/tiny --random data/results/tiny/random.csv --out data/results/tiny
    python experiments/05_score.py --profile reported --out data/results/reported

Writes scores.csv (a model whose run is not complete has no row), runs.csv (every model, and why it was not run) and,
except for the printed counts of `reported`, queries.csv (every answer right or wrong).
"""

import sys
from argparse import Namespace
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout, whatever is installed

from boxes.arguments import argument_parser, in_folder, out_folder
from boxes.comparison import QUERY_COLUMNS
from boxes.dataset import read_examples
from boxes.models import PROFILES, choose, models_of
from boxes.records import UserError, command, read_csv, sha256_file, write_csv
from boxes.runs import COLUMNS as RUN_COLUMNS
from boxes.runs import check_belongs, check_one_table, not_run, read_run, score_run
from boxes.scoring import (
    REPORTED,
    SCORE_COLUMNS,
    bucket_scores,
    random_scores,
    reported_scores,
)


@command
def main() -> None:
    arguments = parse_arguments()
    if arguments.profile == "reported":
        write_reported(arguments.reported, arguments.out)
        return
    for name in ("data", "runs", "random"):
        if getattr(arguments, name) is None:
            raise UserError(f"--{name} is missing; only --profile reported does without it")
    chosen = {spec.name for spec in choose(arguments.profile, arguments.models)}
    examples = {(example.sample_id, example.num_operations): example for example in read_examples(arguments.data)}
    checksum = sha256_file(arguments.data)
    runs, queries = [], []
    for spec in models_of(arguments.profile):
        folder = arguments.runs / spec.name
        run = read_run(spec, folder) if spec.name in chosen else not_run(spec, "not among the models asked for")
        runs.append(run)
        if run["status"] == "complete":
            check_belongs(spec, run, folder, arguments.data, checksum)
            queries += score_run(spec, folder / "predictions.jsonl", examples)
    check_one_table({run["model"]: run for run in runs})
    table = pd.DataFrame(queries, columns=list(QUERY_COLUMNS))
    scores = score_table(table, arguments.random)
    write_csv(arguments.out / "queries.csv", table)
    write_csv(arguments.out / "runs.csv", pd.DataFrame(runs).reindex(columns=RUN_COLUMNS))
    write_csv(arguments.out / "scores.csv", scores)
    print(f"{arguments.out}: {sum(run['status'] == 'complete' for run in runs)} of {len(runs)} models scored")


def parse_arguments() -> Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--profile", required=True, choices=PROFILES)
    parser.add_argument("--data", type=Path, help="the dataset that was decoded")
    parser.add_argument("--runs", type=in_folder, help="folder with a folder a model")
    parser.add_argument("--random", type=Path, help="random.csv of experiment 02")
    parser.add_argument("--reported", type=Path, default=REPORTED, help="the paper's numbers (default: %(default)s)")
    parser.add_argument("--out", required=True, type=out_folder, help="folder to write into")
    parser.add_argument("--models", nargs="*", default=[], metavar="NAME", help="score these only (default: all)")
    return parser.parse_args()


def write_reported(reported: Path, out: Path) -> None:
    """The printed counts as scores; every model counts as run, by the paper's authors."""
    scores = reported_scores(reported)
    runs = [
        {"model": spec.name, "label": spec.label, "status": "complete", "reason": "printed in Table 6",
         "prompt_format": spec.prompt_format, "revision": spec.revision}
        for spec in models_of("reported")
    ]  # fmt: skip
    write_csv(out / "runs.csv", pd.DataFrame(runs, columns=list(RUN_COLUMNS)))
    write_csv(out / "scores.csv", scores)
    print(f"{out}: {len(runs)} models as printed")


def score_table(queries: pd.DataFrame, random: Path) -> pd.DataFrame:
    """SCORE_COLUMNS of the random baseline and of every scored model."""
    chance = read_csv(random, ("num_ops", "n", "expected"))
    tables = [random_scores(chance.num_ops, chance.n, chance.expected)]
    tables += [
        bucket_scores(rows).assign(model=model).astype({"correct": object})
        for model, rows in queries.groupby("model", sort=False)
    ]
    return pd.concat(tables)[list(SCORE_COLUMNS)]


if __name__ == "__main__":
    main()
