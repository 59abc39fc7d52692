"""Experiment 2, the effect of math: models trained further on math against their base models
(Section 3.4, Figure 2).

python experiments/07_math.py --profile tiny --results data/results/tiny \\
    --out data/results/tiny/math.csv
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout comes first

from boxes.commandline import command
from experiments.pairs import experiment


@command
def main() -> None:
    experiment(2, __doc__)


if __name__ == "__main__":
    main()
