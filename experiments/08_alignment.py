"""Experiment 3, the effect of alignment: chat and instruct models against their base models (Section 3.5, Figure 3).

python experiments/08_alignment.py --profile tiny --results data/results/tiny --out data/results/tiny/alignment.csv
"""

from boxes.comparison import experiment
from boxes.records import command


@command
def main() -> None:
    experiment(3, __doc__)


if __name__ == "__main__":
    main()
