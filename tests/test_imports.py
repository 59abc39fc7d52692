"""The floors drawn in ARCHITECTURE.md hold: nothing imports upward, in a circle or another module's private name."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("boxes", "experiments", "paper")
PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def floors(page: str) -> list[set[str]]:
    """What stands on each floor of the fenced block of floors, the lowest first."""
    (block,) = re.findall(r"```floors\n(.*?)```", page, re.DOTALL)
    return [set(line.split()) for line in reversed(block.splitlines())]


def modules() -> dict[str, Path]:
    """name -> file of every module; a package has the name of its folder."""
    found = {}
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts).removesuffix(".__init__")
            found[name] = path
    return found


MODULES = modules()
FLOORS = floors(PAGE)


def imports(text: str) -> list[tuple[str, str]]:
    """(module, name) of what a text imports anywhere in it: in functions and for types, too."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            found += [(node.module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            found += [(ast.literal_eval(word), "") for word in node.args[:1]]
    return found


def imported_modules(text: str) -> set[str]:
    """The modules of this repository among what a text imports."""
    found = set()
    for module, name in imports(text):
        whole = f"{module}.{name}"
        found.add(whole if whole in MODULES else module)
    return found & set(MODULES)


GRAPH = {name: imported_modules(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def floor_of(module: str) -> int:
    """The floor of a module: its own, or that of the wing or the room it lies in. Beneath all is
    boxes, which holds the wings and has no code of its own."""
    if module == "boxes":
        return -1
    parts = module.split(".")
    names = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    for name in names:
        for floor, there in enumerate(FLOORS):
            if name.removeprefix("boxes.") in there:
                return floor
    raise AssertionError(f"{module} stands on no floor of ARCHITECTURE.md")


def test_every_module_has_a_floor_and_every_name_on_a_floor_is_there():
    for module in MODULES:
        floor_of(module)
    for name in set().union(*FLOORS):
        assert name in MODULES or f"boxes.{name}" in MODULES or (ROOT / name).is_dir(), name
    assert sum(map(len, FLOORS)) == len(set().union(*FLOORS)), "a name on two floors"


def test_nothing_imports_upward():
    upward = []
    for module, below in GRAPH.items():
        upward += [(module, other) for other in below if floor_of(other) > floor_of(module)]
    assert not upward


def test_there_is_no_circle():
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_private_names_stay_in_their_module():
    private = []
    for module in MODULES:
        path = MODULES[module]
        for other, name in imports(path.read_text(encoding="utf-8")):
            if other in MODULES and name.startswith("_") and not name.startswith("__"):
                private.append(f"{module}: {other}.{name}")
    assert not private


def test_a_hidden_import_is_seen():
    text = "def late():\n    from boxes.models import table\n    import_module('paper.report')\n"
    assert imported_modules(text) == {"boxes.models.table", "paper.report"}


def test_the_walk_to_a_cell_is_true():
    """Every file to open is there, and is imported or named by one opened before it; the last prints the cell."""
    (listed,) = re.findall(r"```walk\n(.*?)```", PAGE, re.DOTALL)
    files = [line.split()[0] for line in listed.splitlines()]
    assert len(files) == len(set(files)) <= 15
    opened = (ROOT / files[0]).read_text(encoding="utf-8")
    for file in files[1:]:
        module = file.removesuffix(".py").replace("/", ".")
        rendered = f"RENDER,{Path(file).stem}"  # as the Makefile calls paper's scripts
        assert any(name in opened for name in (file, module, rendered)), file
        text = (ROOT / file).read_text(encoding="utf-8")
        opened += text + "\n".join(imported_modules(text))
    assert (files[0], files[-1]) == ("Makefile", "paper/results.py")
