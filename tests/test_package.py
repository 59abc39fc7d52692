"""The package boxes as pip installs it: alone, in another folder, and with what it needs named."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from test_imports import imports

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
UNSEEN = {"accelerate", "protobuf"}  # transformers imports them
WITH_TORCH = {"tokenizers", "markupsafe"}  # of transformers and jinja2
# The ten lines of a user, without a model: generate the task, score statements, compare.
USED = """
import sys
from pathlib import Path
from boxes.dataset import examples_of
from boxes.generation import generate
from boxes.evaluation import compare, score_predictions, summarise
from boxes.models import table
import boxes

assert Path(boxes.__file__).is_relative_to(sys.argv[1]), boxes.__file__
clauses = ", ".join(f"Box {box} contains nothing" for box in range(7)) + "."
examples = examples_of([clauses, clauses + " Put the car into Box 3."])
told = "Statement: " + clauses
right = score_predictions(examples, [told, told.replace("3 contains nothing", "3 contains the car")])
wrong = score_predictions(examples, [told] * 2)
print(summarise(right).accuracy[0], compare(wrong, right).difference.iloc[-1], table.RECORDS)
"""


def test_it_works_alone_and_anywhere(tmp_path):
    """The folder boxes is all that is installed; what is recorded goes into the user's cache."""
    installed = tmp_path / "site"
    shutil.copytree(ROOT / "boxes", installed / "boxes", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {"PYTHONPATH": str(installed), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-c", USED, str(installed)]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == f"100.0 100.0 {tmp_path / 'cache' / 'boxes'}\n"
    assert not (installed / "data").exists()


def bounds() -> dict[str, str]:
    return dict(re.fullmatch(r"([\w-]+)>=([\d.]+)", line).groups() for line in PROJECT["dependencies"])


def test_bounds_are_the_versions_that_were_tried():
    pinned = dict(re.findall(r"^([\w-]+)==([^ \n]+)", (ROOT / "requirements.in").read_text(), re.MULTILINE))
    assert bounds() == {name: pinned[name] for name in bounds()}


def test_every_import_is_named():
    found = set()
    for path in (ROOT / "boxes").rglob("*.py"):
        found |= {module.partition(".")[0] for module, _ in imports(path.read_text(encoding="utf-8"))}
    extra = re.findall(r"^([\w-]+)==", (ROOT / "requirements-cluster.in").read_text(), re.MULTILINE)
    ours = set(sys.stdlib_module_names) | {"boxes", *WITH_TORCH, *extra}  # extra: only when asked for
    assert found - ours == set(bounds()) - UNSEEN


def test_the_version_is_that_of_the_citation():
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited[1] == PROJECT["version"]
