"""The random row of Table 6: its expectation in closed form, a sampled version, and the paper's row
beside them.

python experiments/02_random_baseline.py --profile tiny \\
    --data data/boxes/test-subsample-states-t5.jsonl --out data/results/tiny/random.csv
python experiments/02_random_baseline.py --profile reported --out data/results/reported/random.csv

All in per cent. sd_sampled: the standard deviation of one sampled run of the baseline over the
whole test set. subsample_sd, dataset_sd: how much the expectation varies between subsets of the
authors' dataset (not at 7 operations, of which every subset keeps all queries), and between
datasets. z: distance of the expectation from the paper's row in standard deviations of a difference
of two datasets.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout comes first

from boxes import baseline
from boxes.baseline import DRAWS, expected_accuracy, mentions, sample_correct
from boxes.commandline import add_shared, argument_parser, command, natural, positive
from boxes.dataset import Example, read_examples
from boxes.models.table import PROFILES
from boxes.records import UserError, write_csv
from boxes.score_tables import BUCKETS, NUM_OPS, RANDOM, REPORTED, in_bucket, reported_scores

MEASURED = ("num_ops", "n", "expected", "sampled", "sd_sampled")
COLUMNS = (*MEASURED, "reported", "subsample_sd", "dataset_sd", "z")


@command
def main() -> None:
    parser = argument_parser(__doc__)
    add_shared(parser, PROFILES, "out_file", data=None, reported=REPORTED)
    draws = "sampled answers a query (default: %(default)s)"
    seed = "of the sampled version (default: %(default)s)"
    parser.add_argument("--draws", type=positive, default=DRAWS, help=draws)
    parser.add_argument("--seed", type=natural, default=0, help=seed)
    arguments = parser.parse_args()
    if arguments.draws < 2:
        why = "at least 2 are needed for a standard deviation"
        raise UserError(f"--draws {arguments.draws}: {why}")
    table = reported_row(arguments.reported)
    if arguments.profile != "reported":
        if arguments.data is None:
            raise UserError("--data is missing; only --profile reported does without it")
        ours = measured_row(read_examples(arguments.data), arguments.draws, arguments.seed)
        table = ours.merge(table.drop(columns="n"), on="num_ops")
        table["z"] = (table.expected - table.reported) / (np.sqrt(2) * table.dataset_sd)
    write_csv(arguments.out, table.reindex(columns=list(COLUMNS)))


def reported_row(folder: Path) -> pd.DataFrame:
    """num_ops,n,reported,subsample_sd,dataset_sd: the paper's row."""
    scores = reported_scores(folder)
    random = scores[scores.model == RANDOM]
    return pd.DataFrame(
        {
            "num_ops": random.num_ops,
            "n": random.n,
            "reported": random.accuracy,
            "subsample_sd": random.num_ops.map(dict(zip(BUCKETS, baseline.SUBSAMPLE_SD, strict=True))),
            "dataset_sd": random.num_ops.map(dict(zip(BUCKETS, baseline.DATASET_SD, strict=True))),
        }
    )


def measured_row(examples: list[Example], draws: int, seed: int) -> pd.DataFrame:
    """num_ops,n,expected,sampled,sd_sampled of a dataset."""
    num_ops, expected, sampled = [], [], []
    for example in examples:
        pools = mentions(example.description)
        for box, (pool, contents) in enumerate(zip(pools, example.contents, strict=True)):
            # A generator for each query: neither order nor size of the dataset changes its draws.
            rng = np.random.default_rng([seed, example.sample_id, example.num_operations, box])
            num_ops.append(example.num_ops[box])
            expected.append(expected_accuracy(pool, contents))
            sampled.append(sample_correct(pool, contents, rng, draws))
    return summarise(np.array(num_ops), 100 * np.array(expected), 100 * np.array(sampled))


def summarise(num_ops: np.ndarray, expected: np.ndarray, sampled: np.ndarray) -> pd.DataFrame:
    """Means by bucket; num_ops and expected: (queries,), sampled: (queries, draws)."""
    rows = []
    for name in NUM_OPS:
        inside = in_bucket(num_ops, name)
        row = {"num_ops": name, "n": int(inside.sum())}
        if row["n"]:
            runs = sampled[inside].mean(axis=0)  # accuracy of each run over the bucket
            row["expected"] = expected[inside].mean()
            row |= {"sampled": runs.mean(), "sd_sampled": runs.std(ddof=1)}
        rows.append(row)
    return pd.DataFrame(rows, columns=list(MEASURED))


if __name__ == "__main__":
    main()
