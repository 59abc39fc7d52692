"""What kind of error every wrong answer is (boxes/mistakes.py defines the kinds), counted by model
and number of operations.

    python experiments/11_errors.py --profile tiny \\
        --data data/boxes/test-subsample-states-t5.jsonl \\
        --runs data/runs/tiny --out data/results/tiny/errors.csv

The kinds of a model and bucket add up to its line "wrong"; "as at the beginning" counts changed
boxes across them. Beside each run's predictions samples.csv has every query to look at (a row of
boxes/evaluation.py): it holds the text of the task and stays there.
"""

import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout comes first

from boxes.commandline import add_models, add_shared, argument_parser, command
from boxes.evaluation import samples
from boxes.mistakes import QUERY_COLUMNS, count_errors, wrong_answers
from boxes.models.table import PROFILES, choose
from boxes.records import write_csv
from boxes.runs.agreement import check_belongs
from boxes.runs.folder import complete_predictions, read_run
from boxes.runs.task import read_task


@command
def main() -> None:
    parser = argument_parser(__doc__)
    add_shared(parser, PROFILES, "data", "runs", "out_file")
    add_models(parser)
    arguments = parser.parse_args()
    task = read_task(arguments.data)
    examples = task.by_key
    models, wrong = [], []
    for spec in choose(arguments.profile, arguments.models):
        folder = arguments.runs / spec.name
        run = read_run(spec, folder)
        if run["status"] != "complete":
            continue
        check_belongs(spec, run, folder, task.data, task.checksum)
        models.append(spec.name)
        found = complete_predictions(folder / "predictions.jsonl", examples)
        write_csv(folder / "samples.csv", samples(examples, found))
        for key, line in found.items():
            example, statement = examples[key], (line["prediction"], line["status"])
            wrong += wrong_answers(spec.name, example.description, example.num_ops, *statement)
    write_csv(arguments.out, count_errors(pd.DataFrame(wrong, columns=list(QUERY_COLUMNS)), models))
    print(f"{arguments.out}: {len(wrong)} wrong answers of {len(models)} models")


if __name__ == "__main__":
    main()
