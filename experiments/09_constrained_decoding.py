"""Free against constrained decoding (Appendix A.2): what the regular expression of Figure 4 is worth.

    python experiments/09_constrained_decoding.py --profile tiny --data data/boxes/test-subsample-states-t5.jsonl \\
        --runs data/runs/tiny --out data/results/tiny/constrained.csv

04_decode.py decoded both; the free predictions lie in RUNS/MODEL/free, for the models of the `tiny` profile and for Llama 2
70B, the one the paper reports. gain: constrained minus free in points, with the interval and test of answers to the same
queries (boxes/comparison.py).
"""

import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout, whatever is installed

from boxes.arguments import argument_parser, in_folder, out_file
from boxes.beside import FREE, decodes_freely
from boxes.comparison import QUERY_COLUMNS, paired_rows
from boxes.models import PROFILES, ModelSpec, choose
from boxes.records import command, write_csv
from boxes.running import Task, read_task
from boxes.runs import check_belongs, check_free, read_run, score_run
from boxes.scoring import bucket_scores

GAIN = {
    "difference": "gain",
    "ci_low": "gain_low",
    "ci_high": "gain_high",
    "interval": "interval",
    "p_mcnemar": "p_mcnemar",
}
COLUMNS = ["model", "decoding", "num_ops", "n", "correct", "accuracy", "ci_low", "ci_high", "truncated", "invalid",
           *GAIN.values()]  # fmt: skip


def model_rows(spec: ModelSpec, task: Task, folders: dict[str, Path], runs: dict[str, dict]) -> pd.DataFrame:
    """COLUMNS of a model decoded both ways; what the expression gains stands beside "constrained"."""
    queries = pd.DataFrame(
        [
            (decoding, *row[1:])
            for decoding, folder in folders.items()
            for row in score_run(spec, folder / "predictions.jsonl", task.by_key)
        ],
        columns=list(QUERY_COLUMNS),
    )
    tables = [
        bucket_scores(queries[queries.model == decoding]).assign(
            model=spec.name, decoding=decoding, truncated=run["truncated"], invalid=run["invalid"]
        )
        for decoding, run in runs.items()
    ]
    gains = pd.DataFrame(paired_rows("free", "constrained", queries)).rename(columns=GAIN)
    gains = gains.assign(decoding="constrained")[["decoding", "num_ops", *GAIN.values()]]
    return pd.concat(tables).merge(gains, on=["decoding", "num_ops"], how="left")[COLUMNS]


@command
def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--profile", required=True, choices=PROFILES)
    parser.add_argument("--data", type=Path, required=True, help="the dataset that 04_decode.py decoded")
    parser.add_argument("--runs", type=in_folder, required=True, help="folder with a folder a model")
    parser.add_argument("--out", type=out_file, required=True, help="constrained.csv")
    parser.add_argument("--models", nargs="*", default=[], metavar="NAME", help="only these")
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
    write_csv(arguments.out, pd.concat(tables) if tables else pd.DataFrame(columns=COLUMNS))
    print(f"{arguments.out}: {len(tables)} of {len(specs)} models compared")


if __name__ == "__main__":
    main()
