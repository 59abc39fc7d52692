"""Decode a dataset with one model: predictions.jsonl grows batch by batch, run.json says how they were made.

    python experiments/04_decode.py --model tiny-base --data data/boxes/test-subsample-states-t5.jsonl \\
        --out data/runs/tiny/tiny-base --beside data/boxes/dev-t5.jsonl

Run again, it goes on where it stopped. Where the weights are not on this machine, or the model fails, run.json says so and
the exit status is 0: one model does not stop the others. With --beside the runs that Appendix A compares this one with
(boxes/beside.py) follow in folders of --out, while the model is loaded.
"""

import argparse
import functools
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout, whatever is installed

from boxes.arguments import add_hardware, argument_parser, hardware_of, out_folder, positive
from boxes.beside import DEV_QUERIES_PER_BUCKET, FREE, compares_formats, decodes_freely, dev_folder, folders_beside
from boxes.models import MODELS
from boxes.progress import Progress
from boxes.prompting import PROMPT_FORMATS, PROMPT_STYLES
from boxes.records import command
from boxes.running import Settings, Task, decode_run, read_task
from boxes.weights import load, resolve


def parse_arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--model", required=True, help="a name of boxes/models.py, or the folder of a local checkpoint")
    parser.add_argument("--data", type=Path, required=True, help="dataset in the release's schema")
    parser.add_argument("--out", type=out_folder, required=True, help="the run's folder")
    parser.add_argument(
        "--beside", type=Path, metavar="DEV_DATA", help="the development set, for the runs of Appendix A"
    )
    parser.add_argument("--free", action="store_true", help="decode without the regular expression (Appendix A.2)")
    parser.add_argument("--prompt-format", choices=PROMPT_FORMATS, help="default: the one Table 6 used for the model")
    parser.add_argument("--prompt-style", choices=tuple(PROMPT_STYLES), default="table2", help="default: %(default)s")
    parser.add_argument(
        "--max-new-tokens", type=positive, help="the authors' script stops at 100 (default: the engine's)"
    )
    add_hardware(parser)
    return parser.parse_args()


def runs_beside(
    arguments: argparse.Namespace, task: Task, dev: Task, own: Settings
) -> Iterator[tuple[Task, Path, Settings]]:
    """The runs of Appendix A for a model: its own run's settings but without the expression, and the prompt formats."""
    spec, _ = resolve(arguments.model)
    if decodes_freely(spec):
        # Mostly it writes the same, which one forward then verifies.
        yield task, arguments.out / FREE, replace(own, constrained=False, drafts_from=arguments.out)
    if compares_formats(spec):
        for name in PROMPT_FORMATS:
            yield dev, arguments.out / dev_folder(name), replace(own, constrained=True, prompt_format=name)


def statements(name: str, task: Task, dev: Task | None) -> int:
    """How many statements a model writes in its own run and those beside it."""
    spec = MODELS.get(name)
    beside = folders_beside(spec) if spec and dev else []
    return len(task.examples) + sum(len((task if folder == FREE else dev).examples) for folder in beside)


def load_quietly(*which):
    """weights.load without the bar that transformers draws."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    return load(*which)


@command
def main() -> None:
    arguments = parse_arguments()
    task, load_once = read_task(arguments.data), functools.cache(load_quietly)
    dev = read_task(arguments.beside, DEV_QUERIES_PER_BUCKET) if arguments.beside else None
    chosen = {name: getattr(arguments, name) for name in ("prompt_format", "prompt_style", "max_new_tokens")}
    progress = Progress(arguments.model, statements(arguments.model, task, dev))
    own = Settings(not arguments.free, **chosen, **hardware_of(arguments), progress=progress)
    run = decode_run(arguments.model, task, arguments.out, own, load_once)
    if run["status"] != "complete":
        return
    print(f"{run['model']}: {run['examples']} statements, {run['statements_per_second']} a second, "
          f"{run['truncated']} truncated, {run['invalid']} invalid")  # fmt: skip
    for other, folder, settings in runs_beside(arguments, task, dev, own) if dev else ():
        decode_run(arguments.model, other, folder, settings, load_once)


if __name__ == "__main__":
    main()
