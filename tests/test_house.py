"""How large the house may be: what a reader meets at its doors, and how long files, functions and lines are."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = [path for room in ("boxes", "experiments", "paper") for path in sorted((ROOT / room).rglob("*.py"))]
LINES = {path: path.read_text(encoding="utf-8").splitlines() for path in FILES}
LONGEST_FILE, LONGEST_FUNCTION, WIDE, WIDE_SHARE = 350, 50, 100, 0.03
MAKEFILE = 240


def entries(room: str) -> list[str]:
    """What lies at the top of a room; __init__.py is its door and no entry."""
    names = [path.name for path in (ROOT / room).iterdir()]
    return [name for name in names if not name.startswith(("__", "."))]


@pytest.mark.parametrize(("room", "most"), [("boxes", 21), ("experiments", 16)])
def test_a_corridor_has_few_doors(room, most):
    assert len(entries(room)) <= most


def test_files_are_read_in_one_go():
    for path, lines in LINES.items():
        name = str(path.relative_to(ROOT))
        assert len(lines) <= LONGEST_FILE, name


def test_the_makefile_is_read_in_one_go():
    """No generated makefile, no second expansion, few macros of our own."""
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MAKEFILE
    assert not [line for line in lines if line.startswith((".SECONDEXPANSION", "define "))]


def test_functions_fit_a_screen():
    for path, lines in LINES.items():
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = node.end_lineno - node.lineno + 1
                assert length <= LONGEST_FUNCTION, f"{path.relative_to(ROOT)}: {node.name}"


def test_few_lines_are_wide():
    wide = sum(len(line) > WIDE for lines in LINES.values() for line in lines)
    assert wide < WIDE_SHARE * sum(map(len, LINES.values()))


def test_the_page_for_who_carries_on_is_short():
    assert len((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_the_page_names_what_is_there():
    """Every link and every path in it, but for what is made and where a profile or a model stands."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    made = ("data/boxes/", "data/runs/", "data/results/", "paper/out/")
    paths = re.findall(r"`([\w./-]+/[\w./-]*)`", text) + re.findall(r"\]\(([^)]+)\)", text)
    assert len(paths) > 20
    for path in paths:
        assert path.startswith(made) or any((ROOT / room / path).exists() for room in ("", "boxes", "experiments")), (
            path
        )


@pytest.mark.parametrize("page", ["README.md", "CLAIMS.md", "data/README.md", "data/bench/README.md"])
def test_pages_name_files_that_are_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"\b(?:boxes|experiments|paper|tests)/[\w/]+\.(?:py|sh)\b", text)
    assert [path for path in named if not (ROOT / path).is_file()] == []
