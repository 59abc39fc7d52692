"""Choose the prompt format of the alignment-tuned models on the development set (Appendix A.1):
plain against chat.

    python experiments/03_select_prompt_format.py --profile tiny --data data/boxes/dev-t5.jsonl \\
        --runs data/runs/tiny --out data/results/tiny/prompt_format.csv

04_decode.py decoded a stratified subset of the development set in both formats, into
RUNS/MODEL/dev-plain and dev-chat.
"""

import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout comes first

from boxes.commandline import add_models, add_shared, argument_parser, command
from boxes.models.table import PROFILES, ModelSpec, choose
from boxes.prompting import PROMPT_FORMATS
from boxes.records import write_csv
from boxes.runs.plan import DEV_QUERIES_PER_BUCKET, compares_formats
from boxes.runs.prompt_choice import accuracies_of, best_format, dev_answers
from boxes.runs.task import Task, read_task

COLUMNS = ["model", "format", "n", "accuracy", "chosen", "reported_format"]


def format_rows(spec: ModelSpec, task: Task, runs: Path) -> list[dict]:
    """A row a format: queries, accuracy in per cent, whether it did best; none if one lacks."""
    answers = dev_answers(spec, runs / spec.name, task)
    if len(answers) < len(PROMPT_FORMATS):
        return []
    accuracies = accuracies_of(answers)
    best = best_format(accuracies)
    # No format was reported for the tiny models.
    reported = None
    if spec.profile == "paper" and not spec.extra:
        reported = spec.prompt_format
    rows = []
    for name, correct in answers.items():
        row = (spec.name, name, len(correct), accuracies[name], int(name == best), reported)
        rows.append(dict(zip(COLUMNS, row, strict=True)))
    return rows


@command
def main() -> None:
    parser = argument_parser(__doc__)
    add_shared(parser, PROFILES, "data", "runs", "out_file")
    add_models(parser)
    arguments = parser.parse_args()
    specs = [spec for spec in choose(arguments.profile, arguments.models) if compares_formats(spec)]
    task = read_task(arguments.data, DEV_QUERIES_PER_BUCKET)
    rows = []
    for spec in specs:
        rows += format_rows(spec, task, arguments.runs)
    write_csv(arguments.out, pd.DataFrame(rows, columns=COLUMNS))
    compared = len(rows) // len(PROMPT_FORMATS)
    print(f"{arguments.out}: {compared} of {len(specs)} alignment-tuned models compared")


if __name__ == "__main__":
    main()
