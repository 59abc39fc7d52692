"""What experiments/tools/audit.py makes of pip-audit's answer; the service itself is not asked here."""

import json
import subprocess

import pytest
from scripts_fixture import ROOT, run_script

CLEAN = {"name": "numpy", "version": "2.4.6", "vulns": []}
SKIPPED = {"name": "torch", "skip_reason": "Dependency not found on PyPI: torch"}
BAD = {"name": "jinja2", "version": "2.10", "vulns": [{"id": "PYSEC-2019-217", "fix_versions": ["2.10.1"]}]}
AGAIN = "; run make audit where the network allows\n"


@pytest.fixture
def answers(monkeypatch):
    """Sets what pip-audit says of each lock: packages, or an error of its own."""

    def set_answers(**of_lock):
        def run(command, **_):
            said = of_lock[command[-1]]
            if isinstance(said, Exception):
                raise said
            if isinstance(said, str):
                return subprocess.CompletedProcess(command, 1, stdout="", stderr=said)
            return subprocess.CompletedProcess(command, 0, stdout=json.dumps({"dependencies": said}), stderr="")

        monkeypatch.setattr(subprocess, "run", run)

    return set_answers


def test_a_vulnerability_is_named(answers, capsys):
    answers(a=[CLEAN, SKIPPED, BAD])
    assert run_script("tools/audit.py", "a") == 1
    said = capsys.readouterr().out
    assert "a: jinja2 2.10: PYSEC-2019-217, mended in 2.10.1\n" in said
    assert "a: 1 known vulnerabilities in 2 of 3 packages" in said


def test_none_is_known(answers, capsys):
    answers(a=[CLEAN, SKIPPED])
    assert run_script("tools/audit.py", "a") == 0
    assert "0 known vulnerabilities in 1 of 2 packages" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ([SKIPPED], "none of 1 packages could be asked about, e.g. Dependency not found on PyPI: torch"),
        ("log\nERROR: connection refused\n", "ERROR: connection refused"),
        ("", "pip-audit said nothing"),
        (FileNotFoundError(2, "No such file or directory"), "[Errno 2] No such file or directory"),
        (subprocess.TimeoutExpired("uv", 300), "no answer in 300 s"),
    ],
)
def test_nothing_asked_is_not_nothing_found(answers, capsys, said, reason):
    answers(a=said)
    assert run_script("tools/audit.py", "a") == 3
    assert capsys.readouterr().err == f"a: not audited ({reason}){AGAIN}"


def test_a_lock_that_was_not_audited_hides_no_vulnerability_of_another(answers):
    answers(a=[BAD], b=[SKIPPED])
    assert run_script("tools/audit.py", "a", "b") == run_script("tools/audit.py", "b", "a") == 1


def lint(status: int, tmp_path) -> int:
    """The status of `make lint` with tools that say nothing, and an audit that ends so."""
    tools = tmp_path / "venv/bin"
    tools.mkdir(parents=True)
    for name in ("python", "ruff", "hadolint"):
        (tools / name).write_text(f'#!/bin/sh\ncase "$1" in *audit.py) exit {status};; esac\n')
        (tools / name).chmod(0o755)
    (tmp_path / "venv/.installed").touch()
    return subprocess.run(["make", "lint", f"VENV={tmp_path}/venv"], cwd=ROOT, capture_output=True).returncode


@pytest.mark.parametrize(("status", "expected"), [(0, 0), (3, 0), (1, 2), (2, 2)])
def test_lint_fails_for_a_known_vulnerability_and_goes_on_where_nobody_could_be_asked(status, expected, tmp_path):
    assert lint(status, tmp_path) == expected
