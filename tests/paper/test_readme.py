"""The README: short, its commands and links exist, its Python runs as it stands."""

import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = "\n".join(
    (ROOT / name).read_text(encoding="utf-8")
    for name in ("Makefile", "experiments/tools/maintenance.mk", "experiments/tools/field.mk")
)
OTHERS = {"HF_TOKEN"}  # not written "NAME ?=" in the Makefile


def test_it_is_short():
    assert len(README.splitlines()) <= 120
    assert max(map(len, README.splitlines())) <= 135


def test_every_target_is_one_of_make():
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", MAKEFILE, re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make +([a-z][a-z0-9-]+)", README, re.MULTILINE))
    assert {"all", "table6", "test", "weights", "model", "doctor", "container"} <= named
    assert named <= targets


def test_every_variable_is_one_of_make():
    variables = set(re.findall(r"^([A-Z_]+) \?=", MAKEFILE, re.MULTILINE))
    named = set(re.findall(r"\b([A-Z][A-Z_]+)=", README))
    assert {"PROFILE", "MODELS", "MODEL", "BASE", "FROM", "REMOVE"} <= named
    assert named - OTHERS <= variables


def test_every_link_and_picture_is_there():
    links = re.findall(r"\]\(([^)#]+)", README)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_the_first_picture_was_computed_here():
    """From the decoded miniatures, not from the paper's numbers."""
    assert re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)[0].startswith("data/reference/tiny/")


def test_every_profile_has_a_row():
    for profile in ("reported", "tiny", "small", "paper", "modern"):
        assert f"| `{profile}`" in README


def test_its_python_runs_and_says(monkeypatch):
    """The block as it stands: a row a query, the score table, and effects against it."""
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    out, names = StringIO(), {}
    monkeypatch.chdir(ROOT)
    with redirect_stdout(out):
        exec(compile(code, "README.md", "exec"), names)
    assert len(names["mine"]) == len(names["theirs"]) == 21
    assert set(names["mine"].status) == {"ok"}
    assert list(names["theirs"][names["theirs"].correct == 0].box) == [0, 2, 0, 2]
    effects = names["compare"](names["theirs"], names["mine"]).set_index("num_ops")
    assert effects.loc[["0", "1", "1+"], ["difference", "ci_low", "ci_high"]].notna().all(axis=None)
    assert {"accuracy", "ci_low", "difference"} <= set(out.getvalue().split())
