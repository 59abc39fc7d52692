"""Compare lm-evaluation-harness with free decoding here, answer by answer, under both scorers.

    python -m venv lm && lm/bin/pip install -r experiments/tools/lm_eval/requirements.txt
    lm/bin/lm_eval --model hf --model_args pretrained=data/models/tiny-base,dtype=float32 --device cpu \\
        --tasks boxes --include_path experiments/tools/lm_eval --output_path out --log_samples
    python experiments/tools/compare_lm_eval.py --lm-eval out/FOLDER --run data/runs/tiny/tiny-base/free \\
        --data data/boxes/test-subsample-states-t5.jsonl --out tiny-base.csv

--lm-eval: the folder with results_*.json and samples_boxes_*.jsonl; --run: a complete run without the
expression (tiny models have one; others with DECODE). Writes a line for each scorer and number of
operations: queries, right answers of both, answers that differ. A difference is explained where the
token limit cut our statement: the harness does not say so, and its text is read as it stands. Exit
status 1 where one is not.
"""

import sys
from argparse import Namespace
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout, whatever is installed

from boxes.commandline import argument_parser, command, in_folder, out_file
from boxes.completion import Status
from boxes.evaluation import CORRECT, query_frame
from boxes.prompting import STATEMENT_HEAD
from boxes.records import UserError, parse_object, read_json, read_lines, write_csv
from boxes.runs.elsewhere import prediction_lines
from boxes.runs.folder import Key, complete_predictions, read_provenance
from boxes.runs.task import Task, read_task
from boxes.score_tables import NUM_OPS, in_bucket

COLUMNS = ("model", "scorer", "num_ops", "n", "ours", "lm_eval", "differ", "explained",
           "lm_eval_version", "transformers_version")  # fmt: skip
VERSIONS = ("lm_eval_version", "transformers_version")
_AGAIN = "run lm_eval again with --log_samples"


def one_file(folder: Path, pattern: str) -> Path:
    """The newest file of a pattern. UserError without one."""
    found = sorted(folder.glob(pattern))
    if not found:
        raise UserError(f"{folder}: no {pattern}; {_AGAIN}")
    return found[-1]


def texts_of(path: Path, task: Task) -> dict[Key, str]:
    """What the harness's model wrote behind the prompt, by description. UserError names the line."""
    found: dict[Key, str] = {}
    for number, line in read_lines(path, _AGAIN):
        try:
            sample = parse_object(line)
            doc, text = sample["doc"], sample["resps"][0][0]
            key = (doc["sample_id"], doc["num_operations"])
            known = task.by_key[key].description == doc["input"]
        except (ValueError, KeyError, IndexError, TypeError):
            raise UserError(f"{path}: line {number}: no sample of the task boxes on this dataset; {_AGAIN}") from None
        if not known or type(text) is not str or key in found:
            raise UserError(f"{path}: line {number}: no sample of the task boxes on this dataset; {_AGAIN}")
        found[key] = text
    if len(found) != len(task.examples):
        raise UserError(f"{path}: {len(found)} of {len(task.examples)} descriptions; {_AGAIN} and without --limit")
    return found


def compared(ours: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """scorer, num_ops, n, ours, lm_eval, differ and explained, from two frames of the same queries."""
    rows = []
    for scorer, column in CORRECT.items():
        differ = ours[column] != theirs[column]
        cut = differ & (ours.status == Status.TRUNCATED)
        for name in NUM_OPS:
            inside = in_bucket(ours.num_ops, name)
            right = (int(frame[column][inside].sum()) for frame in (ours, theirs))
            rows.append((scorer, name, int(inside.sum()), *right, int(differ[inside].sum()), int(cut[inside].sum())))
    return pd.DataFrame(rows, columns=list(COLUMNS[1:8]))


def parse_arguments() -> Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--lm-eval", type=in_folder, required=True, help="what lm_eval wrote for a model")
    parser.add_argument("--run", type=in_folder, required=True, help="folder of a run without the expression")
    parser.add_argument("--data", type=Path, required=True, help="the dataset of both")
    parser.add_argument("--out", type=out_file, required=True, help="the CSV to write")
    return parser.parse_args()


@command
def main() -> int:
    arguments = parse_arguments()
    task = read_task(arguments.data)
    run = read_provenance(arguments.run / "run.json")
    if run["status"] != "complete" or run.get("regex") is not None or run.get("dataset_sha256") != task.checksum:
        raise UserError(f"{arguments.run}: no complete run of {arguments.data} without the expression; name one")
    versions = read_json(one_file(arguments.lm_eval, "results_*.json"), _AGAIN)
    texts = texts_of(one_file(arguments.lm_eval, "samples_boxes_2*.jsonl"), task)
    lines = prediction_lines(task.by_key, texts, STATEMENT_HEAD)
    ours = query_frame(task.by_key, complete_predictions(arguments.run / "predictions.jsonl", task.by_key))
    table = compared(ours, query_frame(task.by_key, lines))
    table = table.assign(model=run["model"], **{name: versions.get(name) for name in VERSIONS})
    write_csv(arguments.out, table[list(COLUMNS)])
    whole = table[table.num_ops == "all"]
    open_ones = int((whole.differ - whole.explained).sum())
    for row in whole.itertuples():
        print(f"{row.scorer}: {row.differ} of {row.n} answers differ, {row.explained} of them cut by the token limit")
    if open_ones:
        print(f"compare_lm_eval.py: {open_ones} differences are not explained", file=sys.stderr)
    return int(open_ones > 0)


if __name__ == "__main__":
    main()
