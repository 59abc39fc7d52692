"""The figures of the report's page: SVG elements that follow its colours."""

import re

from markupsafe import Markup
from matplotlib.figure import Figure

from paper import figures
from paper.forest_plot import draw_forest
from paper.results import Results
from paper.style import GRID, INK, MUTED, STROKES

# Colours of the figures that the page sets itself, so that they follow its light or dark scheme.
PAGE_COLOURS = {INK: "--ink", MUTED: "--muted", GRID: "--line", "#ffffff": "--page"}
for _number, _roles in STROKES.items():
    PAGE_COLOURS |= {stroke.colour: f"--figure{_number}-{role}" for role, stroke in _roles.items()}


def inline_svg(figure: Figure, name: str, title: str) -> Markup:
    """A figure as an <svg> element: identifiers of its own, the page's colours, a title for readers
    of the screen."""
    svg = figures.render(figure, "svg", transparent=True).decode()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#{name}-", svg)
    for colour, variable in PAGE_COLOURS.items():
        svg = svg.replace(colour, f"var({variable})")
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    svg = svg.replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "")
    svg = svg.replace("xlink:href", "href")
    label = Markup('role="img" aria-label="{}"').format(title)
    return Markup(svg.replace("<svg ", f"<svg {label} ", 1).strip())


def drawings(results: Results, context: dict) -> dict:
    """The figures of the page, as SVG."""
    drawn = {}
    for number, caption in context["captions"].items():
        figure, title = figures.draw(number, results), f"Figure {number}. {caption}"
        drawn[number] = inline_svg(figure, f"figure{number}", title)
    forest = draw_forest(context["effect_lines"], context["labels"])
    if forest:
        title = "Differences between the models of each pair, with 95 % intervals"
        forest = inline_svg(forest, "forest", title)
    return {"figures": drawn, "forest": forest}
