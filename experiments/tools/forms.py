"""Generate another form of the task, in a file of its own: make data FORM=long.

    python experiments/tools/forms.py --form long --seed 27 --out data/boxes --checksums data/forms.sha256

long: 24 operations a scenario in the place of 12 (longer sequences in test than in any training
split). The scenarios are those of the test split, carried on; of them the states with more than 12
operations, and of these, for each number of operations that changed a box, 100 queries are drawn
(all, where there are fewer) and all seven of their states kept, as the evaluated subset is drawn.
No state of it is one of the base set. Decode it with make all DATASET=data/boxes/long-....jsonl.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout, whatever is installed

from boxes.commandline import argument_parser, command, natural, out_folder
from boxes.dataset import SUBSET, write_states
from boxes.generation import NUM_OPERATIONS, generate, stratified_states
from boxes.records import UserError, sha256_file

FORMS = {"long": 2 * NUM_OPERATIONS}  # form -> operations a scenario
_DRAW = 3  # of the states: another one than of the evaluated subset


def write_form(form: str, path: Path, seed: int) -> int:
    """Write a form's states; how many. The same bytes for the same seed."""
    scenarios = generate(seed, FORMS[form])["test"]
    told = []
    for scenario in scenarios:
        told += [(number, counts) for number, _, counts in scenario.states()]
    longer = np.array([number > NUM_OPERATIONS for number, _ in told])
    num_ops = np.array([counts for _, counts in told]).sum(axis=2)
    places = np.nonzero(longer)[0]
    buckets = range(int(num_ops[longer].max()) + 1)
    kept = stratified_states(num_ops[longer], np.random.default_rng([seed, _DRAW]), buckets=buckets)
    write_states(path, scenarios, set(places[kept].tolist()))
    return len(kept)


def check(path: Path, checksums: Path) -> None:
    """UserError where the committed checksum is another."""
    lines = [line.split("  ") for line in checksums.read_text(encoding="utf-8").splitlines()]
    digests = {name: digest for digest, name in lines}
    if digests.get(path.name) != sha256_file(path):
        mend = "make it with SEED=27 and the numpy of requirements.lock"
        raise UserError(f"{path}: not the bytes of {checksums}; {mend}")


@command
def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--form", choices=tuple(FORMS), required=True)
    parser.add_argument("--seed", type=natural, default=27, help="of the generator (default: %(default)s)")
    parser.add_argument("--out", type=out_folder, required=True, help="folder to write into")
    parser.add_argument("--checksums", type=Path, help="compare with these checksums")
    arguments = parser.parse_args()
    path = arguments.out / f"{arguments.form}-{SUBSET}"
    count = write_form(arguments.form, path, arguments.seed)
    if arguments.checksums:
        check(path, arguments.checksums)
    print(f"{path}: {count} descriptions")


if __name__ == "__main__":
    main()
