"""Nothing of the user's environment changes a table or a figure, byte by byte: shell, Python, pip, locale, folder."""

import ast
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
from checkout_fixture import LINKED, LOCKS, OUTER, ROOT
from scripts_fixture import files

from boxes.models.table import MODELS
from boxes.runs import provenance

needs_git = pytest.mark.skipif(not shutil.which("git"), reason="no git here")  # as in the container
ODD = "a b %p #h $d $(x) é'&;"
# What would be found out at once were it heeded. {folder} holds the files below; {decoy} packages that must not be imported.
SETTINGS: dict[str, dict[str, str]] = {
    "shell": {"BASH_ENV": "{folder}/bash_env", "ENV": "{folder}/bash_env", "CDPATH": "/usr:{folder}", "GLOBIGNORE": "*",
              "SHELLOPTS": "noglob:noexec", "BASHOPTS": "failglob", "BASH_FUNC_sed%%": "() {{ echo mine; }}",
              "POSIXLY_CORRECT": "1"},
    "python": {"PYTHONPATH": "{decoy}", "PYTHONSTARTUP": "{folder}/bash_env", "PYTHONWARNINGS": "error", "PYTHONUTF8": "0",
               "PYTHONUSERBASE": "{decoy}", "PYTHONOPTIMIZE": "2", "PYTHONSAFEPATH": "1", "PYTHONIOENCODING": "ascii",
               "PYTHONHASHSEED": "7", "PYTHONPYCACHEPREFIX": "{folder}/cache", "PYTHONINSPECT": "1"},
    "python home": {"PYTHONHOME": "/usr", "PYTHONPLATLIBDIR": "/nowhere"},
    "pip": {"PIP_USER": "1", "PIP_TARGET": "/nowhere", "PIP_PREFIX": "/nowhere", "PIP_REQUIRE_VIRTUALENV": "1"},
    "terminal": {"NO_COLOR": "1", "FORCE_COLOR": "1", "COLUMNS": "20", "LINES": "3", "TERM": "dumb", "LESS": "x",
                 "TZ": "Pacific/Kiritimati", "PAGER": "false"},
    "locale": {"LC_ALL": "tr_TR.ISO-8859-9", "LANG": "tr_TR", "LANGUAGE": "tr"},
    "git": {"GIT_DIR": "/nowhere", "GIT_WORK_TREE": "/nowhere"},
    "gpu": {"CUDA_VISIBLE_DEVICES": "NoDevFiles", "HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "1"},
    "names": dict.fromkeys(("INPUT", "ERRORS", "DECODED", "OTHER_SCORES", "OUT", "PY", "RESULTS", "NARROW"), "x"),
    "make": {"MAKEFLAGS": "-j4"},
    "home": {"HOME": "/nowhere", "XDG_CONFIG_HOME": "/nowhere", "XDG_CACHE_HOME": "/nowhere"},
    "plain locale": {"LC_ALL": "C"},
}  # fmt: skip
ALL = {name: value for values in SETTINGS.values() for name, value in values.items()}
DRAWING = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "MPLCONFIGDIR": "{folder}",
    "MATPLOTLIBRC": "{folder}",
}
STYLE = "text.usetex: True\naxes.grid: True\nlines.linewidth: 8\nsavefig.bbox: tight\nno.such: 1\n"


def copy_checkout(folder: Path) -> Path:
    """A copy without .git in which nothing has run, its environment that of these tests, whose .pth names another checkout."""
    for name in LINKED:
        source, target = ROOT / name, folder / name
        if not source.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if name == "data/models":
            target.symlink_to(source)
        elif source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    for name in LOCKS:
        os.utime(folder / name, (0, 0))  # the environment is there
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def make(folder: Path, *goals: str, umask: int = 0o022, **variables: str) -> subprocess.CompletedProcess:
    inherited = {
        key: value
        for key, value in os.environ.items()
        if not OUTER.match(key) and not re.match(r"PYTHON|MPL|LC_|GIT_", key)
    }
    return subprocess.run(["make", "-s", *goals, "PROFILE=reported"], cwd=folder, env=inherited | variables, umask=umask,
                          capture_output=True, text=True, timeout=300)  # fmt: skip


def outcome(folder: Path) -> dict[str, bytes]:
    """Tables, figures and results of a checkout, without what Make remembers; deleted once they are read."""
    found = {
        f"{name}/{path}": content
        for name in ("data/results/reported", "paper/out/reported")
        for path, content in files(folder / name).items()
        if not path.startswith(".")
    }
    for name in ("data/results", "paper/out"):
        shutil.rmtree(folder / name)
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a checkout, and what the settings point to."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "bash_env").write_text('echo hello from BASH_ENV\necho "$NOT_SET_ANYWHERE"\n')
    (folder / "matplotlibrc").write_text(STYLE)
    for fonts in Path(matplotlib.get_cachedir()).glob("fontlist-*.json"):  # to find them takes seconds
        shutil.copy(fonts, folder)
    (folder / "decoy").mkdir()
    for name in ("boxes", "paper", "experiments", "pandas", "numpy"):
        (folder / f"decoy/{name}.py").write_text("raise SystemExit('a decoy was imported')")
    copy_checkout(folder / "checkout")
    return folder


@pytest.fixture(scope="module")
def clean(place: Path) -> tuple[str, dict[str, bytes]]:
    """What is printed and written where nothing is set."""
    made = make(place / "checkout", "table6")
    assert (made.returncode, made.stderr) == (0, "")
    assert make(place / "checkout", "figures").returncode == 0
    assert "Code Llama 70B Instruct" in made.stdout
    return made.stdout, outcome(place / "checkout")


def filled(variables: dict[str, str], place: Path) -> dict[str, str]:
    return {name: value.format(folder=place, decoy=place / "decoy") for name, value in variables.items()}


def without_figures(written: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in written.items() if "figure" not in name}


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param(ALL, id="all"),
        *(pytest.param(SETTINGS[name], id=name, marks=pytest.mark.slow) for name in SETTINGS),
    ],
)
def test_settings_change_nothing_in_table_6(place, clean, variables):
    printed, written = clean
    made = make(place / "checkout", "table6", umask=0o077, **filled(variables, place))
    assert made.returncode == 0, made.stderr
    assert made.stdout == printed
    assert outcome(place / "checkout") == without_figures(written)


def test_settings_of_matplotlib_change_nothing_in_the_figures(place, clean):
    (place / "checkout/matplotlibrc").write_text(STYLE)
    made = make(place / "checkout", "figures", **filled(DRAWING, place))
    (place / "checkout/matplotlibrc").unlink()
    assert made.returncode == 0, made.stderr
    drawn = {name: content for name, content in outcome(place / "checkout").items() if "figure" in name}
    assert len(drawn) == 6
    assert drawn == {name: content for name, content in clean[1].items() if "figure" in name}


@pytest.mark.parametrize("kind", [ODD, pytest.param("link", marks=pytest.mark.slow),
                                  pytest.param("inside", marks=[pytest.mark.slow, needs_git])])  # fmt: skip
def test_the_place_of_a_checkout_changes_nothing(place, clean, kind, tmp_path):
    """In a path of odd characters, behind a link, below another repository."""
    folder = tmp_path / kind
    if kind == "link":
        copy_checkout(tmp_path / "real")
        folder.symlink_to(tmp_path / "real")
    else:
        if kind == "inside":
            subprocess.run(["git", "init", "-q", tmp_path], check=True)
        copy_checkout(folder)
    made = make(folder, "table6", PWD=str(folder))
    assert made.returncode == 0, made.stderr
    assert made.stdout == clean[0]
    assert outcome(folder) == without_figures(clean[1])


def test_clean_comes_first_whatever_j_says(place):
    made = make(place / "checkout", "-n", "clean", "table6", MAKEFLAGS="-j4")
    lines = made.stdout.splitlines()
    assert lines[0].startswith("rm -rf paper/out")
    assert "paper.tables" in lines[-1]
    (place / "checkout/slow.mk").write_text("include Makefile\nclean: ; @sleep 0.3; echo clean\nother: ; @echo other\n")
    made = make(place / "checkout", "-f", "slow.mk", "-j4", "clean", "other")
    assert made.stdout == "clean\nother\n"


def test_make_e_is_refused(place):
    made = make(place / "checkout", "table6", MAKEFLAGS="e")
    assert made.returncode == 2
    assert re.fullmatch(r"Makefile:\d+: \*\*\* make -e .*; leave it out\.  Stop\.\n", made.stderr)


@pytest.mark.parametrize("name", ["VENV", "DATA_DIR", "MODELS_DIR", "RELEASE_ZIP", "FROM"])
@pytest.mark.parametrize("value", ["/tmp/a b", "/tmp/a%b"])
def test_a_path_that_make_cannot_follow_is_refused_in_one_line(place, name, value):
    made = make(place / "checkout", "table6", f"{name}={value}")
    assert made.returncode == 2
    [line] = made.stderr.splitlines()
    assert f"*** {name}={value}: make cannot follow a path with a space or %" in line


def test_a_path_that_no_environment_can_have_is_refused_in_one_line(tmp_path):
    folder = copy_checkout(tmp_path / "a:b")
    (folder / ".venv").unlink()
    made = make(folder, "setup")
    assert made.returncode == 2
    said = [line for line in made.stderr.splitlines() if line.startswith("setup: ")]
    assert len(said) == 1
    assert "PATH separator :" in said[0]


# ------------------------------------------------------------------------------------------------ which checkout


def scripts() -> list[str]:
    """Those that import something of ours."""
    found = [path for folder in ("experiments", "paper") for path in (ROOT / folder).rglob("*.py")]
    texts = {str(path.relative_to(ROOT)): path.read_text() for path in found}
    ours = re.compile(r"^from (boxes|paper|experiments)\b", re.MULTILINE)
    return sorted(name for name, text in texts.items() if '__name__ == "__main__"' in text and ours.search(text))


@pytest.mark.parametrize("name", scripts())
def test_a_script_looks_into_its_own_checkout_first(name):
    """The line that puts it first on sys.path, run for this file, before anything of ours is imported."""
    path, above = ROOT / name, []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("boxes", "paper", "experiments"):
            break
        above.append(ast.unparse(node))
    [line] = [line for line in above if line.startswith("sys.path.insert(0, ")] or pytest.fail("no line")
    found = type("sys", (), {"path": []})
    exec(line, {"sys": found, "Path": Path, "__file__": str(path)})
    assert found.path == [str(ROOT)]


def test_one_environment_for_two_checkouts_acts_where_the_script_lies(tmp_path):
    """The environment's .pth names another checkout, and so do PYTHONPATH and the working directory."""
    mine, other = copy_checkout(tmp_path / "mine"), copy_checkout(tmp_path / "other")
    row = dataclasses.asdict(dataclasses.replace(MODELS["tiny-base"], name="mine", path="/nowhere"))
    del row["extra"]
    for checkout in (mine, other):
        (checkout / "data/models").unlink()
        (checkout / "data/models").mkdir()
        (checkout / "data/models/added.json").write_text(json.dumps({"models": [row]}))
    inherited = {key: value for key, value in os.environ.items() if key != "MODELS_RECORDS"}
    subprocess.run([mine / ".venv/bin/python", mine / "experiments/tools/add_model.py", "--remove", "mine"], check=True,
                   cwd=other, env=inherited | {"PYTHONPATH": str(other)})  # fmt: skip
    left = [json.loads((checkout / "data/models/added.json").read_text())["models"] for checkout in (mine, other)]
    assert [len(rows) for rows in left] == [0, 1]


# ------------------------------------------------------------------------------------------------ which commit


def repository(folder: Path) -> str:
    """A repository with one commit, which is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "file").write_text("text")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True).stdout.strip()


@needs_git
def test_the_commit_on_record_is_this_checkouts(tmp_path, monkeypatch):
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMIT"):
        monkeypatch.delenv(name, raising=False)
    around, ours, unpacked = tmp_path / "around", tmp_path / "around/ours", tmp_path / "around/unpacked"
    outer = repository(around)
    inner = repository(ours)
    unpacked.mkdir()

    def commit(folder: Path) -> str | None:
        monkeypatch.setattr(provenance, "__file__", str(folder / "boxes/runs/provenance.py"))
        return provenance._git_commit()

    (tmp_path / "link").symlink_to(ours)
    assert [commit(around), commit(ours), commit(tmp_path / "link")] == [outer, inner, inner]
    assert commit(unpacked) is None  # the repository around it is not its own
    monkeypatch.setenv("GIT_DIR", str(around / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(around))
    assert [commit(ours), commit(unpacked)] == [inner, None]
    monkeypatch.setenv("GIT_COMMIT", "of the build")
    assert [commit(ours), commit(unpacked)] == [inner, "of the build"]
    (ours / "file").write_text("other")
    assert commit(ours) == f"{inner}-dirty"
