"""A checkout in which nothing has run yet, and make in it, with the virtual environment of these tests."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from scenarios_fixture import write_dataset

from boxes.dataset import FILES, RELEASE_FOLDER

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements.lock", "requirements-cpu.lock")
LINKED = ("Makefile", "boxes", "experiments", *LOCKS, "data/checksums.sha256", "data/forms.sha256", "data/models",
          "data/reported", "paper/templates", *(f"paper/{path.name}" for path in (ROOT / "paper").glob("*.py")))  # fmt: skip
# What a `make test` around these tests hands down must not reach the Make inside them.
OUTER = re.compile(
    r"^(MAKE|MFLAGS|PROFILE|MODELS?$|MODELS_DIR|DATA|SEED|RELEASE_ZIP|VENV|PYTHON|LOCK|TORCH_CPU_INDEX|HARDWARE|GPUS_PER|"
    r"DECODE|ARGS|FROM$|BASE$|REVISION$|ADDED$)"
)


def link_checkout(folder: Path) -> Path:
    """A checkout of links to this one: nothing has run in it, and what runs writes into it alone."""
    for name in LINKED:
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(ROOT / name)
    return folder


def run(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if not OUTER.match(key)}
    return subprocess.run(command, cwd=folder, env=environment | variables, capture_output=True, text=True, timeout=900)


def make(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    """make with the virtual environment of these tests."""
    return run(folder, "make", f"VENV={sys.prefix}", *arguments, **variables)


def small_release(path: Path) -> Path:
    """A release of a few descriptions with up to three operations, to take the data from."""
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(FILES):
            written = write_dataset(path.parent / name, count=8, operations=3, seed=number)
            archive.write(written, f"{RELEASE_FOLDER}/{name}")
            written.unlink()
    return path
