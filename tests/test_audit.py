"""What experiments/audit.py makes of pip-audit's answer; the service itself is not asked here."""

from experiments.audit import verdict

CLEAN = {"name": "numpy", "version": "2.4.6", "vulns": []}
SKIPPED = {"name": "torch", "skip_reason": "not found on PyPI"}
BAD = {"name": "jinja2", "version": "2.10", "vulns": [{"id": "PYSEC-2019-217", "fix_versions": ["2.10.1"]}]}


def test_a_vulnerability_is_named(capsys):
    assert verdict("a.lock", [CLEAN, SKIPPED, BAD]) == 1
    said = capsys.readouterr().out
    assert "a.lock: jinja2 2.10: PYSEC-2019-217, mended in 2.10.1\n" in said
    assert "1 known vulnerabilities in 2 of 3 packages" in said


def test_none_is_known(capsys):
    assert verdict("a.lock", [CLEAN, SKIPPED]) == 0
    assert "0 known vulnerabilities in 1 of 2 packages" in capsys.readouterr().out


def test_nothing_asked_is_not_nothing_found(capsys):
    assert verdict("a.lock", [SKIPPED]) == 3
    assert "not audited" in capsys.readouterr().err
