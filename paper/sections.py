"""What the report says: the tables of most sections, as text cells, from a results folder."""

from itertools import product
from pathlib import Path

from boxes.baseline import KNOWN
from boxes.score_tables import BUCKETS
from boxes.scoring import AUTHORS, OURS
from boxes.statistics import MCNEMAR_CAVEAT
from paper.formats import Table, or_dash, p_value, whole
from paper.results import NOT_RUN, Names, difference, read_table, read_written, signed, two_digits

Labels = dict[str, str]  # model -> as Table 6 calls it
HEADLINE = ("all", "0", "1+")  # the buckets that summarise an effect
NAMES = {"all": "Overall"} | {bucket: bucket for bucket in (*BUCKETS, "1+")}
EFFECTS = {"code": "Experiment 1: code", "math": "Experiment 2: math", "alignment": "Experiment 3: alignment"}
# What is said beside the numbers it is about.
NOTES = {
    "intervals": "Intervals of decoded rows take scenarios, not answers, as independent; those of "
    "the printed counts are binomial, for the paper's single answers are not published, and too "
    "narrow by as much.",
    "mcnemar": f"{MCNEMAR_CAVEAT}.",
    "scorers": "By the scorer of the authors' release, as the paper measured, and by ours, as in "
    "Table 6. Alone: free statements of which this scorer accepts a box that the other does not.",
    "random": f"{KNOWN}.",
}


def effect_lines(folder: Path, name: str, chosen: set[str]) -> list[dict]:
    """code.csv, math.csv or alignment.csv, of pairs of chosen models; a pair with one that was not
    run has one line."""
    texts = ("base", "treated", "num_ops", "interval", "status")
    numbers = ("n", "base_accuracy", "treated_accuracy", "difference", "ci_low", "ci_high",
               "p_mcnemar", "p_holm")  # fmt: skip
    lines = read_table(folder / f"{name}.csv", texts, numbers)
    return [line for line in lines if {line["base"], line["treated"]} <= chosen]


def effects_table(lines: list[dict], labels: Labels, buckets: Names = HEADLINE) -> Table:
    """Treated minus base in percentage points: an effect a line, of the buckets asked for."""
    order = list(NAMES)
    pairs = list(dict.fromkeys((line["base"], line["treated"]) for line in lines))

    def place(line: dict) -> tuple[int, int]:
        num_ops = line["num_ops"]
        bucket = order.index(num_ops) if num_ops in NAMES else len(order)
        return pairs.index((line["base"], line["treated"])), bucket

    body = []
    for line in sorted(lines, key=place):
        names = [labels.get(line[side], line[side]) for side in ("base", "treated")]
        if line["status"] == NOT_RUN:
            body.append((*names, NOT_RUN, *["–"] * 7))
        elif line["num_ops"] in buckets:
            body.append((*names, *_effect_cells(line)))
    header = ("Base", "Treated", "NumOps", "n", "Base %", "Treated %", "Difference",
              "95 % interval", "p", "Holm p")  # fmt: skip
    return Table(0, "", (header,), tuple(body), "lllrrrrrrr")


def _effect_cells(line: dict) -> tuple[str, ...]:
    interval = "–"
    if line["interval"]:
        interval = f"{signed(line['ci_low'])} to {signed(line['ci_high'])}"
    return (
        NAMES.get(line["num_ops"], line["num_ops"]),
        whole(line["n"]),
        two_digits(line["base_accuracy"]),
        two_digits(line["treated_accuracy"]),
        signed(line["difference"]),
        interval,
        p_value(line["p_mcnemar"]),
        p_value(line["p_holm"]),
    )


def constrained_table(folder: Path, reported: Path, labels: Labels, expected: bool) -> Table:
    """Appendix A.2: accuracy with and without the regular expression, by the authors' scorer and by
    ours, beside the paper's example. Alone: free statements of which this scorer accepts a box that
    the other does not."""
    texts = ("model", "decoding", "scorer", "num_ops")
    numbers = ("n", "accuracy", "truncated", "invalid", "accepted_alone")
    cells = {}
    for line in read_written(folder / "constrained.csv", texts, numbers, expected):
        cells[tuple(line[name] for name in texts)] = line
    paper = {}
    for line in read_table(reported / "text.csv", ("key",), ("value",)):
        paper[line["key"]] = line["value"]
    body = []
    models = dict.fromkeys(model for model, *_ in cells)
    for model, num_ops, scorer in product(models, HEADLINE, (AUTHORS, OURS)):
        free = cells.get((model, "free", scorer, num_ops))
        constrained = cells.get((model, "constrained", scorer, num_ops))
        if not free or not constrained:
            continue
        printed = (None, None)
        if scorer == AUTHORS:  # the one that the paper's numbers are by
            key = f"{model}/{num_ops}"
            printed = (paper.get(f"{key}/free"), paper.get(key))
        names = (labels.get(model, model), NAMES[num_ops], scorer)
        body.append((*names, *_free_cells(free, constrained), *map(two_digits, printed)))
    header = ("Model", "NumOps", "Scorer", "n", "Free %", "Constrained %", "Gain",
              "Free: truncated", "Free: invalid", "Free: alone", "Reported free %",
              "Reported constrained %")  # fmt: skip
    return Table(0, "", (header,), tuple(body), "lllrrrrrrrrr")


def _free_cells(free: dict, constrained: dict) -> tuple[str, ...]:
    return (
        whole(free["n"]),
        two_digits(free["accuracy"]),
        two_digits(constrained["accuracy"]),
        signed(difference(constrained["accuracy"], free["accuracy"])),
        whole(free["truncated"]),
        whole(free["invalid"]),
        whole(free["accepted_alone"]),
    )


def prompt_table(folder: Path, labels: Labels, expected: bool) -> Table:
    """Appendix A.1: both prompt formats of the aligned models on the development set, and the one
    chosen."""
    path, texts = folder / "prompt_format.csv", ("model", "format", "reported_format")
    body = []
    for line in read_written(path, texts, ("n", "accuracy", "chosen"), expected):
        body.append(
            (
                labels.get(line["model"], line["model"]),
                line["format"],
                whole(line["n"]),
                two_digits(line["accuracy"]),
                "✓" if line["chosen"] else "",
                or_dash(line["reported_format"]),
            )
        )
    header = ("Model", "Format", "n", "Dev accuracy %", "Chosen", "The paper's")
    return Table(0, "", (header,), tuple(body), "llrrcl")


def random_table(folder: Path) -> Table:
    """The random row: its expectation in closed form, a sampled one, the paper's, and how far apart
    they are."""
    numbers = ("n", "expected", "sampled", "sd_sampled", "reported", "z")
    by_bucket = {}
    for line in read_table(folder / "random.csv", ("num_ops",), numbers):
        by_bucket[line["num_ops"]] = line
    body = []
    for num_ops in ("all", *BUCKETS, "1+"):
        if num_ops not in by_bucket:
            continue
        line = by_bucket[num_ops]
        row = [NAMES[num_ops], whole(line["n"])]
        for name in ("expected", "sampled"):
            row.append(NOT_RUN if line[name] is None else two_digits(line[name]))
        row += [two_digits(line["sd_sampled"]), two_digits(line["reported"]), signed(line["z"])]
        body.append(tuple(row))
    header = ("NumOps", "n", "Expected %", "Sampled %", "s.d.", "Reported %", "z")
    return Table(0, "", (header,), tuple(body), "lrrrrrr")


def precision_table(path: Path) -> Table:
    """What the committed bench found bfloat16 to change: statements unlike those of batch 1 without
    drafts, and the score."""
    texts = ("model", "dtype", "way", "device")
    numbers = ("statements", "flips", "accuracy", "points_from_base")
    body = []
    for line in read_written(path, texts, numbers, expected=False):
        body.append(
            (
                line["model"],
                f"{line['dtype']}: {line['way']}",
                f"{whole(line['flips'])} of {whole(line['statements'])}",
                two_digits(100 * line["flips"] / line["statements"]),
                two_digits(line["accuracy"]),
                signed(line["points_from_base"]),
                line["device"],
            )
        )
    header = ("Model", "Way", "Flips", "Flip rate %", "Accuracy %", "Points from the first",
              "Device")  # fmt: skip
    return Table(0, "", (header,), tuple(body), "llrrrrl")


def claim_lines(folder: Path) -> list[dict]:
    """claims.csv: every claim of the text with the verdict on the reported and on the reproduced
    numbers."""
    columns = ("id", "section", "claim", "verdict", "verdict_reported", "buckets", "detail",
               "detail_reported")  # fmt: skip
    return read_table(folder / "claims.csv", columns)


def claim_columns(lines: list[dict], profile: str) -> dict[str, str]:
    """The columns with verdicts, and what they are called: those on the reported numbers, which the
    miniatures have not, and those on ours, where any claim was judged on them."""
    columns = {}
    if any(line["verdict_reported"] not in (NOT_RUN, "") for line in lines):
        columns["verdict_reported"] = "On the reported numbers"
    if profile != "reported" and any(line["verdict"] not in (NOT_RUN, "") for line in lines):
        columns["verdict"] = "Reproduced"
    return columns


def claims_table(lines: list[dict], profile: str) -> Table:
    """Claims, their verdicts, and what decides them."""
    columns = {"section": "Section", "claim": "Claim"}
    columns |= claim_columns(lines, profile)
    columns |= {"buckets": "Deciding buckets", "detail": "Detail"}
    body = []
    for line in lines:
        values = (judged(line[name]) for name in columns)
        body.append(tuple(map(or_dash, values)))
    return Table(0, "", (tuple(columns.values()),), tuple(body), "l" * len(columns))


def judged(verdict: str) -> str:
    """A verdict as the page says it: models are run, claims are judged."""
    return "not judged" if verdict == NOT_RUN else verdict
