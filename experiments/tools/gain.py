"""What an added model gains over its base: what make model ends in.

    python experiments/tools/gain.py --profile tiny --model mine --questions
    python experiments/tools/gain.py --profile tiny --model mine \\
        --runs data/runs/tiny --results data/results/tiny

The first asks, before anything is decoded, whether the two are a minimal pair at all: one size and
one vocabulary. The second asks again, and prints the gain at 1+ operations with its interval, the
gain by bucket, and the prompt format of an aligned model with the reason. Exit status 3 where one
of the two was not run.
"""

import sys
from pathlib import Path

import pandas as pd
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout, whatever is installed

from boxes.commandline import argument_parser, command
from boxes.models import Checkpoint, find_row
from boxes.models.loading import load_tokenizer
from boxes.models.table import PROFILES, ModelSpec, choose, spec_of
from boxes.records import UserError, read_csv
from boxes.runs.folder import read_run
from boxes.runs.plan import compares_formats
from boxes.score_tables import NUM_OPS, read_score_table

SIZES = ("hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads")
# Of the base's tokens: a few more or renamed ones are usual where a model is trained on.
MOVED = 0.01
GAIN_COLUMNS = ("base", "treated", "num_ops", "n", "base_accuracy", "treated_accuracy",
                "difference", "ci_low", "ci_high", "status")  # fmt: skip


# --- questions ---


def questions(spec: ModelSpec, base: ModelSpec) -> list[str]:
    """What makes one doubt that training alone differs; nothing where one model is not here."""
    try:
        one, other = find_row(base), find_row(spec)
    except UserError:  # what decodes it says so
        return []
    return other_size(one.folder, other.folder) + other_vocabulary(one, other)


def other_size(base: Path, folder: Path) -> list[str]:
    """Which of SIZES differ in two configurations, as one question."""
    from transformers import AutoConfig

    configs = [AutoConfig.from_pretrained(path, trust_remote_code=False) for path in (base, folder)]
    differing = []
    for name in SIZES:
        theirs, ours = (getattr(config.get_text_config(), name, None) for config in configs)
        if theirs != ours:
            differing.append(f"{name} is {ours}, not {theirs}")
    return [f"another size: {', '.join(differing)}"] if differing else []


def other_vocabulary(base: Checkpoint, model: Checkpoint) -> list[str]:
    """More than MOVED of the base's tokens have another id in the model's tokenizer, or none."""
    theirs, ours = load_tokenizer(base).get_vocab(), load_tokenizer(model).get_vocab()
    moved = sum(ours.get(token) != index for token, index in theirs.items())
    if moved <= MOVED * len(theirs):
        return []
    which = f"{moved:,} of {len(theirs):,} tokens"
    return [f"another vocabulary: {which} have another number, or none"]


# --- answers ---


def show_gain(spec: ModelSpec, base: ModelSpec, results: Path) -> None:
    """The gain at 1+ operations in a line, then that of every bucket. UserError without one."""
    path = results / f"{spec.added}.csv"
    table = read_csv(path, GAIN_COLUMNS)
    of_pair = (table.base == base.name) & (table.treated == spec.name)
    rows = table[of_pair & (table.status == "complete")]
    if rows.empty:
        lacking = f"{path}: nothing of {spec.name} against {base.name}"
        raise UserError(f"{lacking}; run make all PROFILE={spec.profile} again")
    rows = rows.set_index("num_ops").loc[list(NUM_OPS)]
    whole = rows.loc["1+"]
    verdict = "no clear difference"
    if whole.ci_low > 0:
        verdict = "better"
    elif whole.ci_high < 0:
        verdict = "worse"
    print(
        f"\n{spec.name} against {base.name} ({spec.added}): {whole.difference:+.2f} points at 1+ "
        f"operations, 95 % interval [{whole.ci_low:+.2f}, {whole.ci_high:+.2f}]: {verdict}\n"
    )
    print(by_bucket(rows, base.name, spec.name))


def by_bucket(rows: pd.DataFrame, base: str, treated: str) -> str:
    """A line for each number of operations that changed the box."""
    cells = []
    for name, row in rows[rows.n > 0].iterrows():
        accuracies = f"{row.base_accuracy:.2f}", f"{row.treated_accuracy:.2f}"
        gain = f"{row.difference:+.2f}", f"[{row.ci_low:+.2f}, {row.ci_high:+.2f}]"
        cells.append((name, int(row.n), *accuracies, *gain))
    head = ("operations", "queries", base, treated, "gain", "95 % interval")
    return tabulate(cells, head, disable_numparse=True, colalign=("left", *["right"] * 5))


def show_scores(spec: ModelSpec, results: Path) -> None:
    """The accuracy of a model that names no base, by bucket."""
    table = read_score_table(results / "scores.csv")
    cells = []
    for row in table[(table.model == spec.name) & (table.n > 0)].itertuples():
        interval = f"[{row.ci_low:.2f}, {row.ci_high:.2f}]"
        cells.append((row.num_ops, row.n, f"{row.accuracy:.2f}", interval))
    print(f"\n{spec.name} (no BASE to compare it with)\n")
    head = ("operations", "queries", "accuracy", "95 % interval")
    print(tabulate(cells, head, disable_numparse=True, colalign=("left", *["right"] * 3)))


def format_line(spec: ModelSpec, run: dict, results: Path) -> str:
    """Which prompt format an aligned model was decoded in, and why."""
    table = read_csv(results / "prompt_format.csv", ("model", "format", "accuracy", "chosen"))
    rows = table[table.model == spec.name].set_index("format")
    used = run["prompt_format"]
    if used not in rows.index:
        return f"prompt format: {used}; the formats were not compared on the development set"
    compared = ", ".join(f"{name} {row.accuracy:.2f}" for name, row in rows.iterrows())
    if rows.chosen[used]:
        return f"prompt format: {used}, which does best on the development set ({compared})"
    best = rows.index[rows.chosen.astype(bool)][0]
    better = f"on the development set {best} does best ({compared})"
    return f"prompt format: {used}, which was asked for; {better}"


def answer(spec: ModelSpec, base: ModelSpec | None, runs: Path, results: Path) -> int:
    """Print what came out; the exit status."""
    states, lacking = {}, []
    for row in (spec, base):
        if row:
            states[row.name] = run = read_run(row, runs / row.name)
            if run["status"] != "complete":
                lacking.append(f"{row.name}: {run['status']} ({run['reason']})")
    if lacking:
        print(f"gain.py: no gain to show; {'; '.join(lacking)}", file=sys.stderr)
        return 3
    if base:
        show_gain(spec, base, results)
    else:
        show_scores(spec, results)
    if compares_formats(spec):
        print(f"\n{format_line(spec, states[spec.name], results)}")
    print(
        f"\nmake all PROFILE={spec.profile} shows it beside the other models; "
        f"make model REMOVE={spec.name} takes it out"
    )
    return 0


@command
def main() -> int:
    parser = argument_parser(__doc__)
    parser.add_argument("--profile", required=True, choices=PROFILES)
    parser.add_argument("--model", required=True, help="name of the row")
    parser.add_argument("--questions", action="store_true", help="only ask whether the two are a minimal pair")
    parser.add_argument("--runs", type=Path, help="folder with a folder a model")
    parser.add_argument("--results", type=Path, help="folder of the CSVs")
    arguments = parser.parse_args()
    if not arguments.questions and None in (arguments.runs, arguments.results):
        raise UserError("--runs and --results are missing; only --questions does without them")
    [spec] = choose(arguments.profile, [arguments.model])
    base = spec_of(spec.base) if spec.base else None
    status = 0 if arguments.questions else answer(spec, base, arguments.runs, arguments.results)
    for question in questions(spec, base) if base else []:
        print(
            f"gain.py: is {spec.name} a model trained on from {base.name}? It has {question}; "
            "a gain is then not that of training alone",
            file=sys.stderr,
        )
    return status


if __name__ == "__main__":
    main()
