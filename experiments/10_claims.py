"""Judge every claim of the paper on the results of a profile, and beside it on the paper's own
printed numbers.

python experiments/10_claims.py --profile tiny --results data/results/tiny \\
    --out data/results/tiny/claims.csv

verdict and detail go by the profile's results; verdict_reported and detail_reported by
data/reported. number is what decides (measure says what it is) with its 95 % interval; close_call
is 1 where the threshold lies within one interval of it. A claim about models that were not run is
"not run". The claims tiny-* ask the same questions of the tiny models.
"""

import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout comes first

from boxes.claims.evidence import read_evidence, reported_evidence
from boxes.claims.judging import counted, judge
from boxes.claims.sentences import claims_of
from boxes.commandline import add_shared, argument_parser, command
from boxes.models.table import PROFILES
from boxes.records import write_csv
from boxes.score_tables import REPORTED

COLUMNS = ("id", "section", "claim", "verdict", "verdict_reported", "buckets", "detail",
           "detail_reported", "measure", "number", "low", "high", "number_reported",
           "close_call")  # fmt: skip


@command
def main() -> None:
    parser = argument_parser(__doc__)
    add_shared(parser, PROFILES, "results", "out_file", reported=REPORTED)
    arguments = parser.parse_args()
    printed = reported_evidence(arguments.reported)
    ours = printed
    if arguments.profile != "reported":
        ours = read_evidence(arguments.results)
    rows = []
    for claim in claims_of(arguments.profile):
        found, reported = judge(claim, ours), judge(claim, printed)
        said = (claim.id, claim.section, claim.text)
        verdicts = (found.verdict, reported.verdict, claim.buckets)
        details = (found.detail, reported.detail, claim.test.measure)
        numbers = (*found.number, reported.number.point, int(found.close_call))
        rows.append((*said, *verdicts, *details, *numbers))
    write_csv(arguments.out, pd.DataFrame(rows, columns=list(COLUMNS)))
    print(f"{arguments.out}: {counted(row[3] for row in rows)}")


if __name__ == "__main__":
    main()
