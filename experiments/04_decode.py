"""Decode a dataset with one model: predictions.jsonl grows batch by batch, run.json says how they
were made.

    python experiments/04_decode.py --model tiny-base \\
        --data data/boxes/test-subsample-states-t5.jsonl \\
        --out data/runs/tiny/tiny-base --beside data/boxes/dev-t5.jsonl

Run again, it goes on where it stopped. Where the weights are not on this machine, or the model
fails, run.json says so and the exit status is 0: one model does not stop the others. With --beside
the runs that Appendix A compares this one with (boxes/runs/plan.py) are made in folders of --out, too,
while the model is loaded, and under the same options. --prompt-format chosen decodes an
alignment-tuned model in the format that does best on the development set, which --beside names; it
is the default for a model that was added without a format.
"""

import argparse
import functools
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout comes first

from boxes.commandline import add_hardware, argument_parser, command, hardware_of, out_folder, positive
from boxes.models.loading import WeightsMissing, load, resolve
from boxes.models.table import MODELS, ModelSpec
from boxes.prompting import PROMPT_FORMATS, PROMPT_STYLES
from boxes.records import UserError
from boxes.runs.decode import decode_run
from boxes.runs.plan import DEV_QUERIES_PER_BUCKET, FREE, compares_formats, decodes_freely, dev_folder, folders_beside
from boxes.runs.progress import Progress
from boxes.runs.prompt_choice import CHOSEN, accuracies_of, best_format, dev_answers
from boxes.runs.task import Settings, Task, read_task


def parse_arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument(
        "--model", required=True, help="a name of boxes/models/table.py, or the folder of a local checkpoint"
    )
    parser.add_argument("--data", type=Path, required=True, help="dataset in the release's schema")
    parser.add_argument("--out", type=out_folder, required=True, help="the run's folder")
    parser.add_argument(
        "--beside", type=Path, metavar="DEV_DATA", help="the development set, for the runs of Appendix A"
    )
    parser.add_argument("--free", action="store_true", help="decode without the regular expression (Appendix A.2)")
    parser.add_argument(
        "--prompt-format", choices=(*PROMPT_FORMATS, CHOSEN), help="default: the one Table 6 used for the model"
    )
    parser.add_argument("--prompt-style", choices=tuple(PROMPT_STYLES), default="table2", help="default: %(default)s")
    parser.add_argument(
        "--max-new-tokens", type=positive, help="the authors' script stops at 100 (default: the engine's)"
    )
    add_hardware(parser)
    return parser.parse_args()


def dev_runs(out: Path, dev: Task, own: Settings) -> Iterator[tuple[Task, Path, Settings]]:
    """Both prompt formats on the development set, otherwise as the model's own run."""
    for name in PROMPT_FORMATS:
        yield dev, out / dev_folder(name), replace(own, constrained=True, prompt_format=name)


def runs_beside(
    spec: ModelSpec, out: Path, task: Task, dev: Task, own: Settings
) -> Iterator[tuple[Task, Path, Settings]]:
    """The runs of Appendix A for a model: its own run's settings but without the expression, and the prompt formats."""
    if decodes_freely(spec):
        # Mostly it writes the same, which one forward then verifies.
        yield task, out / FREE, replace(own, constrained=False, drafts_from=out)
    if compares_formats(spec):
        yield from dev_runs(out, dev, own)  # those that are complete are not decoded again


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


def chosen_format(arguments: argparse.Namespace, dev: Task | None, own: Settings, load_once: Callable) -> str | None:
    """The prompt format that does best on the development set, decoded here, where that is asked
    for; None for the row's own. UserError where there is no development set to choose on."""
    try:
        spec, _ = resolve(arguments.model)
    except WeightsMissing:
        return None  # the run itself says so
    if not compares_formats(spec):
        return None
    if dev is None:
        wrong = "its prompt format is chosen on the development set; name that with --beside"
        raise UserError(f"{spec.name}: {wrong}")
    for task, folder, settings in dev_runs(arguments.out, dev, own):
        decode_run(arguments.model, task, folder, settings, load_once)
    accuracies = accuracies_of(dev_answers(spec, arguments.out, dev))
    best = best_format(accuracies)
    found = ", ".join(f"{name} {accuracies[name]:.2f} %" if name in accuracies else f"{name} failed"
                      for name in PROMPT_FORMATS)  # fmt: skip
    print(f"{spec.name}: {best} format, chosen on the development set: {found}")
    return best


def asks_to_choose(arguments: argparse.Namespace) -> bool:
    """Whether the format is to be chosen: so the option says, or the row of an added model where
    there is no option."""
    if arguments.prompt_format:
        return arguments.prompt_format == CHOSEN
    row = MODELS.get(arguments.model)
    return row is not None and row.choose_format


@command
def main() -> None:
    arguments = parse_arguments()
    task, load_once = read_task(arguments.data), functools.cache(load_quietly)
    dev = read_task(arguments.beside, DEV_QUERIES_PER_BUCKET) if arguments.beside else None
    chosen = {name: getattr(arguments, name) for name in ("prompt_format", "prompt_style", "max_new_tokens")}
    progress = Progress(arguments.model, statements(arguments.model, task, dev))
    own = Settings(not arguments.free, **chosen, **hardware_of(arguments), progress=progress)
    if asks_to_choose(arguments):
        own = replace(own, prompt_format=chosen_format(arguments, dev, own, load_once))
    run = decode_run(arguments.model, task, arguments.out, own, load_once)
    if run["status"] != "complete":
        return
    print(f"{run['model']}: {run['examples']} statements, {run['statements_per_second']} a second, "
          f"{run['truncated']} truncated, {run['invalid']} invalid")  # fmt: skip
    spec, _ = resolve(arguments.model)
    for other, folder, settings in runs_beside(spec, arguments.out, task, dev, own) if dev else ():
        decode_run(arguments.model, other, folder, settings, load_once)


if __name__ == "__main__":
    main()
