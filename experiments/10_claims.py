"""Judge every claim of the paper on the results of a profile, and beside it on the paper's own printed numbers.

python experiments/10_claims.py --profile tiny --results data/results/tiny --out data/results/tiny/claims.csv

verdict and detail go by the profile's results; verdict_reported and detail_reported by data/reported. A claim about
models that were not run is "not run". The claims tiny-* ask the same questions of the tiny models.
"""

from collections import Counter
from pathlib import Path

import pandas as pd

from boxes.arguments import argument_parser, out_file
from boxes.claims import claims_of, judge
from boxes.evidence import read_evidence, reported_evidence
from boxes.models import PROFILES
from boxes.records import command, write_csv
from boxes.scoring import REPORTED

COLUMNS = ("id", "section", "claim", "verdict", "verdict_reported", "buckets", "detail", "detail_reported")


@command
def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--profile", required=True, choices=PROFILES)
    parser.add_argument("--results", required=True, type=Path, help="folder with scores.csv and the other tables")
    parser.add_argument("--reported", type=Path, default=REPORTED, help="the paper's numbers (default: %(default)s)")
    parser.add_argument("--out", required=True, type=out_file, help="the CSV to write")
    arguments = parser.parse_args()
    printed = reported_evidence(arguments.reported)
    ours = printed if arguments.profile == "reported" else read_evidence(arguments.results)
    rows = []
    for claim in claims_of(arguments.profile):
        verdict, detail = judge(claim, ours)
        verdict_reported, detail_reported = judge(claim, printed)
        rows.append(
            (claim.id, claim.section, claim.text, verdict, verdict_reported, claim.buckets, detail, detail_reported)
        )
    write_csv(arguments.out, pd.DataFrame(rows, columns=list(COLUMNS)))
    counts = Counter(row[3] for row in rows)
    print(f"{arguments.out}: {', '.join(f'{number} {verdict}' for verdict, number in sorted(counts.items()))}")


if __name__ == "__main__":
    main()
