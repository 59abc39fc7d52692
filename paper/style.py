"""How the figures look: fonts that ship with matplotlib, and a colour, a marker and a line style
for each role."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

import matplotlib.style

TEXT_WIDTH = 7.0  # inches: a figure over the full width of a paper
INK = "#000000"  # axes, labels and the random line; the report swaps it for the page's own ink
MUTED = "#6b6b6b"
GRID = "#d9d9d9"

# The same bytes at every rendering: fixed salt for identifiers, fonts that need no system font, no
# dates (see figures).
RC = {
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9.5,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.columnspacing": 1.8,
    "svg.hashsalt": "entity-tracking",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "pdf.compression": 6,
    "savefig.dpi": 220,
    "path.simplify": False,
}


def own_settings() -> AbstractContextManager:
    """matplotlib's defaults and RC, whatever else is set in this process."""
    return matplotlib.style.context(["default", RC])


@dataclass(frozen=True)
class Stroke:
    """A line of a role: told apart without colour by its marker and whether that is filled."""

    label: str
    colour: str
    marker: str
    filled: bool
    offset: float  # along x, so that the error bars of two lines do not cover each other


# Colours that stay apart in the common forms of colour blindness; the paper's hues where it names
# them.
_BASE = Stroke("Base", "#c1272d", "o", False, -0.07)
STROKES = {
    1: {"base": _BASE, "code": Stroke("+ Code", "#1f5fbf", "s", True, 0.07)},
    2: {"base": _BASE, "math": Stroke("+ Math", "#6a3d9a", "D", True, 0.07)},
    3: {
        "base": Stroke("Not aligned", "#e08214", "o", False, -0.07),
        "aligned": Stroke("+ Instruct/Chat", "#1b7f5c", "^", True, 0.07),
    },
}
RANDOM_LABEL = "Random baseline"
