"""Write a quick look: a stratified part of a dataset, as a dataset of its own.

python experiments/tools/look.py --data data/boxes/test-subsample-states-t5.jsonl --limit 20 --out data/boxes

It is drawn as the evaluated subset is, with so many queries for each number of operations, and all
seven of each state; the same states every time. Its file has its name and checksum, so that no run
on it passes for one on the test set, and whatever shows its results says what they are.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout, whatever is installed

from boxes.commandline import argument_parser, command, out_folder, positive
from boxes.records import read_lines, write_bytes
from boxes.runs.task import LOOK, read_task


@command
def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the dataset to look into")
    parser.add_argument("--limit", type=positive, required=True, help="queries for each number of operations")
    parser.add_argument("--out", type=out_folder, required=True, help="folder to write into")
    arguments = parser.parse_args()
    chosen = read_task(arguments.data, arguments.limit)
    whole = read_task(arguments.data).by_key
    lines = [line for _, line in read_lines(arguments.data, "make the data again (make data)")]
    kept = []
    queries = len(lines) // len(whole)  # seven lines a state; of descriptions without gold, one
    for place, key in enumerate(whole):
        if key in chosen.by_key:
            kept += lines[place * queries : (place + 1) * queries]
    path = arguments.out / LOOK.format(arguments.limit)
    write_bytes(path, kept)
    print(f"{path}: {len(chosen.examples)} of {len(whole)} descriptions")


if __name__ == "__main__":
    main()
