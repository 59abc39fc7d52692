"""The tasks for lm-evaluation-harness, without it: prompts, truths and scores are those of the runs; and the comparison."""

import json
import math
import re
from itertools import chain
from operator import itemgetter

import pytest
import yaml
from runs_fixture import DESCRIPTIONS, TRUTHS, add_run, fill_workplace
from scenarios_fixture import scenarios, write_dataset
from scripts_fixture import ROOT, refusal, run_script

from boxes.dataset import write_states
from boxes.generation import NUM_OPERATIONS
from boxes.prompting import EXAMPLES, INSTRUCTION, STATEMENT_HEAD, chat_messages, statement_prompt
from boxes.records import UserError, read_csv
from boxes.score_tables import BUCKETS
from boxes.world import CONTAINERS
from experiments.tools.lm_eval import boxes_task

FOLDER = ROOT / "experiments/tools/lm_eval"
COMPARE = "tools/compare_lm_eval.py"


class Loader(yaml.SafeLoader):
    """YAML whose `!function module.name` is that function's name."""


Loader.add_constructor("!function", lambda loader, node: getattr(boxes_task, node.value.removeprefix("boxes_task.")))


def task(name: str) -> dict:
    return yaml.load((FOLDER / f"{name}.yaml").read_text(), Loader)


def doc(number: int) -> dict:
    return {"sample_id": 3, "num_operations": number, "input": DESCRIPTIONS[number]}


def statement(contents) -> str:
    return "Statement: " + ", ".join(f"Box {b} contains {c}" for b, c in enumerate(contents)) + "."


def test_the_prompt_is_that_of_the_runs():
    plain, chat = task("boxes"), task("boxes_chat")
    assert plain["doc_to_text"](doc(1)) == statement_prompt(DESCRIPTIONS[1])
    assert plain["num_fewshot"] == 0
    turns = [("system", chat["description"])]
    shots = chat["fewshot_config"]
    for shot in shots["samples"]():
        turns += [("user", shots["doc_to_text"](shot)), ("assistant", shots["doc_to_target"](shot))]
    turns.append(("user", chat["doc_to_text"](doc(1))))
    assert [{"role": role, "content": text} for role, text in turns] == chat_messages(DESCRIPTIONS[1])
    assert (chat["description"], chat["num_fewshot"]) == (INSTRUCTION, len(EXAMPLES))
    assert plain["doc_to_target"](doc(1)) == statement(TRUTHS[1])


def test_every_score_is_listed_with_how_it_is_added_up():
    listed = {metric["metric"]: metric["aggregation"] for metric in task("boxes")["metric_list"]}
    assert set(listed) == set(boxes_task.process_results(doc(0), [""]))
    assert set(listed.values()) == {boxes_task.share}
    assert {f"{prefix}acc_{name}" for prefix in ("", "released_") for name in (*BUCKETS, "1plus")} <= set(listed)
    assert boxes_task.share([(3, 7), (1, 7), (0, 0)]) == 4 / 14
    assert math.isnan(boxes_task.share([(0, 0)]))


REST = statement(TRUTHS[1]).removeprefix(STATEMENT_HEAD).removesuffix(".")
TEXTS = {"as it was": REST, "without its space": REST[1:], "with a period": REST + ". Description:"}


@pytest.mark.parametrize("text", TEXTS)
def test_what_the_harness_leaves_of_a_statement_is_right(text):
    scores = boxes_task.process_results(doc(1), [TEXTS[text]])
    assert (scores["acc"], scores["acc_1plus"], scores["released_acc_0"]) == ((7, 7), (1, 1), (6, 6))
    assert boxes_task.process_whole(doc(1), [statement(TRUTHS[1])])["acc"] == (7, 7)
    assert boxes_task.process_results(doc(1), [REST.replace("map", "car")])["acc_1"] == (0, 1)


def group() -> dict:
    """boxes_by_operations as the harness has it: what of boxes.yaml is no field of a group is each task's."""
    return task("boxes") | task("boxes_by_operations")


def test_a_group_has_a_task_for_each_number_of_operations():
    assert task("boxes_by_operations")["include"] == "boxes.yaml"
    tasks = group()["task"]
    assert [one["dataset_kwargs"] for one in tasks] == [{"operations": count} for count in range(NUM_OPERATIONS + 1)]
    for count, one in enumerate(tasks):
        assert one["task_alias"] == f"{count} operation{'' if count == 1 else 's'}"
        assert one["task"] == f"boxes_{one['task_alias']}".replace(" ", "_")
        assert set(one) == {"task", "task_alias", "dataset_kwargs", "metadata"}
        assert one["metadata"] == task("boxes")["metadata"]
    assert {metric["metric"] for metric in group()["aggregate_metric_list"]} == {"acc", "released_acc"}
    assert all(metric["weight_by_size"] for metric in group()["aggregate_metric_list"])


def test_the_groups_mean_is_the_tasks(tmp_path):
    """Its tasks have every description once; weighed by descriptions, their accuracies are that of boxes."""
    path = write_dataset(tmp_path / "data.jsonl", count=3, operations=NUM_OPERATIONS)
    whole = boxes_task.documents(path)
    parts = [boxes_task.documents(path, **one["dataset_kwargs"]) for one in group()["task"]]
    assert [{doc["num_operations"] for doc in part} for part in parts] == [{count} for count in range(len(parts))]
    key = itemgetter("sample_id", "num_operations")
    assert sorted(chain(*parts), key=key) == sorted(whole, key=key)
    told = REST  # of another description: right of some boxes
    for metric in group()["aggregate_metric_list"]:
        name = metric["metric"]
        shares = [boxes_task.process_results(doc, [told])[name] for doc in whole]
        means = [boxes_task.share([boxes_task.process_results(doc, [told])[name] for doc in part]) for part in parts]
        weighed = sum(mean * len(part) for mean, part in zip(means, parts, strict=True)) / len(whole)
        assert weighed == pytest.approx(boxes_task.share(shares))
        assert 0 < weighed < 1


def test_what_a_group_would_leave_out_is_refused(tmp_path):
    none = write_dataset(tmp_path / "none.jsonl", operations=3)
    long = write_dataset(tmp_path / "long.jsonl", operations=NUM_OPERATIONS + 1)
    other = tmp_path / "other.jsonl"
    write_states(other, scenarios(1), wording=CONTAINERS)
    assert len(boxes_task.documents(none)) == 8
    assert len(boxes_task.documents(long)) == 2 * (NUM_OPERATIONS + 2)
    for path, operations, message in [
        (none, 4, "no description with 4 operations; use the task boxes"),
        (long, 4, "has descriptions with 13 operations, which boxes_by_operations would leave out; use the task boxes"),
        (other, None, "in the wording containers, which these tasks do not have; use make prompts and make score"),
        (tmp_path / "no.jsonl", None, "no such file; `make data` writes it"),
    ]:
        with pytest.raises(UserError, match=f"^{path}: {message}$"):
            boxes_task.documents(path, operations)


def test_requirements_are_those_of_the_artifact_and_the_harness():
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "requirements.in").read_text(), re.MULTILINE))
    lines = re.findall(r"^([\w-]+)==(\S+)$", (FOLDER / "requirements.txt").read_text(), re.MULTILINE)
    shared = {name: version for name, version in lines if name in pinned}
    assert shared == {name: pinned[name] for name in shared}
    assert {"torch", "transformers", "pandas"} <= set(shared)
    assert "lm_eval" in dict(lines)


# --- the comparison ---


@pytest.fixture
def workplace(tmp_path):
    """A free run of tiny-base, all right, and the harness's samples of the same texts."""
    fill_workplace(tmp_path)
    add_run(tmp_path, "tiny-base", TRUTHS, regex=None)
    samples(tmp_path, [REST.replace("the map", "nothing"), REST])
    return tmp_path


def samples(folder, texts, **changes) -> None:
    out = folder / "out"
    out.mkdir(exist_ok=True)
    (out / "results_2026.json").write_text('{"lm_eval_version": "0.4.13", "transformers_version": "5.23.0"}')
    lines = [{"doc": doc(number) | changes, "resps": [[text]]} for number, text in enumerate(texts)]
    (out / "samples_boxes_2026.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def compared(folder) -> list[object]:
    words = ("--data", folder / "data.jsonl", "--out", folder / "compared.csv")
    return [COMPARE, "--lm-eval", folder / "out", "--run", folder / "runs/tiny-base", *words]


def test_the_same_texts_are_the_same_answers(workplace, capsys):
    assert run_script(*compared(workplace)) == 0
    assert "ours: 0 of 14 answers differ, 0 of them cut by the token limit\n" in capsys.readouterr().out
    table = read_csv(workplace / "compared.csv")
    assert set(table.lm_eval_version) == {"0.4.13"}
    whole = table[table.num_ops == "all"].set_index("scorer")
    assert list(whole.ours) == list(whole.lm_eval) == [14, 14]


def test_a_difference_is_found_and_explained_where_ours_was_cut(workplace, capsys):
    samples(workplace, [REST.replace("the map", "nothing"), REST.replace("the map", "nothing")])
    assert run_script(*compared(workplace)) == 1
    assert capsys.readouterr().err == "compare_lm_eval.py: 2 differences are not explained\n"
    path = workplace / "runs/tiny-base/predictions.jsonl"
    path.write_text(path.read_text().replace('"status": "ok"', '"status": "truncated"'))
    assert run_script(*compared(workplace)) == 0


def test_what_cannot_be_compared_is_one_line(workplace, capsys):
    samples(workplace, [REST])
    assert "samples_boxes_2026.jsonl: 1 of 2 descriptions; " in refusal(capsys, *compared(workplace))
    samples(workplace, [REST, REST], input="Box 9")
    assert "line 1: no sample of the task boxes on this dataset; " in refusal(capsys, *compared(workplace))
    (workplace / "out/samples_boxes_2026.jsonl").unlink()
    assert "/out: no samples_boxes_2*.jsonl; run lm_eval again" in refusal(capsys, *compared(workplace))
    (workplace / "out/results_2026.json").unlink()
    assert "/out: no results_*.json; run lm_eval again" in refusal(capsys, *compared(workplace))
    add_run(workplace, "tiny-base", TRUTHS)
    assert "without the expression; name one" in refusal(capsys, *compared(workplace))
    assert not (workplace / "compared.csv").exists()


@pytest.mark.parametrize(("name", "meant"), [("daat", "data"), ("dataset", "data"), ("operation", "operations")])
def test_a_slip_in_metadata_is_named(name, meant):
    with pytest.raises(UserError, match=f"--metadata: unknown name {name}; did you mean {meant}"):
        boxes_task.dataset(**{name: "mine.jsonl"}, pretrained="x", dtype="float32")
