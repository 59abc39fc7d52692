"""However statements come in (a run, a file, a notebook, the harness), one reader, one scorer and one score table make the
numbers: what is changed there changes everywhere, and no module has a second one."""

import ast
import importlib
import re
from pathlib import Path

import pytest
from runs_fixture import DESCRIPTIONS, TRUTHS, fill_workplace, score_arguments
from scripts_fixture import run_script
from test_imports import MODULES

from boxes import score_tables, scoring, world
from boxes.dataset import read_examples
from boxes.evaluation import score_predictions, summarise
from boxes.mistakes import classify
from boxes.models import table
from boxes.records import read_csv
from experiments.tools.lm_eval import boxes_task

# name -> the module that has it. Whoever else has the name has imported it.
ONE = {
    "score_statement": "boxes.scoring",
    "read_statement": "boxes.scoring",
    "score_as_released": "boxes.release_scoring",
    "bucket_scores": "boxes.score_tables",
    "read_scores": "boxes.score_tables",
    "read_score_table": "boxes.score_tables",
    "clustered_wilson": "boxes.statistics",
    "paired_difference": "boxes.statistics",
    "paired_rows": "boxes.minimal_pairs",
    "classify": "boxes.mistakes",
    "read_examples": "boxes.dataset",
    "example_of": "boxes.dataset",
    "parse": "boxes.world",
    "replay": "boxes.world",
    "complete_predictions": "boxes.runs.folder",
    "read_elsewhere": "boxes.runs.elsewhere",
    "query_frame": "boxes.evaluation",
    "true_statement": "boxes.evaluation",
    "statement_prompt": "boxes.prompting",
    "chat_messages": "boxes.prompting",
}
# What a second reader of statements, descriptions or prompts would have to say. Drafts, the release's scorer and the pool of
# the random baseline are other things by design; make doctor says a statement to a tokenizer.
TELLING = re.compile(r"Box 0 contains|Box \(\[0-6\]\) contains|write a true statement")
SAYS_IT = {
    "boxes.scoring",
    "boxes.release_scoring",
    "boxes.world",
    "boxes.prompting",
    "boxes.runs.elsewhere",
    "boxes.decoding.drafting",
    "boxes.baseline",
    "experiments.tools.checkup",
}


@pytest.mark.parametrize("name", ONE)
def test_there_is_one_of_each(name):
    """By importing: every module that has the name has the same function."""
    home = importlib.import_module(ONE[name])
    defined = []
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name == name:
                defined.append(module)
    assert defined == [ONE[name]]
    users = [module for module in MODULES if re.fullmatch(r"(boxes|paper|experiments\.tools)\..*", module)]
    for module in users:
        text = MODULES[module].read_text(encoding="utf-8")
        if re.search(rf"\b{name}\b", text) and not module.endswith(("command_line", "outdated")):
            found = getattr(importlib.import_module(module), name, None)
            assert found in (None, getattr(home, name)), module


def strings(path: Path) -> list[str]:
    """The texts of a module's code, docstrings left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            docs.add(node.value)
    return [node.value for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and type(node.value) is str and node not in docs]  # fmt: skip


def test_no_other_module_speaks_of_statements():
    said = {module for module, path in MODULES.items() if any(map(TELLING.search, strings(path)))}
    assert said <= SAYS_IT
    assert {"boxes.scoring", "boxes.prompting"} <= said


@pytest.fixture
def workplace(tmp_path, monkeypatch) -> Path:
    """Runs of tiny-base, all right, and tiny-code; no rows added."""
    monkeypatch.setattr(table, "ADDED_ROWS", tmp_path / "records" / "added.json")
    table._added.cache_clear()
    yield fill_workplace(tmp_path)
    table._added.cache_clear()


def verdicts(folder: Path, capsys) -> dict[str, float]:
    """The accuracy of tiny-base's statements in every way that there is, in per cent."""
    data, path = folder / "data.jsonl", folder / "runs/tiny-base/predictions.jsonl"
    frame = score_predictions(read_examples(data), path)
    found = {"evaluation": summarise(frame).set_index("num_ops").accuracy["all"]}
    assert run_script(*score_arguments(folder)) == 0
    scores = read_csv(folder / "out/scores.csv").set_index(["model", "num_ops"])
    found["05_score"] = scores.accuracy["tiny-base", "all"]
    words = ("--data", data, "--runs", folder / "elsewhere", "--name", "mine", "--predictions", path)
    capsys.readouterr()
    assert run_script("tools/score.py", *words) == 0
    (line,) = re.findall(r"^all +14 +(\S+)", capsys.readouterr().err, re.MULTILINE)
    found["make score"] = float(line)
    assert run_script("11_errors.py", "--profile", "tiny", *words[:2], "--runs", folder / "runs",
                      "--out", folder / "errors.csv") == 0  # fmt: skip
    errors = read_csv(folder / "errors.csv")
    wrong = errors[(errors.model == "tiny-base") & (errors.kind == "wrong") & (errors.num_ops == "all")].n.item()
    found["11_errors"] = 100 * (14 - wrong) / 14
    shares = []
    for number, (text, truths) in enumerate(zip(DESCRIPTIONS, TRUTHS, strict=True)):
        doc = {"sample_id": 3, "num_operations": number, "input": text}
        told = ", ".join(f"Box {box} contains {contents}" for box, contents in enumerate(truths))
        shares.append(boxes_task.process_whole(doc, [f"Statement: {told}."])["acc"])
    found["harness"] = 100 * boxes_task.share(shares)
    found["mistakes"] = (
        100 * sum(kind is None for kind in classify(DESCRIPTIONS[0], f"Statement: {DESCRIPTIONS[0]}")) / 7
    )
    return found


def test_one_scorer_judges_everything(workplace, capsys, monkeypatch):
    """All agree; and where it judges otherwise, all of them do."""
    assert set(verdicts(workplace, capsys).values()) == {100.0}
    monkeypatch.setattr(scoring, "_same_contents", lambda predicted, truth: False)
    assert set(verdicts(workplace, capsys).values()) == {0.0}


def test_one_reader_reads_every_description(workplace, capsys, monkeypatch):
    def broken(description: str, wording=None):
        raise ValueError("not read")

    monkeypatch.setattr(world, "parse", broken)
    for words in (score_arguments(workplace), ["tools/prompts.py", "--data", workplace / "data.jsonl", "--out",
                                              workplace / "prompts.jsonl"]):  # fmt: skip
        assert run_script(*words) == 2
        assert "data.jsonl: line 1: not read; " in capsys.readouterr().err


def test_one_score_table_has_the_intervals(workplace, monkeypatch):
    monkeypatch.setattr(score_tables, "clustered_wilson", lambda correct, scenarios: (1.25, 2.5))
    frame = score_predictions(read_examples(workplace / "data.jsonl"), workplace / "runs/tiny-base/predictions.jsonl")
    assert set(summarise(frame).ci_low) == {1.25}
    assert run_script(*score_arguments(workplace)) == 0
    scores = read_csv(workplace / "out/scores.csv")
    assert set(scores.ci_low[scores.model != "Random"]) == {1.25}
