"""Experiment 3, the effect of alignment: chat and instruct models against their base models
(Section 3.5, Figure 3).

python experiments/08_alignment.py --profile tiny --results data/results/tiny \\
    --out data/results/tiny/alignment.csv
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout comes first

from boxes.commandline import command
from experiments.pairs import experiment


@command
def main() -> None:
    experiment(3, __doc__)


if __name__ == "__main__":
    main()
