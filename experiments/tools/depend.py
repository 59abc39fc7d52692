"""What Make must know before anything runs: the files behind each script, and the models of each profile.

python experiments/tools/depend.py .make/depend.mk

Make includes the file written here and renews it when a module changes. Standard library only: it runs before set-up.
"""

import ast
import re
import sys
from functools import cache
from pathlib import Path
from unittest.mock import MagicMock

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout, whatever is installed

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("boxes", "paper", "experiments")
PLAIN = re.compile(r"[\w./+,@=~-]+", re.ASCII)  # a path that Make can have among what a target depends on


def module_file(name: str, folder: Path) -> Path | None:
    """boxes.world -> boxes/world.py, and a name that lies beside the script -> that file; None where it is not ours."""
    parts = name.split(".")
    place = (ROOT if parts[0] in PACKAGES else folder).joinpath(*parts)
    found = [path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()]
    return found[0] if found else None


@cache
def imported_files(path: Path) -> set[Path]:
    """The files of ours that one file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {file for name in names if (file := module_file(name, path.parent))}


def needs(path: Path) -> list[str]:
    """A script and every module of ours behind it, relative to the repository."""
    found, waiting = set(), {path}
    while waiting:
        found |= waiting
        waiting = {file for waited in waiting for file in imported_files(waited)} - found
    return sorted(str(file.relative_to(ROOT)) for file in found)


def models() -> dict[str, list[str]]:
    """MODELS_OF_tiny -> names of a profile's models; BESIDE_OF_tiny-chat -> the folders of a model's other runs."""
    sys.modules["pandas"] = MagicMock()  # boxes.records imports it; the table of models does without
    from boxes.models.table import PROFILES, models_of
    from boxes.runs.plan import all_folders_beside

    found = {f"MODELS_OF_{profile}": [spec.name for spec in models_of(profile)] for profile in PROFILES}
    return found | {f"BESIDE_OF_{name}": folders for name, folders in all_folders_beside().items()}


def added(target: Path) -> list[str]:
    """The lines for models that were added on this machine: where they lie, and that the file of them renews this one."""
    from boxes.models.table import ADDED_ROWS, MODELS

    if not ADDED_ROWS.exists():
        return []
    rows = [spec for spec in MODELS.values() if spec.extra]
    folders = {spec.name: spec.path for spec in rows if spec.path}
    lines = [f"FOLDER_OF_{name} := {path}" for name, path in folders.items() if PLAIN.fullmatch(path)]
    lines += [f"LOOK_INTO := {' '.join(name for name in folders if not PLAIN.fullmatch(folders[name]))}"]
    for profile in dict.fromkeys(spec.profile for spec in rows):
        stated = " ".join("/".join(map(str, (spec.name, spec.base, spec.added, spec.size))) for spec in rows)
        lines.append(f"ADDED_TO_{profile} := {stated}")
    place = ADDED_ROWS.relative_to(ROOT) if ADDED_ROWS.is_relative_to(ROOT) else ADDED_ROWS
    return [*lines, f"{target}: {place}", f"{place}:"]


def makefile(target: Path) -> str:
    """NEEDS_05_score := ..., and what models() says; each file is a target, too: one that is gone stops nothing."""
    scripts = [path for folder in ("experiments", "paper") for path in sorted((ROOT / folder).glob("[!_]*.py"))]
    lines = ["# Written by experiments/tools/depend.py"]
    every = set()
    for script in scripts:
        files = needs(script)
        every |= set(files)
        lines.append(f"NEEDS_{script.stem} := {' '.join(files)}")
    lines += [f"{variable} := {' '.join(names)}" for variable, names in models().items()]
    lines += added(target)
    return "\n".join([*lines, f"{' '.join(sorted(every))}:", ""])


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__)
        sys.exit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)
    target = Path(sys.argv[1])
    try:
        content = makefile(target)
    except SyntaxError as error:
        sys.exit(f"depend.py: {error.filename}: line {error.lineno}: {error.msg}; mend it first")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(".new")
    temporary.write_text(content, encoding="utf-8")
    temporary.replace(target)


if __name__ == "__main__":
    main()
