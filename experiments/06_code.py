"""Experiment 1, the effect of code: models trained further on code against their base models
(Section 3.3, Figure 1).

python experiments/06_code.py --profile tiny --results data/results/tiny \\
    --out data/results/tiny/code.csv
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout comes first

from boxes.commandline import command
from experiments.pairs import experiment


@command
def main() -> None:
    experiment(1, __doc__)


if __name__ == "__main__":
    main()
