"""CLAIMS.md, the artifact appendix: every claim with its command, expected value, tolerance and
cost; the deviations.

    python -m paper.claims_page --out CLAIMS.md

Claims come from boxes/claims/sentences.py, expected values from data/reported (the paper's numbers)
and data/reference (ours), GPU minutes and memory from data/bench/shapes.csv. What has not been
measured is said to be so, or estimated from the shape.
"""

import sys
from pathlib import Path

import jinja2
import pandas as pd

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout before others

from boxes.claims.evidence import reported_evidence
from boxes.claims.findings import Number
from boxes.claims.judging import NOT_RUN, Claim, counted, judge
from boxes.claims.sentences import claims_of
from boxes.commandline import argument_parser, command, out_file
from boxes.models.shapes import MEASURED, WEIGHT_WIDTH, file_bytes, gigabytes, weight_bytes
from boxes.models.table import MODELS, ModelSpec, models_of
from boxes.records import read_csv, write_text
from boxes.score_tables import RANDOM, read_score_table
from paper.deviations import DEVIATION_COLUMNS, DEVIATIONS
from paper.report import TEMPLATES

REFERENCE = Path("data/reference")
BENCH = Path("data/bench")
NOT_MEASURED = "not measured"

# Minutes of kick-the-tires.
TOOK = {
    "reported": 0.2,
    "tiny": 2,
    "check": 0.5,
    "how": "Minutes were measured on two CPU cores; the 2 include the installation.",
}

# --- what a claim costs ---


def measured_shapes(bench: Path) -> pd.DataFrame:
    """The GPU's rows of shapes.csv that hold a measurement, by shape; empty without the file."""
    columns = ("shape", "device", "dtype", "prompts", "seconds", "peak_memory_mb", "status")
    if not (bench / "shapes.csv").exists():
        return pd.DataFrame(columns=columns).set_index("shape")
    table = read_csv(bench / "shapes.csv", columns)
    on_gpu = (table.status == MEASURED) & ~table.device.str.endswith(" threads")
    return table[on_gpu].drop_duplicates("shape").set_index("shape")


def gpu_minutes(specs: list[ModelSpec], shapes: pd.DataFrame) -> str:
    """Minutes of decoding the test set once with every model, where the shapes of all were
    measured."""
    names = [spec.shape for spec in specs]
    if not set(names) <= set(shapes.index):
        return NOT_MEASURED
    rows = shapes.loc[names]  # a shape as often as there are models of it
    minutes, first = rows.seconds.sum() / 60, rows.iloc[0]
    where = f"{first['device']}, {first['dtype']}"
    return f"{minutes:.1f} for decoding, measured on models of these shapes ({where})"


def gpu_memory(specs: list[ModelSpec], shapes: pd.DataFrame) -> str:
    """The most that one of the models took where the shapes of all were measured; else an estimate for the largest."""
    if not {spec.shape for spec in specs} <= set(shapes.index):
        largest = max(specs, key=weight_bytes)
        size, formula = gigabytes(weight_bytes(largest)), f"parameters × {WEIGHT_WIDTH} bytes"
        return f"{NOT_MEASURED}; {size} for the weights of {largest.name} (estimate: {formula})"
    most = max(specs, key=lambda spec: shapes.loc[spec.shape]["peak_memory_mb"])
    size = gigabytes(shapes.loc[most.shape]["peak_memory_mb"] * 1e6)
    return (
        f"{size}, measured on a model of {most.name}'s shape, at the batch it chose for that card (less on a smaller)"
    )


def disk(specs: list[ModelSpec]) -> str:
    """The files of all the models."""
    formula = f"parameters × {WEIGHT_WIDTH} bytes"
    if any(spec.float32_files for spec in specs):
        formula += ", × 4 for Llemma, whose files are float32"
    return f"{gigabytes(sum(map(file_bytes, specs)))} of weights (estimate: {formula})"


# --- how claims read ---


def quantity(number: Number) -> str:
    """A deciding number with its interval."""
    if pd.isna(number.point):
        return "not printed"
    if not pd.isna(number.low):
        return f"{number.point:.2f} [{number.low:.2f}, {number.high:.2f}]"
    digits = 0 if float(number.point).is_integer() else 2
    return f"{number.point:.{digits}f}"


def chosen(models: tuple[str, ...]) -> str:
    """PROFILE and MODELS of a claim, models in the order of Table 6; all 29 need no naming."""
    everything = models_of("paper", extra=False)
    names = [spec.name for spec in everything if spec.name in models]
    if len(names) == len(everything):
        return "PROFILE=paper"
    return f'PROFILE=paper MODELS="{" ".join(names)}"'


def paper_claim(claim: Claim, shapes: pd.DataFrame) -> dict[str, str]:
    """One claim of the paper: what to run, what to expect, what it costs."""
    found = judge(claim, reported_evidence())
    specs = [MODELS[name] for name in claim.test.models]
    verdict = found.verdict
    if verdict == NOT_RUN:
        verdict = "not judged on the printed numbers"
    return {
        "id": claim.id,
        "section": claim.section,
        "text": claim.text,
        "chosen": chosen(claim.test.models),
        "measure": claim.test.measure,
        "expected": quantity(found.number),
        "verdict": verdict,
        "close": ", a close call" if found.close_call else "",
        "holds_if": claim.test.holds_if,
        "why": claim.test.why,
        "minutes": gpu_minutes(specs, shapes),
        "memory": gpu_memory(specs, shapes),
        "disk": disk(specs),
    }


def tiny_claims(reference: Path) -> str:
    """The claims about the tiny models, with the numbers of the committed reference."""
    wanted = ("id", "verdict", "number", "low", "high", "close_call")
    rows = read_csv(reference / "tiny/claims.csv", wanted).set_index("id")
    body = []
    for claim in claims_of("tiny"):
        if claim.id.startswith("tiny-"):
            row = rows.loc[claim.id]
            number = quantity(Number(row.number, row.low, row.high))
            verdict = f"{row.verdict}, a close call" if row.close_call else row.verdict
            test = claim.test
            name = f"`{claim.id}`"
            body.append((name, claim.text, test.measure, number, test.holds_if, verdict))
    header = ("claim", "sentence", "what decides", "expected", "holds if", "expected verdict")
    return plain_table(header, body)


def tiny_accuracies(reference: Path) -> str:
    """Overall accuracies of the reference, as `make table6` prints them."""
    scores = read_score_table(reference / "tiny/scores.csv")
    overall = scores[scores.num_ops == "all"].set_index("model").accuracy
    names = [RANDOM, *(spec.name for spec in models_of("tiny", extra=False))]
    return ", ".join(f"{name} {overall[name]:.2f}" for name in names)


def plain_table(header: tuple[str, ...], body) -> str:
    """A Markdown table of cells that are Markdown already."""
    lines = []
    for line in (header, ["---"] * len(header), *body):
        cells = [cell.replace("|", "\\|") for cell in line]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def render(reference: Path = REFERENCE, bench: Path = BENCH) -> str:
    """CLAIMS.md."""
    shapes = measured_shapes(bench)
    everything = models_of("paper", extra=False)
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    verdicts = {}
    for profile in ("reported", "tiny"):
        claims = read_csv(reference / profile / "claims.csv", ("verdict",))
        verdicts[profile] = counted(claims.verdict)
    template = templates.get_template("CLAIMS.md.j2")
    return template.render(
        claims=[paper_claim(claim, shapes) for claim in claims_of("paper")],
        tiny_claims=tiny_claims(reference),
        tiny_accuracies=tiny_accuracies(reference),
        verdicts=verdicts,
        sections=SECTIONS,
        took=TOOK,
        deviations=plain_table(DEVIATION_COLUMNS, DEVIATIONS),
        models=len(everything),
        disk=gigabytes(sum(map(file_bytes, everything))),
        largest=gigabytes(max(map(weight_bytes, everything))),
        minutes=gpu_minutes(everything, shapes),
    )


SECTIONS = {
    "abstract": "Abstract",
    "3.3": "Experiment 1: code",
    "3.4": "Experiment 2: math",
    "3.5": "Experiment 3: alignment",
    "4": "Discussion: all three experiments",
    "A.1": "Appendix A.1: prompt format",
    "A.2": "Appendix A.2: constrained decoding",
}


@command
def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--out", required=True, type=out_file, help="CLAIMS.md")
    arguments = parser.parse_args()
    write_text(arguments.out, render())
    print(f"{arguments.out}: written")


if __name__ == "__main__":
    main()
