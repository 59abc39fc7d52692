"""The scripts of experiments/ run in this process, and what they say when they refuse; code run in
another."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def python(code: str, *arguments: object) -> subprocess.CompletedProcess:
    """Code run by an interpreter of its own."""
    command_line = [sys.executable, "-c", code, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command_line, env=environment, capture_output=True, text=True, timeout=60)


def run_script(name: str, *arguments: object) -> int | str | None:
    """The exit status of a script of the repository."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "experiments" / name), run_name="__main__")
    return ended.value.code


def refusal(capsys, name: str, *arguments: object) -> str:
    """What a script says that ends with status 2, one line on stderr and nothing on stdout: the
    line without its name."""
    capsys.readouterr()
    status = run_script(name, *arguments)
    out, err = capsys.readouterr()
    assert (status, out, err.count("\n")) == (2, "", 1), err
    said_by = f"{Path(name).name}: "
    assert err.startswith(said_by)
    return err.removeprefix(said_by).removesuffix("\n")


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder and its bytes; a folder with nothing in it counts as empty
    bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }
