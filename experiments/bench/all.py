"""Measure everything anew, one bench after the other, each in a process of its own.

    python experiments/bench/all.py --data data/boxes --out data/bench
    python experiments/bench/all.py --data data/boxes --out data/bench --shapes 7b 13b 34b 70b

With --shapes only these shapes of real models are measured, on all prompts; on a GPU that takes the
place of what was predicted (predicted.csv). The other files stay. Real models are measured where
their weights are: real.csv stays as it is elsewhere. A bench that fails ends it.
"""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout before others

from boxes.commandline import argument_parser, command, in_folder, out_folder
from boxes.models import WeightsMissing, find
from boxes.models.shapes import SHAPES
from boxes.models.table import models_of

EVALUATED = "test-subsample-states-t5.jsonl"
# (bench, the CSV it writes, the dataset it reads, more options)
BENCHES = (
    ("decoding", "decoding.csv", EVALUATED, ()),
    ("scaling", "scaling.csv", "test-t5.jsonl", ()),
    ("precision", "bfloat16.csv", EVALUATED, ()),
    ("shapes", "shapes.csv", EVALUATED, ("--shapes", "100m", "--prompts", "64")),
)
REAL_MODELS = tuple(spec.name for spec in models_of("small", extra=False) if spec.packaged)


def of_real_models(out: Path) -> list[tuple]:
    """The bench of the real models that are here; it is said where none are."""
    found = [name for name in REAL_MODELS if is_here(name)]
    if found:
        return [("real", "real.csv", EVALUATED, ("--models", *found, "--drafts", out / "drafts.csv"))]
    fetch = f'make weights PROFILE=small MODELS="{" ".join(REAL_MODELS)}"'
    print(f"real models: not measured, for their weights are not here; `{fetch}` fetches them")
    return []


def is_here(name: str) -> bool:
    """Whether a model's weights are on this machine."""
    try:
        find(name)
    except WeightsMissing:
        return False
    return True


@command
def main() -> int:
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("--data", type=in_folder, required=True, help="folder of the generated dataset")
    add("--out", type=out_folder, required=True, help="folder of the CSVs")
    add("--shapes", nargs="+", choices=SHAPES, metavar="SHAPE", help="measure these shapes only")
    arguments = parser.parse_args()
    if arguments.shapes:
        benches = [("shapes", "shapes.csv", EVALUATED, ("--shapes", *arguments.shapes))]
    else:
        benches = [*of_real_models(arguments.out), *BENCHES]
    for name, table, dataset, more in benches:
        script = Path(__file__).with_name(f"{name}.py")
        paths = ["--data", arguments.data / dataset, "--out", arguments.out / table]
        status = subprocess.run([sys.executable, script, *paths, *more]).returncode
        if status:
            return status
    return 0


if __name__ == "__main__":
    main()
