"""faults.csv -> the table of what was injected and survived, between two marks in the README.

python -m paper.survives --faults data/bench/faults.csv --readme README.md
"""

import sys
from pathlib import Path

import pandas as pd
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout, whatever is installed

from boxes.arguments import argument_parser
from boxes.records import UserError, command, read_csv, write_text

BEGIN = "<!-- survives: written by paper/survives.py from data/bench/faults.csv -->"
END = "<!-- end of survives -->"
COLUMNS = ("fault", "held_to", "injected", "survived")


def block(table: pd.DataFrame) -> str:
    """What stands between the marks."""
    rows = [
        {
            "what happens": row.fault,
            "what must hold": row.held_to,
            "tried": f"{row.injected:,}",
            "held": f"{row.survived:,}",
        }
        for row in table.itertuples()
    ]
    text = tabulate(
        rows, headers="keys", tablefmt="pipe", disable_numparse=True, colalign=["left", "left", "right", "right"]
    )
    return f"{BEGIN}\n\n{text}\n\n{END}"


def between_marks(text: str, new: str, name: Path) -> str:
    """A README's text with another block between the marks."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(END) < text.index(BEGIN):
        raise UserError(f"{name}: the marks {BEGIN!r} and {END!r} must stand in it once each, in this order")
    return text[: text.index(BEGIN)] + new + text[text.index(END) + len(END) :]


@command
def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--faults", type=Path, required=True, help="CSV that tests/faults.py wrote")
    parser.add_argument("--readme", type=Path, required=True, help="the README whose block is written anew")
    arguments = parser.parse_args()
    table = read_csv(arguments.faults, COLUMNS)
    text = between_marks(arguments.readme.read_text(encoding="utf-8"), block(table), arguments.readme)
    write_text(arguments.readme, text)


if __name__ == "__main__":
    main()
