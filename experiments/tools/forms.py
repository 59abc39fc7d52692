"""Generate another form of the task, in a file of its own: make data FORM=long.

    python experiments/tools/forms.py --form long --seed 27 --out data/boxes --checksums data/forms.sha256

long: 24 operations a scenario in the place of 12 (longer sequences in test than in any training
split). The scenarios are those of the test split, carried on; of them the states with more than 12
operations, and of these, for each number of operations that changed a box, 100 queries are drawn
(all, where there are fewer) and all seven of their states kept, as the evaluated subset is drawn.
No state of it is one of the base set.

contents, empty, containers: the states of the evaluated subset itself in other words (boxes/world.py):
"Move the contents of Box 1 to Box 2." where all of them are moved; a box that "is empty", in the
queries, too; "Pick up the car in Container A and place it into Container B.". Their sample_id is
10000, 20000 and 30000 more than in the evaluated subset: an answer to one form is an answer to no
query of another.

Decode one with make all DATASET=data/boxes/FORM-....jsonl.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout, whatever is installed

from boxes.commandline import argument_parser, command, natural, out_folder
from boxes.dataset import SUBSET, write_states
from boxes.generation import NUM_OPERATIONS, generate, stratified_states
from boxes.records import verify_checksums
from boxes.world import BASE, BUCKETS, CONTAINERS, CONTENTS, EMPTY, Wording


@dataclass(frozen=True)
class Form:
    """What of a form is not as in the evaluated subset."""

    wording: Wording = BASE
    operations: int = NUM_OPERATIONS
    after: int = 0  # states with so many operations at least
    buckets: int = len(BUCKETS)  # from 0 on
    draw: int = 2  # seeds which states are kept, as in boxes/dataset.py
    first_id: int = 0


FORMS = {
    "long": Form(operations=2 * NUM_OPERATIONS, after=NUM_OPERATIONS + 1, buckets=2 * NUM_OPERATIONS + 1, draw=3),
    "contents": Form(CONTENTS, first_id=10_000),
    "empty": Form(EMPTY, first_id=20_000),
    "containers": Form(CONTAINERS, first_id=30_000),
}


def file_of(form: str) -> str:
    """The name of a form's file."""
    return f"{form}-{SUBSET}"


def write_form(name: str, path: Path, seed: int) -> int:
    """Write a form's states; how many. The same bytes for the same seed."""
    form = FORMS[name]
    scenarios, told = [], []
    for scenario in generate(seed, form.operations)["test"]:
        scenarios.append(replace(scenario, sample_id=form.first_id + scenario.sample_id))
        told += [(number, counts) for number, _, counts in scenario.states()]
    num_ops = np.array([counts for _, counts in told]).sum(axis=2)
    places = np.array([place for place, (number, _) in enumerate(told) if number >= form.after])
    rng = np.random.default_rng([seed, form.draw])
    kept = stratified_states(num_ops[places], rng, buckets=range(form.buckets))
    write_states(path, scenarios, set(places[kept].tolist()), form.wording)
    return len(kept)


@command
def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--form", choices=tuple(FORMS), required=True)
    parser.add_argument("--seed", type=natural, default=27, help="of the generator (default: %(default)s)")
    parser.add_argument("--out", type=out_folder, required=True, help="folder to write into")
    parser.add_argument("--checksums", type=Path, help="compare with these checksums")
    arguments = parser.parse_args()
    path = arguments.out / file_of(arguments.form)
    count = write_form(arguments.form, path, arguments.seed)
    if arguments.checksums:
        verify_checksums(arguments.out, arguments.checksums, [*map(file_of, FORMS)], [path.name])
    print(f"{path}: {count} descriptions")


if __name__ == "__main__":
    main()
