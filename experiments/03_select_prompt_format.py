"""Choose the prompt format of the alignment-tuned models on the development set (Appendix A.1): plain against chat.

    python experiments/03_select_prompt_format.py --profile tiny --data data/boxes/dev-t5.jsonl \\
        --runs data/runs/tiny --out data/results/tiny/prompt_format.csv

Decodes a stratified subset of the development set in both formats, into RUNS/MODEL/dev-plain and dev-chat.
"""

from pathlib import Path

import pandas as pd

from boxes.arguments import add_hardware, argument_parser, hardware_of, out_file, out_folder
from boxes.models import PROFILES, ModelSpec, choose
from boxes.prompting import PROMPT_FORMATS
from boxes.records import command, write_csv
from boxes.running import Settings, Task, decode_run, read_task
from boxes.runs import score_run

QUERIES_PER_BUCKET = 20  # of the subset: about 140 descriptions, an interval of some 3 points for a model's accuracy
COLUMNS = ["model", "format", "n", "accuracy", "chosen", "reported_format"]


def format_rows(spec: ModelSpec, task: Task, runs: Path, hardware: dict) -> list[dict]:
    """A row a format: queries, accuracy in per cent, whether it did best. Nothing where either was not run."""
    rows = []
    for name in PROMPT_FORMATS:
        settings = Settings(prompt_format=name, **hardware)
        folder = runs / spec.name / f"dev-{name}"
        if decode_run(spec.name, task, folder, settings)["status"] != "complete":
            return []
        correct = [row[-1] for row in score_run(spec, folder / "predictions.jsonl", task.by_key)]
        rows.append(
            {"model": spec.name, "format": name, "n": len(correct), "accuracy": 100 * sum(correct) / len(correct)}
        )
    best = max(row["accuracy"] for row in rows)
    for row in rows:
        # No format was reported for the tiny models; on a tie, the plain format of Table 2 is the choice.
        row["chosen"] = int(row is next(other for other in rows if other["accuracy"] == best))
        row["reported_format"] = spec.prompt_format if spec.profile == "paper" and not spec.extra else None
    return rows


@command
def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--profile", required=True, choices=PROFILES)
    parser.add_argument("--data", type=Path, required=True, help="the development set")
    parser.add_argument("--runs", type=out_folder, required=True, help="folder with a folder a model")
    parser.add_argument("--out", type=out_file, required=True, help="prompt_format.csv")
    parser.add_argument(
        "--models", nargs="*", default=[], metavar="NAME", help="only these (default: all aligned ones)"
    )
    add_hardware(parser)
    arguments = parser.parse_args()
    specs = [spec for spec in choose(arguments.profile, arguments.models) if spec.added == "alignment"]
    task = read_task(arguments.data, QUERIES_PER_BUCKET)
    rows = [row for spec in specs for row in format_rows(spec, task, arguments.runs, hardware_of(arguments))]
    write_csv(arguments.out, pd.DataFrame(rows, columns=COLUMNS))
    print(f"{arguments.out}: {len(rows) // len(PROMPT_FORMATS)} of {len(specs)} alignment-tuned models compared")


if __name__ == "__main__":
    main()
