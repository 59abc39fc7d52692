"""Figures 1-3 of the paper from the scores of a profile, as PDF and PNG.

    python -m paper.figures --profile reported --results data/results/reported \\
        --out paper/out/reported

x: number of operations affecting the box state; y: accuracy in per cent with 95 % intervals; dashed
black: random. A model that MODELS leaves out has no line, and a panel without a line is left out,
too. Rendering the same scores twice gives the same bytes.
"""

import io
import math
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout before others

from boxes.commandline import command
from boxes.models.pairs import Panel, figure_panels
from boxes.records import write_bytes
from paper.results import BUCKETS, NOT_RUN, RANDOM, Results, arguments, read_results
from paper.style import GRID, INK, MUTED, RANDOM_LABEL, RC, STROKES, TEXT_WIDTH, Stroke, own_settings

NUMBERS = (1, 2, 3)
PANEL_HEIGHT = 1.75  # inches
MARGIN_HEIGHT = 1.0  # inches: legend above, x label below
COLUMNS = 5  # panels across the whole width; a figure of fewer keeps their size,
NARROWEST = 4.2  # but leaves room for its legend (inches)
ROW_LABELS = {3: ("without additional code", "with additional code")}
RANDOM_DASHES = (0, (4, 2.4))
# matplotlib would write its version and the time.
_METADATA = {
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    "png": {"Software": None},
    "svg": {"Creator": None, "Date": None},
}


def draw(number: int, results: Results) -> Figure:
    """Figure 1, 2 or 3: a panel a pair of models, in the paper's layout."""
    by_row = rows_of_panels(number, results)
    rows, columns = max(len(by_row), 1), max(map(len, by_row.values()), default=1)
    width = max(TEXT_WIDTH * columns / COLUMNS, NARROWEST)
    with own_settings():
        figure = Figure(figsize=(width, MARGIN_HEIGHT + PANEL_HEIGHT * rows), layout="constrained")
        FigureCanvasAgg(figure)
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.03, wspace=0.03, hspace=0.05)
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes_row, row_panels in zip(grid, by_row.values() or [[]], strict=True):
            for axes, panel in zip(axes_row, row_panels, strict=False):
                draw_panel(axes, panel, STROKES[number], results)
            for axes in axes_row[len(row_panels) :]:
                axes.remove()
        if number in ROW_LABELS:
            for axes, row in zip(grid[:, 0], by_row, strict=False):
                axes.set_ylabel(ROW_LABELS[number][row], fontsize=8, color=MUTED)
        if not by_row:
            figure.text(0.5, 0.5, "No model of this figure was chosen.", ha="center", color=MUTED)
        figure.supxlabel("Number of operations affecting box state", fontsize=RC["axes.labelsize"])
        if results.note:
            figure.suptitle(results.note, fontsize=8, color=MUTED)
        figure.supylabel("Accuracy (%)", fontsize=RC["axes.labelsize"])
        figure.legend(handles=legend_handles(number), loc="outside upper center", ncols=3)
    return figure


def rows_of_panels(number: int, results: Results) -> dict[int, list[Panel]]:
    """The panels of a figure that have a model that was asked for, by the row they stand in."""
    rows: dict[int, list[Panel]] = {}
    for panel in figure_panels(number, results.profile):
        lines = tuple(line for line in panel.lines if line[1].name in results.names)
        if lines:
            rows.setdefault(panel.row, []).append(replace(panel, lines=lines))
    return dict(sorted(rows.items()))


def draw_panel(axes: Axes, panel: Panel, strokes: dict[str, Stroke], results: Results) -> None:
    """One panel: the random line, a line a model that was run, and a note for each that was not."""
    style_axes(axes)
    axes.set_title(panel.title, pad=13)
    axes.annotate(
        subtitle(panel), (0.5, 1), (0, 4), xycoords="axes fraction", textcoords="offset points",
        ha="center", color=MUTED, size=7,
    ).set_in_layout(False)  # fmt: skip
    random = points(results, RANDOM)
    if random:
        x, y, _, _ = zip(*random, strict=True)
        axes.plot(x, y, color=INK, linestyle=RANDOM_DASHES, linewidth=1, zorder=2, label="_random")
    missing = []
    for label, spec, role in panel.lines:
        if results.is_run(spec.name):
            draw_line(axes, points(results, spec.name), strokes[role])
        else:
            missing.append(f"{label}: {NOT_RUN.replace(' ', chr(0xA0))}")
    if missing:
        note = "\n".join(textwrap.fill(line, 24) for line in missing)
        axes.text(
            0.98, 0.97, note, transform=axes.transAxes, ha="right", va="top", color=MUTED, size=6.5,
            style="italic", linespacing=1.25,
        ).set_in_layout(False)  # fmt: skip


def subtitle(panel: Panel) -> str:
    """What the title does not name: "vs. Code Llama" beneath "Llama 2 (7B)"."""
    labels = [label for label, _, _ in panel.lines if not panel.title.startswith(f"{label} (")]
    named = len(labels) < len(panel.lines)
    return f"vs. {labels[0]}" if named and labels else " vs. ".join(reversed(labels))


def style_axes(axes: Axes) -> None:
    """The same scales in every panel: 0 to 7 operations, 0 to 100 per cent."""
    axes.set_xlim(-0.45, 7.45)
    axes.set_ylim(-2, 103)
    axes.set_xticks(range(len(BUCKETS)), BUCKETS)
    axes.set_yticks(range(0, 101, 25))
    axes.grid(axis="y", color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)


def points(results: Results, model: str) -> list[tuple[int, float, float, float]]:
    """(operations, accuracy, distance down, distance up to the interval's ends) of the buckets that
    hold queries."""
    found = []
    for num_ops in BUCKETS:
        score = results.score(model, num_ops)
        if score is None or math.isnan(score.accuracy):
            continue
        down = up = 0.0
        if not math.isnan(score.low):
            down = max(score.accuracy - score.low, 0.0)
        if not math.isnan(score.high):
            up = max(score.high - score.accuracy, 0.0)
        found.append((int(num_ops), score.accuracy, down, up))
    return found


def draw_line(axes: Axes, cells: list[tuple[int, float, float, float]], stroke: Stroke) -> None:
    """Accuracy with error bars."""
    x, y, down, up = zip(*cells, strict=True)
    axes.errorbar(
        [value + stroke.offset for value in x],
        y,
        yerr=(down, up),
        color=stroke.colour,
        linewidth=1.2,
        elinewidth=0.8,
        capsize=1.6,
        capthick=0.8,
        marker=stroke.marker,
        markersize=3.6,
        markeredgewidth=0.9,
        markerfacecolor=stroke.colour if stroke.filled else "white",
        zorder=3,
    )


def legend_handles(number: int) -> list[Line2D]:
    """The legend that all panels share."""
    handles = [
        Line2D(
            [], [], color=stroke.colour, linewidth=1.2, marker=stroke.marker, markersize=4.5,
            label=stroke.label, markerfacecolor=stroke.colour if stroke.filled else "white",
        )
        for stroke in STROKES[number].values()
    ]  # fmt: skip
    random = Line2D([], [], color=INK, linestyle=RANDOM_DASHES, linewidth=1, label=RANDOM_LABEL)
    return [*handles, random]


def render(figure: Figure, kind: str, transparent: bool = False) -> bytes:
    """A figure's bytes as "pdf", "png" or "svg", without dates and versions."""
    buffer = io.BytesIO()
    with own_settings():
        figure.savefig(buffer, format=kind, metadata=_METADATA[kind], transparent=transparent)
    return buffer.getvalue()


@command
def main() -> None:
    options = arguments(__doc__).parse_args()
    results = read_results(options.profile, options.results, options.reported)
    for number in NUMBERS:
        figure = draw(number, results)
        for kind in ("pdf", "png"):
            write_bytes(options.out / f"figure{number}.{kind}", render(figure, kind))


if __name__ == "__main__":
    main()
