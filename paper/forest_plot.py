"""The effects of Experiments 1-3 at a glance: treated minus base on changed boxes, with 95 %
intervals."""

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from paper.results import NOT_RUN
from paper.style import GRID, INK, MUTED, STROKES, Stroke, own_settings

WIDTH = 4.4  # inches: as wide as a phone can show without scrolling
ROW_HEIGHT = 0.36  # inches a pair, whose label has two lines
BUCKET = "1+"
_STROKES = {"code": STROKES[1]["code"], "math": STROKES[2]["math"], "alignment": STROKES[3]["aligned"]}


def draw_forest(effects: dict[str, list[dict]], labels: dict[str, str]) -> Figure | None:
    """A line a pair, grouped by experiment. effects: the lines of code, math and alignment.csv.
    None: nothing run."""
    groups = {name: list(filter(_is_shown, lines)) for name, lines in effects.items()}
    count = sum(map(len, groups.values()))
    if not count:
        return None
    with own_settings():
        height = 1.0 + ROW_HEIGHT * (count + len(groups))
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        axes.axvline(0, color=INK, linewidth=0.8)
        ticks, y = [], 0.0
        for name, lines in groups.items():
            for line in lines:
                label = _STROKES[name].label if line is lines[0] else None
                _draw_row(axes, y, line, _STROKES[name], label)
                pair = (labels.get(line[side], line[side]) for side in ("treated", "base"))
                ticks.append((y, "\nvs. ".join(pair).replace("$", r"\$")))
                y += 1
            y += 0.7 if lines else 0.0
        axes.set_yticks(*zip(*ticks, strict=True), linespacing=0.95)
        axes.set_ylim(y - 0.5, -0.8)
        axes.grid(axis="x", color=GRID, linewidth=0.5)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        boxes = f"boxes with {BUCKET} operations"
        axes.set_xlabel(f"Difference in accuracy on {boxes}\n(percentage points)")
        figure.legend(loc="outside upper center", ncols=3, labelcolor=MUTED)
    return figure


def _is_shown(line: dict) -> bool:
    return line["status"] != NOT_RUN and line["num_ops"] == BUCKET


def _draw_row(axes: Axes, y: float, line: dict, stroke: Stroke, label: str | None) -> None:
    """A pair's difference and its interval, a point where there is none."""
    centre = line["difference"]
    ends = [centre if line[end] is None else line[end] for end in ("ci_low", "ci_high")]
    axes.plot(ends, [y, y], color=stroke.colour, linewidth=1.3)
    axes.plot(
        centre, y, color=stroke.colour, marker=stroke.marker, markersize=4.5, linestyle="none",
        label=label,
    )  # fmt: skip
