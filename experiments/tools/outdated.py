"""Say FORCE where status.csv no longer tells the truth: 04_decode.py is then to look at the runs
again.

python experiments/tools/outdated.py data/runs/tiny/status.csv

That is so where a run is not complete, where its files were deleted or mended since, or where
weights that lie in a folder have changed. Make asks before anything runs, so this imports the
standard library only.
"""

import csv
import sys
from pathlib import Path

RUN_FILES = ("run.json", "predictions.jsonl")


def is_outdated(status: Path) -> bool:
    """Whether anything has changed since status.csv was written, or is left to do."""
    written = status.stat().st_mtime_ns
    with open(status, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        files = [Path(row["folder"], name) for name in RUN_FILES]
        if row["weights"]:
            files += Path(row["weights"]).iterdir()
        if row["status"] != "complete" or any(path.stat().st_mtime_ns > written for path in files):
            return True
    return not rows


def main() -> None:
    try:
        outdated = is_outdated(Path(sys.argv[1]))
    except (OSError, ValueError, KeyError, TypeError):  # something is gone, or another version wrote it
        outdated = True
    if outdated:
        print("FORCE")


if __name__ == "__main__":
    main()
