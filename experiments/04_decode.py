"""Decode a dataset with one model: predictions.jsonl grows batch by batch, run.json says how they were made.

    python experiments/04_decode.py --model tiny-base --data data/boxes/test-subsample-states-t5.jsonl \\
        --out data/runs/tiny/tiny-base

Run again, it goes on where it stopped. Where the weights are not on this machine, or the model fails, run.json says so and
the exit status is 0: one model does not stop the others.
"""

from pathlib import Path

from boxes.arguments import add_hardware, argument_parser, out_folder, positive
from boxes.prompting import PROMPT_FORMATS, PROMPT_STYLES
from boxes.records import command
from boxes.running import Settings, decode_run, read_task


@command
def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--model", required=True, help="a name of boxes/models.py, or the folder of a local checkpoint")
    parser.add_argument("--data", type=Path, required=True, help="dataset in the release's schema")
    parser.add_argument("--out", type=out_folder, required=True, help="the run's folder")
    parser.add_argument("--free", action="store_true", help="decode without the regular expression (Appendix A.2)")
    parser.add_argument("--prompt-format", choices=PROMPT_FORMATS, help="default: the one Table 6 used for the model")
    parser.add_argument("--prompt-style", choices=tuple(PROMPT_STYLES), default="table2", help="default: %(default)s")
    parser.add_argument(
        "--max-new-tokens", type=positive, help="the authors' script stops at 100 (default: the engine's)"
    )
    add_hardware(parser)
    arguments = parser.parse_args()
    options = {key: value for key, value in vars(arguments).items() if key not in ("model", "data", "out", "free")}
    run = decode_run(arguments.model, read_task(arguments.data), arguments.out, Settings(not arguments.free, **options))
    if run["status"] == "complete":
        print(f"{run['model']}: {run['examples']} statements, {run['statements_per_second']} a second, "
              f"{run['truncated']} truncated, {run['invalid']} invalid")  # fmt: skip


if __name__ == "__main__":
    main()
