"""Decode a dataset with the models of a profile, each in a process of its own, and list what became
of every run.

    python experiments/04_decode.py --profile tiny --data data/boxes/test-subsample-states-t5.jsonl \\
        --dev data/boxes/dev-t5.jsonl --runs data/runs/tiny --out data/runs/tiny/status.csv
    python experiments/04_decode.py --model FOLDER --data data/boxes/test-subsample-states-t5.jsonl --out runs/mine

In a run's folder predictions.jsonl grows batch by batch, and run.json says how they were made. Run
again, it goes on where it stopped. Each model takes a GPU of its own, or waits for one; without a
GPU small ones share the cores. Where the weights are not on this machine, or the model fails,
run.json says so and the exit status is 0: one model does not stop the others. With --dev the runs
that Appendix A compares with a model's own (boxes/runs/plan.py) are made in folders of it, too,
under the same options. --prompt-format chosen decodes an alignment-tuned model in the format that
does best on the development set; it is the default for a model that was added without a format.
With --model one model is decoded into --out, in this process. With --where slurm or ray each model is a
job of a cluster, which does just that, in the same folders (boxes/runs/cluster.py); --cluster is what
sbatch is to be told, or the address of Ray.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout comes first

from boxes.commandline import add_hardware, argument_parser, command, hardware_of, out_file, out_folder, positive
from boxes.models.table import PROFILES, choose, spec_of
from boxes.prompting import PROMPT_FORMATS, PROMPT_STYLES
from boxes.records import UserError
from boxes.runs.cluster import PLACES, run_remote
from boxes.runs.devices import CPU, Machine, device_among, gpus
from boxes.runs.executors import run_all
from boxes.runs.model_runs import ModelRuns, decode_model
from boxes.runs.plan import DEV_QUERIES_PER_BUCKET, OWN
from boxes.runs.prompt_choice import CHOSEN
from boxes.runs.status import Outcome, write_status
from boxes.runs.submission import Command, Submission
from boxes.runs.task import Settings, read_task
from experiments.tools.needs import needs_of

LOCKS = ".gpus"  # folder of the locks of GPUs, beside the profiles': all of them share the GPUs
LOGS = ".jobs"  # folder of what a cluster's jobs say, in a profile's
# Options that are handed on to a cluster's job as they are.
HANDED_ON = ("prompt_format", "prompt_style", "max_new_tokens", "batch_size", "device", "dtype")


def parse_arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--profile", choices=[name for name in PROFILES if name != "reported"])
    model = "a name of boxes/models/table.py, or the folder of a local checkpoint"
    which.add_argument("--model", help=model)
    names = "of --profile: only these (default: all)"
    parser.add_argument("--models", nargs="*", default=[], metavar="NAME", help=names)
    parser.add_argument("--data", type=Path, required=True, help="dataset in the release's schema")
    dev = "the development set, for the runs of Appendix A"
    parser.add_argument("--dev", type=Path, help=dev)
    runs = "of --profile: folder with a folder a model"
    parser.add_argument("--runs", type=out_folder, help=runs)
    out = "of --profile: the CSV to write; of --model: the run's folder"
    parser.add_argument("--out", required=True, help=out)
    gpus_a_model = "GPUs a model (default: as many as hold its weights)"
    parser.add_argument("--gpus", type=positive, help=gpus_a_model)
    jobs = "small models at a time, without a GPU (default: the cores)"
    parser.add_argument("--jobs", type=positive, help=jobs)
    parser.add_argument("--where", choices=PLACES, default="local", help="of --profile (default: %(default)s)")
    parser.add_argument(
        "--cluster", default="", help='for sbatch, e.g. "--partition=gpu --time=120"; or Ray\'s address'
    )
    bench = "of --where: shapes.csv of the bench, for the time that a job may take"
    parser.add_argument("--bench", type=Path, default=Path("data/bench/shapes.csv"), help=bench)
    formats = (*PROMPT_FORMATS, CHOSEN)
    parser.add_argument("--prompt-format", choices=formats, help="default: the one Table 6 used for the model")
    parser.add_argument("--prompt-style", choices=tuple(PROMPT_STYLES), default="table2", help="default: %(default)s")
    tokens = "the authors' script stops at 100 (default: the engine's)"
    parser.add_argument("--max-new-tokens", type=positive, help=tokens)
    add_hardware(parser)
    arguments = parser.parse_args()
    try:
        arguments.out = (out_file if arguments.profile else out_folder)(arguments.out)
    except argparse.ArgumentTypeError as error:
        parser.error(f"argument --out: {error}")
    if arguments.profile and not arguments.runs:
        parser.error("the following arguments are required: --runs")
    return arguments


def submissions(arguments: argparse.Namespace, models: list[ModelRuns]) -> list[Submission]:
    """For each model the command that decodes it alone, and what that needs."""
    found, speeds = [], {}
    for model in models:
        spec = spec_of(model.name)
        needs = needs_of(spec, arguments.gpus, arguments.device, arguments.dtype, arguments.bench, speeds)
        words = [sys.executable, str(Path(__file__).absolute()), "--model", model.name, "--out", str(model.folder)]
        words += ["--data", str(arguments.data)]
        if arguments.dev:
            words += ["--dev", str(arguments.dev)]
        device = CPU  # whatever else the node has
        if needs.gpus:
            device = device_among(arguments.device, needs.gpus)
        given = vars(arguments) | {"device": device}
        for name in HANDED_ON:
            if given[name] is not None:
                words += [f"--{name.replace('_', '-')}", str(given[name])]
        command = Command(tuple(words), os.getcwd(), needs.cores)
        found.append(Submission(model.name, command, needs, model.lock))
    return found


def decode_elsewhere(arguments: argparse.Namespace, models: list[ModelRuns]) -> None:
    """Each model in a job of a cluster, and status.csv, which says why a job failed."""
    logs = arguments.runs / LOGS
    outcomes = run_remote(submissions(arguments, models), arguments.where, arguments.cluster, logs)
    rows = list_runs(arguments, outcomes)
    complete = {row["model"] for row in rows if row["run"] == OWN and row["status"] == "complete"}
    failed = [name for name, outcome in outcomes.items() if outcome.failure and name not in complete]
    if failed:
        raise UserError(f"{', '.join(failed)}: the job failed, {arguments.out} says why; run again, it goes on")


def decode_profile(arguments: argparse.Namespace, models: list[ModelRuns]) -> None:
    """Each model in a process, and status.csv; UserError where one ended as no model should."""
    cores = len(os.sched_getaffinity(0))
    machine = Machine(
        locks=arguments.runs.parent / LOCKS,
        there=gpus(),
        cores=cores,
        jobs=arguments.jobs or cores,
        device=arguments.device,
        dtype=arguments.dtype,
        asked=arguments.gpus,
    )
    ended = run_all(models, machine)
    if ended:
        how = "ended as said above; mend it and run again, what was written is kept"
        raise UserError(f"{', '.join(ended)}: {how}")
    list_runs(arguments, {})


def list_runs(arguments: argparse.Namespace, outcomes: dict[str, Outcome]) -> list[dict]:
    """status.csv, and how many runs are complete; its rows."""
    rows = write_status(arguments.out, choose(arguments.profile, arguments.models), arguments.runs, outcomes)
    complete = [row for row in rows if row["status"] == "complete"]
    print(f"{arguments.out}: {len(complete)} of {len(rows)} runs complete")
    return rows


@command
def main() -> None:
    arguments = parse_arguments()
    if arguments.profile:
        chosen = choose(arguments.profile, arguments.models)
        names = [spec.name for spec in chosen if not spec.elsewhere]
        folders = [arguments.runs / name for name in names]
    else:
        names = [arguments.model]
        folders = [arguments.out]
    task = read_task(arguments.data)
    dev = read_task(arguments.dev, DEV_QUERIES_PER_BUCKET) if arguments.dev else None
    settings = Settings(
        prompt_format=arguments.prompt_format,
        prompt_style=arguments.prompt_style,
        max_new_tokens=arguments.max_new_tokens,
        **hardware_of(arguments),
    )
    models = []
    for name, folder in zip(names, folders, strict=True):
        models.append(ModelRuns(name, folder, task, dev, settings))
    if not arguments.profile:
        decode_model(models[0])
    elif arguments.where == "local":
        decode_profile(arguments, models)
    else:
        decode_elsewhere(arguments, models)


if __name__ == "__main__":
    main()
