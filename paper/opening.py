"""The first lines of a report: does it agree with what is expected, what was run, what of the
claims."""

import re
from dataclasses import dataclass
from pathlib import Path

from boxes.claims.judging import FAILS, HOLDS, NOT_RUN
from boxes.records import UserError
from experiments.tools.reference_tables import ROUNDING
from experiments.tools.verdict import Verdict, compare
from paper.results import Results, signed
from paper.run_tables import Provenance

Claims = list[dict]  # lines of claims.csv
LISTED = 6  # faults or machines in the first lines; of more, the number is said
QUESTIONS = {
    "reported": "Are all numbers those that the paper prints?",
    "tiny": "Does the pipeline agree with the committed reference?",
    "small": "Do the rows that were run agree with the committed reference?",
    "paper": "Do the rows that were run agree with the reported numbers?",
    "modern": "Does it agree with reported numbers?",
}
TOLERANCES = {
    "reported": "to the last digit",
    "tiny": "within 1 % of the queries behind it (two queries at least)",
    "small": "within 1 % of the queries behind it (two queries at least)",
    "paper": "within 5 points, overall and on changed boxes",
}


@dataclass(frozen=True)
class Line:
    """A question, its answer in a word or two, and a remark.

    kind: yes, no or "". faults: where the answer is no, what is not so.
    """

    question: str
    answer: str
    remark: str
    kind: str = ""
    faults: tuple[str, ...] = ()


def opening(results: Results, folder: Path, reference: Path, claims: Claims, runs: Provenance) -> list[Line]:
    """The lines of a profile's report. claims: of the paper; runs: those of run_tables."""
    return [agreement(results, folder, reference), models_run(results, runs), claims_held(results, claims)]


def agreement(results: Results, folder: Path, reference: Path) -> Line:
    """Yes or no, by the same comparison as `make check`; where nothing can be compared, why."""
    question = QUESTIONS[results.profile]
    if results.profile == "modern":
        return Line(question, "nothing to compare", "The paper does not have these models.")
    if results.note:
        return Line(question, "nothing to compare", results.note)
    try:
        found = compare(results.profile, folder, reference)
    except UserError as error:
        return Line(question, "cannot be compared", str(error))
    if not found.run:
        return Line(question, "nothing was run", f"None of {found.chosen} models has results.")
    if not found.compared:
        nothing = "The reference has none of the models that were run."
        return Line(question, "nothing to compare", nothing)
    if found.faults:
        faults, more = found.faults[:LISTED], len(found.faults) - LISTED
        if more > 0:
            faults.append(f"and {more} more (make check names them)")
        return Line(question, "no", f"{found.summary}.", "no", tuple(faults))
    return Line(question, "yes", _agreed(results, found), "yes")


def _agreed(results: Results, found: Verdict) -> str:
    """What agrees, and how closely."""
    of = len(found.run) + len(found.not_run) + len(found.left_out)
    gaps = found.cells[found.cells.judged].difference.abs().dropna()
    same = bool((gaps <= ROUNDING).all())
    closely = TOLERANCES["reported" if same else results.profile]
    text = f"{len(found.compared)} of {of} models: every accuracy {closely}"
    largest = _largest_difference(results)
    if largest and not same:
        text += f" (largest difference overall: {signed(largest)})"
    judged = len(found.judged)
    return text + (f"; {judged} claims judged, as expected." if judged else ".")


def _largest_difference(results: Results) -> float | None:
    """Of overall accuracy, ours minus theirs, in points; None where there are no two numbers."""
    gaps = [results.gap(name, "all") for name in sorted(results.names)]
    return max((gap for gap in gaps if gap is not None), key=abs, default=None)


def models_run(results: Results, runs: Provenance) -> Line:
    """How many of the models that were asked for, when, on what, by which commit."""
    if results.profile == "reported":
        rows = len(results.specs)
        text = f"The {rows} rows are recomputed from the counts behind the printed percentages."
        return Line("Models run", "none", text)
    run = len(results.specs) - len(results.missing())
    text = recorded(runs) if run else "The commands that run them stand beneath Table 6."
    return Line("Models run", f"{run} of {len(results.specs)}", text)


def recorded(runs: Provenance) -> str:
    """Date, machine and commit of runs, from their run.json."""
    values = [dict(fields) for _, fields in runs]
    days = sorted({run["started"][:10] for run in values if "started" in run})
    machines = {_machine(run) for run in values}
    commits = {_short(run.get("git_commit")) for run in values}
    if not days:
        return "When and on what is not recorded here."
    days = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return f"Decoded {days} on {_few(machines, 'machines')}; commit: {_few(commits, 'different')}."


def _machine(run: dict[str, str]) -> str:
    """A run's device and type, as far as recorded."""
    return ", ".join(filter(None, (run.get("device"), run.get("dtype"))))


def _short(commit: str | None) -> str:
    """A commit's first digits, and whether files differed from it."""
    match = re.match(r"([0-9a-f]{12})[0-9a-f]*(-dirty)?", commit or "")
    if not match:
        return "not recorded"
    return f"{match[1]} with changes" if match[2] else match[1]


def _few(texts: set[str], kind: str) -> str:
    """The texts, or how many there are of their kind."""
    if len(texts) > 2:
        return f"{len(texts)} {kind} (named with the runs)"
    return " and ".join(sorted(texts))


def claims_held(results: Results, claims: Claims) -> Line:
    """How many of the paper's claims hold: on our numbers, where judged, and on the printed."""
    ours, printed = verdicts(claims, "verdict"), verdicts(claims, "verdict_reported")
    on_printed = f"On the paper's printed numbers {printed[0]} hold and {printed[1]} do not"
    on_printed += f"; {printed[2]} cannot be judged." if printed[2] else "."
    question = "Claims of the paper that hold"
    if results.profile == "reported":
        return Line(question, f"{printed[0]} of {printed[0] + printed[1]}", on_printed)
    if not ours[0] + ours[1]:
        return Line(question, "none judged here", f"{_need(results, len(claims))} {on_printed}")
    unjudged = f"{ours[2]} more are about models that were not run. " if ours[2] else ""
    return Line(question, f"{ours[0]} of {ours[0] + ours[1]} judged", unjudged + on_printed)


def _need(results: Results, claims: int) -> str:
    """What it takes to judge the paper's claims."""
    if results.profile == "paper":
        return "None of the models that they are about was run."
    needed = "which need GPUs and their weights: PROFILE=paper."
    return f"All {claims} are about the 29 checkpoints of Table 6, {needed}"


def verdicts(claims: Claims, name: str) -> tuple[int, int, int]:
    """How many hold, do not hold, and cannot be judged."""
    found = [line[name] for line in claims]
    unjudged = sum(verdict in (NOT_RUN, "") for verdict in found)
    return found.count(HOLDS), found.count(FAILS), unjudged
