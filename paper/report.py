"""The report of a profile: one self-contained HTML page, and the same in Markdown beside the
figures.

    python -m paper.report --profile reported --results data/results/reported \\
        --runs data/runs/reported --out paper/out/reported
    python -m paper.report ... --data data/boxes/test-subsample-states-t5.jsonl

The page needs no script and fetches nothing; its figures are drawn here, as SVG. report.md shows
figure1..3.png. With --data the page shows statements of the models, too: it then holds text of the
task, which is not to be published.
"""

import argparse
import sys
from pathlib import Path

import jinja2
from markupsafe import Markup

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout before others

from boxes.commandline import command
from boxes.models.table import WITH_REFERENCE
from boxes.records import write_text
from boxes.score_tables import RANDOM
from experiments.tools.verdict import default_reference
from paper import figures, opening, run_tables, sample_statements, sections, tables, wrong_answers
from paper.compared import compared_rows
from paper.formats import Table, markdown_escape, pipe_table
from paper.page_figures import drawings
from paper.results import BUCKETS, COLUMNS, NOT_RUN, Results, arguments, captioned, read_results

TEMPLATES = Path(__file__).resolve().parent / "templates"
_NOT_RUN_YET = "Rows that have not been run say so."
PROFILE_TEXT = {
    "reported": "No model was run: the scores are recomputed from the paper's printed numbers. "
    "That shows the last mile, from scores to tables, figures and claims, and what a full "
    "reproduction looks like.",
    "tiny": "Its models are miniatures: five models of 1.1 million parameters that were trained on "
    "texts of this very task, ship with the repository and were decoded for real. They prove that "
    "every step works, and say nothing about the paper's hypothesis.",
    "small": "Its models are pretrained ones that a laptop decodes, up to 1.5 billion parameters: "
    "minimal pairs, which the paper does not have, and two files of 4 bits a weight, of no pair. "
    f"{_NOT_RUN_YET}",
    "paper": f"Its models are the checkpoints of Table 6, at pinned commits. {_NOT_RUN_YET}",
    "modern": f"Its models are later minimal pairs, which the paper does not have. {_NOT_RUN_YET}",
}
CAPTIONS = {
    1: "Base models and models further trained on code.",
    2: "Base models and models further trained on math.",
    3: "Base and aligned (instruct/chat) models, without (top) and with (bottom) additional code "
    "training.",
}  # fmt: skip
COMMANDS = {
    "paper": ('make weights PROFILE=paper MODELS="{}"', 'make all PROFILE=paper MODELS="{}"'),
    "modern": ('make weights PROFILE=modern MODELS="{}"', 'make all PROFILE=modern MODELS="{}"'),
    "small": ('make weights PROFILE=small MODELS="{}"', 'make all PROFILE=small MODELS="{}"'),
    "tiny": ('make all PROFILE=tiny MODELS="{}"',),
    "reported": ("make all PROFILE=reported",),
}


def collect(results: Results, options: argparse.Namespace) -> dict:
    """Everything both templates show; statements where options.data is the dataset that the runs
    decoded.

    Raises UserError for a CSV that is missing or malformed, and for runs of another dataset.
    """
    labels = {RANDOM: RANDOM} | {spec.name: spec.label for spec in results.specs}
    context = {
        "profile": results.profile,
        "profile_text": captioned(results, PROFILE_TEXT[results.profile]),
        "ours": results.ours,
        "theirs": results.theirs,
        "decoded": results.profile != "reported",
        "labels": labels,
        "notes": sections.NOTES,
    }
    context |= _run_parts(results, options) | _claim_parts(results, options.results)
    context |= _table_parts(results) | _effect_parts(results, options.results, labels)
    context |= _decoded_parts(results, options, labels)
    reference = options.reference or default_reference(results.profile)
    claims, runs = context["claims"], context["provenance"]
    context["opening"] = opening.opening(results, options.results, reference, claims, runs)
    return context | shown_sections(context)


def _run_parts(results: Results, options: argparse.Namespace) -> dict:
    """What was run, with what, and the commands that run the rest."""
    provenance = run_tables.provenance(results, options.runs)
    missing = []
    for spec in results.missing():
        commands = [command.format(spec.name) for command in COMMANDS[results.profile]]
        missing.append((spec.label, commands))
    return {
        "runs": run_tables.runs_table(options.results),
        "provenance": provenance,
        "provenance_table": run_tables.provenance_table(provenance),
        "missing": missing,
        "samples": run_tables.sample_links(results, options.runs, options.out),
    }


def _table_parts(results: Results) -> dict:
    """The paper's tables, and the captions of its figures."""
    sizes, rows3 = results.bucket_sizes(), tables.table3_rows(results)
    captions = {}
    for number, text in CAPTIONS.items():
        if figures.rows_of_panels(number, results):
            captions[number] = text
    return {
        "sizes": [sizes.get(column) for column in COLUMNS],
        "paper_sizes": paper_sizes(results),
        "table1": tables.table1(results),
        "table3_title": " and ".join(label for _, label in rows3),
        "table3_columns": list(tables.TABLE3_COLUMNS.values()),
        "table3": compared_rows(results, rows3, tables.TABLE3_COLUMNS),
        "table4": tables.table4(results),
        "table6": compared_rows(results, tables.all_rows(results)),
        "stacked3": tables.stacked_table3(results),
        "stacked6": tables.stacked_table6(results),
        "captions": captions,
    }


def _effect_parts(results: Results, folder: Path, labels: dict[str, str]) -> dict:
    """The effects of the experiments in which anything was run: a summary, and every bucket."""
    found, shown = {}, {}
    for name, title in sections.EFFECTS.items():
        lines = found[name] = sections.effect_lines(folder, name, results.names)
        if any(line["status"] != NOT_RUN for line in lines):
            summary = sections.effects_table(lines, labels)
            shown[title] = (summary, sections.effects_table(lines, labels, BUCKETS))
    return {"effect_lines": found, "effects": shown}


def _claim_parts(results: Results, folder: Path) -> dict:
    """The claims of the paper, and those that a profile has of its own, as far as judged."""
    claims, own = [], []
    for line in sections.claim_lines(folder):
        if not line["id"].startswith(f"{results.profile}-"):
            claims.append(line)
        elif line["verdict"] != NOT_RUN:
            own.append(line)
    return {
        "claims": claims,
        "claims_table": sections.claims_table(claims, results.profile),
        "claim_columns": sections.claim_columns(claims, results.profile),
        "own_claims": own,
        "own_claims_table": sections.claims_table(own, results.profile),
        "own_columns": sections.claim_columns(own, results.profile),
    }


def _decoded_parts(results: Results, options: argparse.Namespace, labels: dict[str, str]) -> dict:
    """What is known of answers alone, which the profile `reported` has not."""
    folder, decoded, examples = options.results, results.profile != "reported", []
    if options.data:
        answers = sample_statements.read_answers(results, options.data, options.runs)
        examples = sample_statements.choose_queries(*answers)
    return {
        "constrained": sections.constrained_table(folder, options.reported, labels, decoded),
        "prompts": sections.prompt_table(folder, labels, decoded),
        "random": sections.random_table(folder),
        "precision": sections.precision_table(options.bench / "bfloat16.csv"),
        "errors": wrong_answers.errors(folder, labels, decoded),
        "error_table": wrong_answers.error_table,
        "examples": examples,
    }


# Every section in its order: what a link to it is called, and its title in the list of those that
# are left out.
SECTIONS = {
    "table6": "Table 6",
    "figures": "Figures",
    "table3": "Table 3",
    "effects": "Effects",
    "claims": "Claims",
    "own": "Claims about the miniatures",
    "errors": "What goes wrong",
    "examples": "Statements",
    "constrained": "Constrained decoding",
    "prompts": "Prompt format",
    "random": "Random baseline",
    "precision": "bfloat16",
    "runs": "Runs",
    "models": "Models",
}


def shown_sections(context: dict) -> dict:
    """sections: (name, title) of those that have something to show; left_out: the titles of the
    others."""
    filled = {
        "table6": True,
        "figures": context["captions"],
        "table3": context["table3"],
        "effects": context["effects"],
        "claims": context["claims"],
        "own": context["own_claims"],
        "errors": context["errors"]["models"],
        "examples": context["examples"],
        "constrained": context["constrained"].body,
        "prompts": context["prompts"].body,
        "random": context["random"].body,
        "precision": context["precision"].body,
        "runs": context["decoded"] and context["runs"].body,
        "models": context["table4"].body,
    }
    shown, lacking = {}, []
    for name, title in SECTIONS.items():
        if filled[name]:
            shown[name] = title
        elif name != "own":
            lacking.append(title)
    return {"sections": shown, "left_out": lacking}


def paper_sizes(results: Results) -> list[int] | None:
    """The paper's bucket sizes where they are not those of this profile's test set."""
    ours = results.bucket_sizes()
    if results.profile in WITH_REFERENCE:  # whose numbers are compared with the reference's
        return None
    theirs = {}
    for column in COLUMNS:
        if score := results.expected_score(RANDOM, column):
            theirs[column] = score.n
    differ = ours and any(ours.get(column) != n for column, n in theirs.items())
    return list(theirs.values()) if differ else None


def environment() -> jinja2.Environment:
    """Both templates escape what they are given; `pipe` writes a table of escaped cells as
    Markdown."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["md"] = lambda text: Markup(markdown_escape(str(text)))
    made.filters["pipe"] = lambda table: Markup(pipe_table(table))
    made.filters["judged"] = sections.judged
    made.filters["label_of"] = lambda name, labels: labels.get(name, name)
    made.tests["empty_table"] = lambda table: isinstance(table, Table) and not table.body
    return made


@command
def main() -> None:
    parser = arguments(__doc__)
    add = parser.add_argument
    add("--runs", required=True, type=Path, help="folder of the runs, for their provenance")
    add("--data", type=Path, help="the dataset that was decoded, to show statements")
    add("--bench", type=Path, default=Path("data/bench"), help="folder of the bench (%(default)s)")
    add("--reference", type=Path, help="folder of the expected results (default: as make check's)")
    options = parser.parse_args()
    results = read_results(options.profile, options.results, options.reported)
    context = collect(results, options)
    context |= drawings(results, context)
    templates = environment()
    for name in ("report.md", "report.html"):
        write_text(options.out / name, templates.get_template(f"{name}.j2").render(context))


if __name__ == "__main__":
    main()
