"""The report of a profile: one self-contained HTML page, and the same in Markdown beside the figures.

    python -m paper.report --profile reported --results data/results/reported --runs data/runs/reported \\
        --out paper/out/reported
    python -m paper.report ... --data data/boxes/test-subsample-states-t5.jsonl

The page needs no script and fetches nothing; its figures are drawn here, as SVG. report.md shows figure1..3.png. With
--data the page shows statements of the models, too: it then holds text of the task, which is not to be published.
"""

import argparse
import re
import sys
from pathlib import Path

import jinja2
from markupsafe import Markup
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout, whatever is installed

from boxes.commandline import command
from boxes.records import write_text
from boxes.score_tables import RANDOM
from experiments.tools.verdict import default_reference
from paper import figures, opening, sample_statements, sections, tables
from paper.forest_plot import draw_forest
from paper.formats import Table, markdown_escape, pipe_table
from paper.results import NOT_RUN, Results, arguments, read_results
from paper.style import GRID, INK, MUTED, STROKES

TEMPLATES = Path(__file__).resolve().parent / "templates"
PROFILE_TEXT = {
    "reported": "No model was run: the scores are recomputed from the paper's printed numbers. That shows the last mile, "
    "from scores to tables, figures and claims, and what a full reproduction looks like.",
    "tiny": "Its models are miniatures: four models of 1.1 million parameters that were trained on texts of this very task, "
    "ship with the repository and were decoded for real. They prove that every step works, and say nothing about the "
    "paper's hypothesis.",
    "paper": "Its models are the checkpoints of Table 6, at pinned commits. Rows that have not been run say so.",
    "modern": "Its models are later minimal pairs, which the paper does not have. Rows that have not been run say so.",
}
CAPTIONS = {
    1: "Base models and models further trained on code.",
    2: "Base models and models further trained on math.",
    3: "Base and aligned (instruct/chat) models, without (top) and with (bottom) additional code training.",
}
COMMANDS = {
    "paper": ('make weights PROFILE=paper MODELS="{}"', 'make all PROFILE=paper MODELS="{}"'),
    "modern": ('make weights PROFILE=modern MODELS="{}"', 'make all PROFILE=modern MODELS="{}"'),
    "tiny": ('make all PROFILE=tiny MODELS="{}"',),
    "reported": ("make all PROFILE=reported",),
}
# Colours of the figures that the page sets itself, so that they follow its light or dark scheme.
PAGE_COLOURS = {INK: "--ink", MUTED: "--muted", GRID: "--line", "#ffffff": "--page"} | {
    stroke.colour: f"--figure{number}-{role}" for number, roles in STROKES.items() for role, stroke in roles.items()
}


def inline_svg(figure: Figure, name: str, title: str) -> Markup:
    """A figure as an <svg> element: identifiers of its own, the page's colours, a title for readers of the screen."""
    svg = figures.render(figure, "svg", transparent=True).decode()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#{name}-", svg)
    for colour, variable in PAGE_COLOURS.items():
        svg = svg.replace(colour, f"var({variable})")
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    svg = svg.replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "").replace("xlink:href", "href")
    label = Markup('role="img" aria-label="{}"').format(title)
    return Markup(svg.replace("<svg ", f"<svg {label} ", 1).strip())


def collect(results: Results, options: argparse.Namespace) -> dict:
    """Everything both templates show; statements where options.data is the dataset that the runs decoded.

    Raises UserError for a CSV that is missing or malformed, and for runs of another dataset.
    """
    folder, runs, data = options.results, options.runs, options.data
    labels = {RANDOM: RANDOM} | {spec.name: spec.label for spec in results.specs}
    effects = {name: sections.effect_lines(folder, name, results.names) for name in sections.EFFECTS}
    claims = sections.claim_lines(folder)
    own = [line for line in claims if line["id"].startswith(f"{results.profile}-")]
    claims = [line for line in claims if line not in own]
    own = [line for line in own if line["verdict"] != NOT_RUN]
    decoded = results.profile != "reported"
    provenance = sections.provenance(results, runs)
    reference = options.reference or default_reference(results.profile)
    context = {
        "profile": results.profile,
        "profile_text": PROFILE_TEXT[results.profile],
        "ours": results.ours,
        "theirs": results.theirs,
        "decoded": decoded,
        "opening": opening.opening(results, folder, reference, claims, provenance),
        "sizes": [results.bucket_sizes().get(column) for column in tables.COLUMNS],
        "paper_sizes": paper_sizes(results),
        "runs": sections.runs_table(folder),
        "provenance": provenance,
        "provenance_table": sections.provenance_table(provenance),
        "table1": tables.table1(results),
        "table3_title": " and ".join(label for _, label in tables.table3_rows(results)),
        "table3_columns": list(tables.TABLE3_COLUMNS.values()),
        "table3": sections.compared_rows(results, tables.table3_rows(results), tables.TABLE3_COLUMNS),
        "table4": tables.table4(results),
        "table6": sections.compared_rows(results, tables.all_rows(results)),
        "stacked3": tables.stacked_table3(results),
        "stacked6": tables.stacked_table6(results),
        "captions": {number: text for number, text in CAPTIONS.items() if figures.rows_of_panels(number, results)},
        "effects": {
            title: (
                sections.effects_table(effects[name], labels),
                sections.effects_table(effects[name], labels, tables.BUCKETS),
            )
            for name, title in sections.EFFECTS.items()
            if any(line["status"] != NOT_RUN for line in effects[name])
        },
        "effect_lines": effects,
        "labels": labels,
        "constrained": sections.constrained_table(folder, options.reported, labels, expected=decoded),
        "prompts": sections.prompt_table(folder, labels, expected=decoded),
        "random": sections.random_table(folder),
        "notes": sections.NOTES,
        "precision": sections.precision_table(options.bench / "bfloat16.csv"),
        "claims": claims,
        "claims_table": sections.claims_table(claims, results.profile),
        "claim_columns": sections.claim_columns(claims, results.profile),
        "own_claims": own,
        "own_columns": sections.claim_columns(own, results.profile),
        "own_claims_table": sections.claims_table(own, results.profile),
        "errors": sections.errors(folder, labels, expected=decoded),
        "error_table": sections.error_table,
        "examples": sample_statements.choose(*sample_statements.read_answers(results, data, runs)) if data else [],
        "missing": [(spec.label, [c.format(spec.name) for c in COMMANDS[results.profile]])
                    for spec in results.missing()],
    }  # fmt: skip
    return context | shown_sections(context)


# Every section in its order: what a link to it is called, and its title in the list of those that are left out.
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
    """sections: (name, title) of those that have something to show; left_out: the titles of the others."""
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
    lacking = [title for name, title in SECTIONS.items() if not filled[name] and name != "own"]
    return {"sections": {name: title for name, title in SECTIONS.items() if filled[name]}, "left_out": lacking}


def paper_sizes(results: Results) -> list[int] | None:
    """The paper's bucket sizes where they are not those of this profile's test set."""
    ours = results.bucket_sizes()
    if results.profile == "tiny":  # whose numbers are compared with the reference's
        return None
    theirs = {column: score.n for column in tables.COLUMNS if (score := results.expected_score(RANDOM, column))}
    differ = ours and any(ours.get(column) != n for column, n in theirs.items())
    return [theirs[column] for column in tables.COLUMNS if column in theirs] if differ else None


def drawings(results: Results, context: dict) -> dict:
    """The figures of the page, as SVG."""
    drawn = {
        number: inline_svg(figures.draw(number, results), f"figure{number}", f"Figure {number}. {caption}")
        for number, caption in context["captions"].items()
    }
    forest = draw_forest(context["effect_lines"], context["labels"])
    title = "Differences between the models of each pair, with 95 % intervals"
    return {"figures": drawn, "forest": inline_svg(forest, "forest", title) if forest else None}


def environment() -> jinja2.Environment:
    """Both templates escape what they are given; `pipe` writes a table of escaped cells as Markdown."""
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
    parser.add_argument("--runs", required=True, type=Path, help="folder of the runs, for their provenance")
    parser.add_argument("--data", type=Path, help="the dataset that was decoded, to show statements (default: none)")
    parser.add_argument("--bench", type=Path, default=Path("data/bench"), help="folder of the bench (%(default)s)")
    parser.add_argument("--reference", type=Path, help="folder of the expected results (default: as make check's)")
    options = parser.parse_args()
    results = read_results(options.profile, options.results, options.reported)
    context = collect(results, options)
    context |= drawings(results, context)
    templates = environment()
    for name in ("report.md", "report.html"):
        write_text(options.out / name, templates.get_template(f"{name}.j2").render(context))


if __name__ == "__main__":
    main()
