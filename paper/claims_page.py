"""CLAIMS.md, the artifact appendix: every claim with its command, expected value, tolerance and cost; the deviations.

    python -m paper.claims_page --out CLAIMS.md

Claims come from boxes/claims/sentences.py, expected values from data/reported (the paper's numbers) and data/reference
(ours), GPU minutes and memory from data/bench/shapes.csv. What has not been measured is said to be so, or estimated from
the shape.
"""

import sys
from pathlib import Path

import jinja2
import pandas as pd

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout, whatever is installed

from boxes.baseline import KNOWN
from boxes.claims.evidence import reported_evidence
from boxes.claims.findings import Number
from boxes.claims.sentences import NOT_RUN, Claim, claims_of, counted, judge
from boxes.commandline import argument_parser, out_file
from boxes.completion import MAX_NEW_TOKENS
from boxes.models.shapes import WEIGHT_WIDTH, file_bytes, gigabytes, weight_bytes
from boxes.models.table import MODELS, ModelSpec, models_of
from boxes.prompting import STATEMENT_HEAD
from boxes.records import command, read_csv, write_text
from boxes.score_tables import RANDOM
from experiments.bench.shapes import MEASURED
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

# What is done otherwise than in the paper or in its authors' release: (what, here, paper, release, the switch back).
DEVIATIONS = (
    ("end of the prompt", f"`{STATEMENT_HEAD}`", "the same (Table 2)", "ends at the description's period, without a line break",
     '`DECODE="--prompt-style released"`'),
    ("token limit", f"{MAX_NEW_TOKENS} new tokens behind the prompt, which ends in the statement's head; a statement that "
     "reaches it counts as truncated", "not stated",
     f"100, of which the head `{STATEMENT_HEAD}` is part; it cuts long statements",
     '`DECODE="--max-new-tokens 100"`, with `--prompt-style released` for the head to be counted'),
    ("chat prompts", "Llama 2-Chat: the instruction as system message; DeepSeek-Chat and DeepSeek-Coder-Instruct: a first user "
     'turn, answered "Okay."; other models: as their template allows', "a system message (Table 5)",
     'the user turn and "Okay." for every name without "Llama" in it', "none; `system_role` of a row in `boxes/models/table.py`"),
    ("BOS", "one, where the model has one", "`<s>` before every turn (Table 5)",
     "two in the chat rows: template and tokenizer both wrote one", "none: it would change the prompt"),
    ("weights of the 70B models", "bfloat16, as for all models", "8 bit", "8 bit", "none: nothing here loads 8-bit weights"),
    ("tokenizer and automaton", "prompts are tokenized here, without chat template in the plain format; outlines_core, whose "
     "index reads a token as its bytes", "outlines",
     "outlines 0.1.13 (1.3 wraps plain strings in the chat template, adds a second BOS, refuses Mistral's tokenizer)",
     "none: it would change the prompt"),
    ("tokenizer of FLoat", "the one of huggyllama/llama-7b, for its repository has none", "not stated", "not known",
     "none; the row in `boxes/models/table.py` names it"),
    ("test data", "generated anew by the same procedure (`data/README.md`)", "716 descriptions of the release",
     "`boxes-dataset-v1.zip`", "`DATA=release RELEASE_ZIP=boxes-dataset-v1.zip`"),
    ("seeds", "`SEED` (27) for scenarios and the draw of the evaluated descriptions", "none named",
     "2255, the generator's default, for the scenarios; that of the draw of the 716 is not published", "the release's files"),
    ("states without operations", "evaluated, as in the release: 0 to 12 operations", "“1–12 descriptions of operations”",
     "0 to 12: each scenario gives 13 states", "none"),
    ("`sample_id`", "numbers the scenarios of a split from 0", "not mentioned",
     "a running index over splits and over samples that were skipped", "the release's files are read as they are"),
    ("decoding", "batches, a shared prompt prefix and verified drafts; in float32 the same tokens as one prompt at a time",
     "one prompt at a time", "one prompt at a time, outlines",
     '`HARDWARE="--batch-size 1"` for one at a time; `boxes/reference.py` is the paper\'s way, `make bench` compares the two'),
    ("scorer", "Table 6: `boxes/scoring.py`, by number of the box, which under the expression agrees with the release's; free "
     "decoding (A.2): the release's, written anew in `boxes/release_scoring.py`, ours beside it", "not stated",
     "by position; it reads other joints, comma lists, “is empty”, a cut last clause", "none: `constrained.csv` has both"),
    ("end of free decoding", "the first period; what a scorer reads of a statement ends there", "not stated",
     "100 tokens, so that a sentence before “Statement:”, which a prompt that ends at the description allows, is passed over",
     "none"),
    ("error bars", "Wilson, with the design effect of scenarios; for printed counts, whose answers are not published, binomial",
     "not stated", "Wald, answers taken as independent", "none"),
    ("random baseline", f"its expectation in closed form, mentions drawn with replacement. {KNOWN}",
     "sampled; the text can be read as without replacement", "not published",
     "none; the sampled row stands beside it in `random.csv`"),
    ("base model of Code Llama-Instruct in Table 1", "Code Llama, which it was trained from", "“Code Llama 2”, a slip",
     "Code Llama", "none"),
    ("checkpoints", "commits pinned in `boxes/models/table.py`, one of codegemma-7b at its first download",
     "none named", "not known", "the `revision` of a row in `boxes/models/table.py`"),
)  # fmt: skip
DEVIATION_COLUMNS = ("what", "here", "the paper", "the authors' release", "switch back")


# --- what a claim costs ---


def measured_shapes(bench: Path) -> pd.DataFrame:
    """The GPU's rows of shapes.csv that hold a measurement, by shape; empty without the file."""
    columns = ("shape", "device", "dtype", "prompts", "seconds", "peak_memory_mb", "status")
    if not (bench / "shapes.csv").exists():
        return pd.DataFrame(columns=columns).set_index("shape")
    table = read_csv(bench / "shapes.csv", columns)
    on_gpu = (table.status == MEASURED) & ~table.device.str.startswith("cpu")
    return table[on_gpu].drop_duplicates("shape").set_index("shape")


def gpu_minutes(specs: list[ModelSpec], shapes: pd.DataFrame) -> str:
    """Minutes of decoding the test set once with every model, where the shapes of all were measured."""
    names = [spec.shape for spec in specs]
    if not set(names) <= set(shapes.index):
        return NOT_MEASURED
    rows = [shapes.loc[name] for name in names]
    minutes = sum(row["seconds"] for row in rows) / 60
    return f"{minutes:.1f} for decoding, measured on models of these shapes ({rows[0]['device']}, {rows[0]['dtype']})"


def gpu_memory(specs: list[ModelSpec], shapes: pd.DataFrame) -> str:
    """Of the largest model; measured where its shape was, else estimated."""
    largest = max(specs, key=weight_bytes)
    formula = f"estimate: parameters × {WEIGHT_WIDTH} bytes"
    estimate = f"{gigabytes(weight_bytes(largest))} for the weights of {largest.name} ({formula})"
    if largest.shape not in shapes.index:
        return f"{NOT_MEASURED}; {estimate}"
    row = shapes.loc[largest.shape]
    return f"{gigabytes(row['peak_memory_mb'] * 1e6)}, measured on a model of {largest.name}'s shape, at the batch it chose"


def disk(specs: list[ModelSpec]) -> str:
    """The files of all the models."""
    wide = any(spec.float32_files for spec in specs)
    formula = f"parameters × {WEIGHT_WIDTH} bytes" + (", × 4 for Llemma, whose files are float32" if wide else "")
    return f"{gigabytes(sum(map(file_bytes, specs)))} of weights (estimate: {formula})"


# --- how claims read ---


def quantity(number: Number) -> str:
    """A deciding number with its interval."""
    if pd.isna(number.point):
        return "not printed"
    count = pd.isna(number.low) and float(number.point).is_integer()
    text = f"{number.point:.0f}" if count else f"{number.point:.2f}"
    return text if pd.isna(number.low) else f"{text} [{number.low:.2f}, {number.high:.2f}]"


def chosen(models: tuple[str, ...]) -> str:
    """PROFILE and MODELS of a claim, models in the order of Table 6; all 29 need no naming."""
    names = [spec.name for spec in models_of("paper", extra=False) if spec.name in models]
    everything = len(names) == len(models_of("paper", extra=False))
    return "PROFILE=paper" + ("" if everything else f' MODELS="{" ".join(names)}"')


def paper_claim(claim: Claim, shapes: pd.DataFrame) -> dict[str, str]:
    """One claim of the paper: what to run, what to expect, what it costs."""
    found = judge(claim, reported_evidence())
    specs = [MODELS[name] for name in claim.test.models]
    return {
        "id": claim.id,
        "section": claim.section,
        "text": claim.text,
        "chosen": chosen(claim.test.models),
        "measure": claim.test.measure,
        "expected": quantity(found.number),
        "verdict": "not judged on the printed numbers" if found.verdict == NOT_RUN else found.verdict,
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
            verdict = row.verdict + (", a close call" if row.close_call else "")
            body.append((f"`{claim.id}`", claim.text, claim.test.measure, number, claim.test.holds_if, verdict))
    header = ("claim", "sentence", "what decides", "expected", "holds if", "expected verdict")
    return plain_table(header, body)


def tiny_accuracies(reference: Path) -> str:
    """Overall accuracies of the reference, as `make table6` prints them."""
    scores = read_csv(reference / "tiny/scores.csv", ("model", "num_ops", "accuracy"))
    overall = scores[scores.num_ops == "all"].set_index("model").accuracy
    return ", ".join(
        f"{name} {overall[name]:.2f}" for name in (RANDOM, *(spec.name for spec in models_of("tiny", extra=False)))
    )


def plain_table(header: tuple[str, ...], body) -> str:
    """A Markdown table of cells that are Markdown already."""
    lines = [header, ["---"] * len(header), *body]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def render(reference: Path = REFERENCE, bench: Path = BENCH) -> str:
    """CLAIMS.md."""
    shapes = measured_shapes(bench)
    everything = models_of("paper", extra=False)
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    ).get_template("CLAIMS.md.j2")  # fmt: skip
    return template.render(
        claims=[paper_claim(claim, shapes) for claim in claims_of("paper")],
        tiny_claims=tiny_claims(reference),
        tiny_accuracies=tiny_accuracies(reference),
        verdicts={
            profile: counted(read_csv(reference / profile / "claims.csv", ("verdict",)).verdict)
            for profile in ("reported", "tiny")
        },
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
