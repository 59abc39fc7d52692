"""A model is added without touching the code: its row, its pair, its panel; what is refused; what
stays as it was."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest
from gguf_fixture import write_gguf
from results_fixture import write_scores
from scripts_fixture import refusal, run_script

from boxes.claims.sentences import claims_of
from boxes.models import hub, table
from boxes.models.pairs import figure_panels, pairs
from boxes.models.table import MODELS, TINY_FOLDER, Packaged, models_of, read_added
from boxes.records import sha256_file
from paper import figures, tables

COMMIT = "a" * 40


class Machine:
    """A machine with records of its own, in this process."""

    def __init__(self, folder: Path, capsys):
        self.folder, self.records, self.capsys = folder, folder / "records", capsys

    def run(self, *options: object) -> tuple[int | str | None, str, str]:
        """add_model.py: its status, what it says on stdout, on stderr."""
        self.capsys.readouterr()
        status = run_script("tools/add_model.py", *options)
        table._added.cache_clear()  # as in a new process
        out, err = self.capsys.readouterr()
        return status, out.strip(), err.removeprefix("add_model.py: ").strip()

    def add(self, *options: object) -> str:
        """The last line on stdout: profile and name."""
        status, out, err = self.run(*options)
        assert status == 0, err
        return out

    def refused(self, *options: object) -> str:
        status, out, err = self.run(*options)
        assert (status, out, err.count("\n")) == (2, "", 0), err
        return err

    def look(self, profile: str) -> dict:
        """What the table, the pairs and the panels of a profile are now."""
        seen = {
            "rows": [spec.name for spec in models_of(profile)],
            "own": [spec.name for spec in models_of(profile, extra=False)],
            "pairs": [],
            "panels": [],
        }
        for number in (1, 2, 3):
            found = pairs(number, profile)
            seen["pairs"].append([[pair.base.name, pair.treated.name] for pair in found])
            panels = figure_panels(number, profile)
            seen["panels"].append([[panel.row, *(line[1].name for line in panel.lines)] for panel in panels])
        return seen

    def rows(self) -> list[dict]:
        return json.loads((self.records / "added.json").read_text())["models"]


@pytest.fixture
def machine(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(table, "ADDED_ROWS", tmp_path / "records" / "added.json")
    table._added.cache_clear()
    yield Machine(tmp_path, capsys)
    table._added.cache_clear()


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    return Path(shutil.copytree(TINY_FOLDER / "tiny-code", tmp_path / "mine"))


@pytest.fixture
def alone(machine):
    """add_model.py where nothing was added before."""
    return machine.run


TINY = ["tiny-base", "tiny-more", "tiny-code", "tiny-math", "tiny-chat"]


def test_a_folder_is_a_row_a_pair_and_a_panel(machine, checkpoint):
    assert machine.add("--model", checkpoint, "--base", "tiny-base") == "tiny mine tiny-base"
    seen = machine.look("tiny")
    assert (seen["rows"], seen["own"]) == ([*TINY, "mine"], TINY)
    code, *others = seen["pairs"]
    own = [["tiny-base", "tiny-code"], ["tiny-more", "tiny-code"]]
    assert code == [*own, ["tiny-base", "mine"]]  # the control is of the committed variants alone
    for found, name in zip(others, ("tiny-math", "tiny-chat"), strict=True):
        assert found == [["tiny-base", name], ["tiny-more", name]]
    assert seen["panels"][0] == [[0, *pair] for pair in code]
    assert machine.look("paper")["rows"] == machine.look("paper")["own"]
    assert machine.add("--remove", "mine") == "tiny mine tiny-base"
    assert machine.look("tiny")["rows"] == TINY


@pytest.mark.slow
def test_an_aligned_model_has_a_panel_in_figure_3(machine, checkpoint):
    aligned = ("--model", checkpoint, "--added", "alignment")
    machine.add(*aligned, "--base", "tiny-base", "--name", "chatty")
    machine.add(*aligned, "--base", "tiny-code", "--name", "code-chatty")
    assert machine.look("tiny")["panels"][2] == [
        [0, "tiny-base", "tiny-chat"], [0, "tiny-more", "tiny-chat"], [0, "tiny-base", "chatty"],
        [1, "tiny-code", "code-chatty"],
    ]  # fmt: skip


def test_repositories_of_the_hub(machine):
    which = ("--model", "org/new-math", "--revision", COMMIT)
    added = machine.add(*which, "--base", "Llama-2-7b-hf", "--added", "math")
    assert added == "paper new-math Llama-2-7b-hf"
    [row] = machine.rows()
    assert (row["hub_id"], row["revision"]) == ("org/new-math", COMMIT)
    assert (row["size"], row["base"]) == ("7B", "Llama-2-7b-hf")
    seen = machine.look("paper")
    assert seen["pairs"][1][-1] == ["Llama-2-7b-hf", "new-math"]
    assert len(seen["own"]) == 29
    assert machine.look("reported")["rows"] == seen["own"]


def test_a_base_that_is_new_is_added_too(machine):
    line = ("--model", "org/b-code", "--base", "org/a", "--size", "3B", "--profile", "modern")
    assert machine.add(*line) == "modern b-code a"
    assert machine.add(*line) == "modern b-code a"  # again: the same rows
    assert [(row["name"], row["base"]) for row in machine.rows()] == [("a", None), ("b-code", "a")]
    assert machine.look("modern")["pairs"][0][-1] == ["a", "b-code"]
    assert machine.refused("--remove", "a") == "a is the base of b-code; remove that first"


@pytest.mark.slow
def test_the_weights_of_a_folder_are_counted(machine, checkpoint):
    assert machine.add("--model", checkpoint) == "tiny mine"
    assert machine.rows()[0]["size"] == "1.1M"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--model nowhere", r"nowhere: neither a folder nor a repository of the hub \(org/name\)"),
        ("--model {}/empty", r"{}/empty: no config\.json; name the folder of a whole checkpoint"),
        ("--model org/x", r"x: its size is not known; give --size, e\.g\. 7B or 350M"),
        ("--model org/x --size huge", r"x: its size is 'huge'; give --size"),
        ("--model org/x --base tiny-bse", r"unknown model 'tiny-bse'; did you mean tiny-base"),
        ("--model org/x --base tiny-base --revision main", r"--revision main: not a commit of 40 digits"),
        ("--model org/x --base tiny-base --added vision", r"argument --added: invalid choice"),
        (
            "--model org/tiny-code --base tiny-base",
            r"tiny-code: the table has a row of this name; give another with ARGS",
        ),
        ("--model org/TINY-Code --base tiny-base", r"TINY-Code: the table has a row"),
        ("--model org/x --base tiny-base --name a/b", r"a/b: a name has letters, digits"),
        ("--model {}/mine --revision " + COMMIT, r"--revision: {}/mine is a folder"),
        ("--model org/x --size 1B --profile reported", r"profile reported has the paper's printed numbers"),
        ("--remove tiny-base", r"tiny-base: no such row was added; those are none"),
        ("", r"one of the arguments --model --remove is required"),
    ],
)
def test_what_is_refused(alone, checkpoint, options, message, tmp_path):
    (tmp_path / "empty").mkdir()
    status, out, said = alone(*options.replace("{}", str(tmp_path)).split())
    assert (status, out, said.count("\n")) == (2, "", 0)
    assert re.match(message.replace("{}", re.escape(str(tmp_path))), said), said
    assert not (tmp_path / "records").exists()


def test_no_row_is_trained_from_itself(machine):
    machine.add("--model", "org/a", "--size", "1B")
    machine.add("--model", "org/b", "--base", "a")
    assert machine.refused("--model", "org/a", "--base", "b").startswith("a would be trained from itself")


@pytest.mark.slow
def test_a_name_stays_one_model_with_one_base_until_it_is_removed(machine, checkpoint, tmp_path):
    mine = ("--model", checkpoint, "--base", "tiny-base")
    machine.add(*mine)
    before = machine.rows()
    remove = "take it out first with make model REMOVE=mine"
    rename = 'give another with ARGS="--name NAME"'
    other = Path(shutil.copytree(checkpoint, tmp_path / "elsewhere" / "mine"))
    for line, said in (
        (("--model", checkpoint, "--base", "tiny-math"), "base tiny-base, not tiny-math"),
        (("--model", checkpoint), "base tiny-base, not none"),
        ((*mine, "--added", "math"), "added code, not math"),
        (("--model", other, "--base", "tiny-base"), f"path {checkpoint}, not {other}"),
        (("--model", "org/x", "--base", other), "base tiny-base, not none"),
    ):
        assert machine.refused(*line) == f"mine was added with {said}; {remove}, or {rename}"
        assert machine.rows() == before
    assert machine.add(*mine, "--label", "Mine") == "tiny mine tiny-base"
    machine.add("--remove", "mine")
    assert machine.add("--model", checkpoint, "--base", "tiny-math") == "tiny mine tiny-math"


@pytest.mark.slow
def test_a_base_may_be_the_folder_of_a_row(machine, checkpoint, tmp_path):
    base = Path(shutil.copytree(TINY_FOLDER / "tiny-base", tmp_path / "my-base"))
    for _ in range(2):  # the second time it is a row already
        line = ("--model", checkpoint, "--base", base, "--profile", "paper")
        assert machine.add(*line) == "paper mine my-base"
    rows = [(row["name"], row.get("base")) for row in machine.rows()]
    assert rows == [("my-base", None), ("mine", "my-base")]
    machine.add("--remove", "mine")
    line = ("--model", checkpoint, "--base", TINY_FOLDER / "tiny-math")
    assert machine.add(*line) == "tiny mine tiny-math"


@pytest.mark.parametrize("line", ["--model {} --base tiny-base", "--model org/x --base {}"])
def test_a_folder_without_a_tokenizer_leaves_no_record(alone, checkpoint, line):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (checkpoint / name).unlink()
    status, out, said = alone(*line.replace("{}", str(checkpoint)).split())
    assert (status, out, said.count("\n")) == (2, "", 0)
    assert said.startswith(f"{checkpoint}: no tokenizer (none of tokenizer.json, ")
    assert not (checkpoint.parent / "records").exists()


def test_a_snapshot_in_the_hubs_cache_is_named_as_its_repository(machine, checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(hub, "REVISIONS", machine.records / "revisions.json")
    blobs = tmp_path / "hub" / "models--some-org--new--model" / "blobs"
    snapshot = blobs.parent / "snapshots" / COMMIT
    shutil.copytree(checkpoint, blobs)
    snapshot.mkdir(parents=True)
    for path in blobs.iterdir():
        (snapshot / path.name).symlink_to(path)
    assert machine.add("--model", snapshot, "--base", "tiny-base") == "tiny new--model tiny-base"
    [row] = machine.rows()
    assert (row["path"], "hub_id" in row and row["hub_id"]) == (str(snapshot), None)
    which = ("--profile", "tiny", "--models", "new--model")
    capsys.readouterr()
    assert run_script("tools/fetch_weights.py", *which) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"new--model: in {snapshot}"
    assert not (machine.records / "revisions.json").exists()


@pytest.mark.parametrize("parent", ["100 % sure", "a#b", "my$HOME", "it's", "größer"])
def test_a_folder_lies_where_it_may(alone, checkpoint, tmp_path, parent):
    moved = tmp_path / parent / "mine"
    moved.parent.mkdir()
    checkpoint.rename(moved)
    assert alone("--model", moved, "--base", "tiny-base")[:2] == (0, "tiny mine tiny-base")
    [row] = read_added()
    assert row.path == str(moved)


@pytest.mark.parametrize("name", ["50%", "two words", "a#b", "a$b", "größer"])
def test_a_row_needs_a_plain_name(alone, checkpoint, tmp_path, name):
    moved = checkpoint.rename(tmp_path / name)
    rename = 'give another with ARGS="--name NAME"'
    said = f"{name}: a name has letters, digits and . _ - alone; {rename}"
    line = ("--model", moved, "--base", "tiny-base")
    assert alone(*line) == (2, "", said)
    assert alone(*line, "--name", "plain")[:2] == (0, "tiny plain tiny-base")


@pytest.mark.parametrize("content", ["{", '{"models": [{"name": "x"}]}', '{"models": 3}', "{}"])
def test_a_damaged_file_is_one_line_where_the_table_is_asked_for(machine, content, tmp_path, capsys):
    machine.records.mkdir()
    (machine.records / "added.json").write_text(content)
    unfinished = ("tools/unfinished.py", "--profile", "tiny", "--runs", tmp_path)
    assert refusal(capsys, *unfinished).startswith(f"{machine.records}/added.json: ")
    assert machine.refused("--remove", "x").startswith(f"{machine.records}/added.json: ")
    assert len(models_of("paper", extra=False)) == len(models_of("reported")) == 29
    assert table.spec_of("tiny-base").name == "tiny-base"


@pytest.mark.slow
def test_tables_and_figures_have_it_and_the_claims_have_not(machine, checkpoint, tmp_path, monkeypatch):
    machine.add("--model", checkpoint, "--base", "tiny-base", "--label", "My Code")
    results, out = tmp_path / "results", tmp_path / "out"
    write_scores(results, "tiny")
    for module in (tables, figures):
        given = ["--profile", "tiny", "--results", str(results), "--out", str(out)]
        monkeypatch.setattr("sys.argv", [module.__name__, *given])
        with pytest.raises(SystemExit) as ended:
            module.main()
        assert ended.value.code == 0
    assert re.search(r"^\| My Code +\|", (out / "table6.md").read_text(), re.MULTILINE)
    assert "mine,My Code,run,all" in (out / "table6.csv").read_text()
    assert "My Code" in (out / "table4.csv").read_text()
    assert b"mine" not in (out / "figure2.pdf").read_bytes()
    ids = [claim.id for claim in claims_of("tiny")]
    assert ids.count("tiny-code") == 1
    assert "mine" not in ids


# --- GGUF files ---


@pytest.fixture
def written(tmp_path, monkeypatch) -> Path:
    """Where GGUF files are written out to."""
    for module in ("boxes.models.table", "boxes.models.gguf_files"):
        monkeypatch.setattr(f"{module}.GGUF_FOLDER", tmp_path / "gguf")
    return tmp_path / "gguf"


def test_a_gguf_file_is_a_row_that_says_its_quantisation(machine, written, tmp_path):
    write_gguf(tmp_path / "mini-Q4_0.gguf", "Q4_0")
    which = ("--model", tmp_path / "mini-Q4_0.gguf", "--base", "tiny-base", "--name", "mini")
    assert machine.add(*which) == "tiny mini tiny-base"
    [row] = machine.rows()
    folder = written / "mini"
    assert (row["label"], row["path"]) == ("mini (Q4_0)", str(folder))
    assert (folder / "model.safetensors").is_file()
    assert machine.add("--remove", "mini") == "tiny mini tiny-base"
    assert not folder.exists()


def test_a_gguf_file_of_the_table_is_its_row(alone, written, tmp_path, monkeypatch):
    write_gguf(tmp_path / "some.gguf")
    packaged = Packaged((), 0, sha256_file(tmp_path / "some.gguf"))
    spec = dataclasses.replace(MODELS["gemma-3-270m-q4_k_m"], packaged=packaged)
    monkeypatch.setitem(MODELS, spec.name, spec)
    status, out, err = alone("--model", tmp_path / "some.gguf")
    assert (status, out) == (0, "small gemma-3-270m-q4_k_m")
    assert "is this file's row of profile small" in err
    assert (written / spec.name / "config.json").is_file()
    assert not (tmp_path / "records/added.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--model {}/none.gguf", "{}/none.gguf: no such file"),
        ("--model {}/text.gguf", "{}/text.gguf: not a GGUF file; fetch the file again"),
        ("--model {}/text.gguf --name a/b", "a/b: a name has letters, digits"),
        ("--model org/x --size 1B --base {}/none.gguf", "{}/none.gguf: no such file"),
    ],
)
def test_a_gguf_file_that_cannot_be(alone, written, tmp_path, options, message):
    (tmp_path / "text.gguf").write_text("a page that says no")
    status, out, err = alone(*options.format(*[tmp_path] * options.count("{}")).split())
    assert (status, out, err.count("\n")) == (2, "", 0)
    assert err.startswith(message.format(tmp_path))
    assert not (tmp_path / "records/added.json").exists()
