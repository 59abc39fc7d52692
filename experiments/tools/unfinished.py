"""Name the models without results, and why. Exit status 3 where there are any.

python experiments/tools/unfinished.py --profile tiny --runs data/runs/tiny

A model that was decoded is named where a run beside its own (free decoding, a prompt format) came
to nothing.
"""

import sys
from pathlib import Path

from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout, whatever is installed

from boxes.commandline import add_models, argument_parser, command
from boxes.models.table import PROFILES, ModelSpec, choose
from boxes.runs.folder import read_run

ADVICE = """\
Weights come from MODELS_DIR=folder (a folder a model) or by make weights PROFILE={profile}; what failed is said above.
Then make all PROFILE={profile} runs what is missing and keeps the rest."""


def unfinished(spec: ModelSpec, runs: Path) -> list[tuple[str, str, str]]:
    """(run, status, reason) of what is not complete: the model's own run or, where that is, those
    beside it."""
    own = read_run(spec, runs / spec.name)
    if own["status"] != "complete":
        return [(spec.name, own["status"], own["reason"])]
    beside = [path.parent for path in sorted((runs / spec.name).glob("*/run.json"))]
    found = {folder: read_run(spec, folder) for folder in beside if not folder.name.startswith("superseded-")}
    return [
        (f"{spec.name}/{folder.name}", run["status"], run["reason"])
        for folder, run in found.items()
        if run["status"] != "complete"
    ]


@command
def main() -> int:
    parser = argument_parser(__doc__)
    parser.add_argument("--profile", required=True, choices=PROFILES)
    parser.add_argument("--runs", required=True, type=Path, help="folder with a folder a model")
    add_models(parser)
    arguments = parser.parse_args()
    if arguments.profile == "reported":  # of which nothing is run here
        return 0
    rows = []
    for spec in choose(arguments.profile, arguments.models):
        rows += unfinished(spec, arguments.runs)
    if not rows:
        return 0
    table = tabulate(rows, ("model", "status", "why"), tablefmt="plain", disable_numparse=True)
    print(f"Models without results:\n{table}\n{ADVICE.format(profile=arguments.profile)}", file=sys.stderr)
    return 3


if __name__ == "__main__":
    main()
