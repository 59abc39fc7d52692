"""Set-up: which Python and which folder it takes, and what it leaves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from checkout_fixture import ROOT, run


def setup(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    return run(folder, "experiments/install/setup.sh", *arguments, **variables)


@pytest.mark.slow
@pytest.mark.skipif(not (Path(sys.prefix) / ".installed").exists(), reason="not an environment of make setup")
def test_set_up_has_compiled_what_scripts_import():
    imported = (
        "import importlib.util, os, sys, boxes.decoding, boxes.runs.decode, boxes.minimal_pairs\n"
        "import paper.report, scipy.stats\n"
        "from statsmodels.stats import multitest, proportion\n"
        "from transformers.models.llama import modeling_llama\n"
        "files = [getattr(module, '__file__', None) or '' for module in list(sys.modules.values())]\n"
        "sources = [file for file in files if file.endswith('.py') and file.startswith(sys.prefix)]\n"
        "print(len(sources), *(file for file in sources if not os.path.exists(importlib.util.cache_from_source(file))))"
    )
    count, *lacking = run(ROOT, sys.executable, "-B", "-c", imported, PYTHONPATH=".").stdout.split()
    assert int(count) > 1000
    assert lacking == []


def test_setup_finds_a_python():
    found = setup(ROOT).stdout.strip()
    version = subprocess.run([found, "-c", "import sys; print(sys.version_info >= (3, 11))"], capture_output=True)
    assert version.stdout == b"True\n"


def test_setup_says_what_to_do_without_python(tmp_path):
    result = setup(ROOT, str(tmp_path / "venv"), PYTHON="/nowhere/python3")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "PYTHON=/path/to/python3.11" in result.stderr


def test_setup_leaves_a_folder_that_is_not_its_own(tmp_path):
    (tmp_path / "thesis.tex").write_text("everything")
    result = setup(ROOT, str(tmp_path))
    assert result.returncode == 2
    assert "neither a virtual environment nor empty" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_setup_starts_an_interrupted_one_again(tmp_path):
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").touch()
    (venv / ".installing").touch()
    result = setup(ROOT, str(venv), LOCK="no.lock", PIP_INDEX_URL="http://127.0.0.1:9", PIP_RETRIES="0",
                   PIP_CONFIG_FILE=os.devnull, PIP_FIND_LINKS="")  # fmt: skip
    assert "half made; starting again" in result.stdout
    assert "no.lock: no such lock" in result.stderr
    assert (venv / "pyvenv.cfg").exists()
    assert (venv / ".installing").exists()
    assert not (venv / ".installed").exists()
