"""make score and make prompts: a row that was decoded elsewhere, through tables, figures and archive; prompts byte for
byte."""

import json
from pathlib import Path

import pytest
from results_fixture import write_results
from runs_fixture import DESCRIPTIONS, fill_workplace
from scripts_fixture import files, refusal, run_script

from boxes.models import table
from boxes.models.pairs import figure_panels
from boxes.models.table import read_added
from boxes.prompting import STATEMENT_HEAD, STATEMENT_REGEX, chat_messages, statement_prompt
from boxes.records import read_csv, read_json, write_text
from boxes.runs.elsewhere import read_elsewhere
from boxes.runs.task import read_task
from paper.results import read_results
from paper.tables import table4, table6

SCORE, PROMPTS = "tools/score.py", "tools/prompts.py"


@pytest.fixture
def workplace(tmp_path, monkeypatch) -> Path:
    """Two states, runs of tiny-base and tiny-code beside the runs of the profile, and no rows added."""
    monkeypatch.setattr(table, "ADDED_ROWS", tmp_path / "records" / "added.json")
    table._added.cache_clear()
    fill_workplace(tmp_path)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "tiny").symlink_to(tmp_path / "runs")
    yield tmp_path
    table._added.cache_clear()


def arguments(folder: Path, *more: object, predictions: object = "runs/tiny-code/predictions.jsonl") -> list[object]:
    where = ("--data", folder / "data.jsonl", "--runs", folder / "profiles")
    return [SCORE, "--predictions", folder / str(predictions), "--name", "mine", *where, *more]


def added(folder: Path, capsys, *more: object) -> tuple[str, str]:
    """Score as `mine`; stdout and stderr."""
    capsys.readouterr()
    assert run_script(*arguments(folder, *more)) == 0
    table._added.cache_clear()
    return capsys.readouterr()


def scored(folder: Path) -> Path:
    names = {"--data": "data.jsonl", "--runs": "runs", "--random": "random.csv", "--out": "out"}
    words = [part for option, name in names.items() for part in (option, folder / name)]
    assert run_script("05_score.py", "--profile", "tiny", *words) == 0
    return folder / "out"


def test_a_row_has_the_numbers_of_the_run_it_copies(workplace, capsys):
    """Our own predictions handed in as another's: the same scores, and a row that says where from."""
    out, err = added(workplace, capsys, "--base", "tiny-base", "--engine", "vLLM 0.11")
    assert out == "tiny mine tiny-base\n"
    assert "mine: 2 of 2 descriptions answered\n" in err
    assert "mine: not stated: --prompt --revision --dtype --device --max-new-tokens --constrained; say it" in err
    assert err.split("\n")[-2].split() == ["1+", "1", "0.00", "0.00"]
    run = read_json(workplace / "runs/mine/run.json")
    assert (run["decoded"], run["engine"], run["prompt_format"], run["dtype"], run["not_answered"]) == (
        "elsewhere", "vLLM 0.11", "not stated", "not stated", 0
    )  # fmt: skip
    scores = read_csv(scored(workplace) / "scores.csv")
    numbers = {name: rows.drop(columns="model").to_csv(index=False) for name, rows in scores.groupby("model")}
    assert numbers["mine"] == numbers["tiny-code"] != numbers["tiny-base"]
    runs = read_csv(workplace / "out/runs.csv").set_index("model")
    assert (runs.reason["mine"], runs.dtype["mine"]) == ("decoded elsewhere", "not stated")


def test_tables_and_figures_mark_it(workplace, capsys):
    added(workplace, capsys, "--base", "tiny-base")
    results = read_results("tiny", write_results(workplace / "results", "tiny"))
    labels = [row[0] for row in table6(results).body]
    assert "mine (decoded elsewhere)" in labels
    row = next(row for row in table4(results).body if row[0] == "mine (decoded elsewhere)")
    assert row[1:3] == ("decoded elsewhere", "-")
    assert row[-1] == "not stated"
    legends = [line[0] for panel in figure_panels(1, "tiny") for line in panel.lines]
    assert "mine (decoded elsewhere)" in legends


def test_an_archive_of_it_is_taken_apart_again(workplace, capsys):
    added(workplace, capsys, "--base", "tiny-base", "--prompt", "table2", "--max-new-tokens", 99)
    scored(workplace)
    packed = workplace / "tiny.tar.zst"
    words = ("--results", workplace / "out", "--runs", workplace / "runs")
    assert run_script("tools/archive.py", "--profile", "tiny", *words, "--out", packed) == 0
    assert run_script("tools/archive.py", "--unpack", packed, "--out", workplace / "unpacked") == 0
    assert read_json(workplace / "unpacked/runs/mine/run.json")["max_new_tokens"] == 99


def test_it_is_neither_decoded_nor_fetched(workplace, capsys):
    added(workplace, capsys)
    assert run_script("tools/fetch_weights.py", "--profile", "tiny", "--models", "mine") == 0
    assert run_script("tools/doctor.py", "--profile", "tiny", "--models", "mine", "--bench", workplace / "none") == 0
    capsys.readouterr()
    status = workplace / "status.csv"
    words = ("--data", workplace / "data.jsonl", "--runs", workplace / "runs", "--out", status)
    assert run_script("04_decode.py", "--profile", "tiny", "--models", "mine", *words) == 0
    assert read_csv(status).status.tolist() == ["complete"]


def test_scored_again_it_has_the_new_answers_and_the_old_are_kept(workplace, capsys):
    added(workplace, capsys)
    before = files(workplace / "runs/mine")["predictions.jsonl"]
    added(workplace, capsys)
    assert set(files(workplace / "runs/mine")) == {"predictions.jsonl", "run.json"}
    write_text(workplace / "half.jsonl", before.decode().splitlines()[0])
    capsys.readouterr()
    assert run_script(*arguments(workplace, predictions="half.jsonl")) == 0
    assert "1 of 2 descriptions answered, 1 counted as not answered" in capsys.readouterr().err
    assert files(workplace / "runs/mine")["superseded-1/predictions.jsonl"] == before
    run = read_json(workplace / "runs/mine/run.json")
    assert (run["reason"], run["invalid"]) == ("decoded elsewhere; 1 of 2 descriptions not answered", 1)
    assert len(read_added()) == 1


def test_another_dataset_has_a_folder_of_its_own(workplace, capsys):
    added(workplace, capsys, "--suffix=-look20")
    assert set(files(workplace / "profiles/tiny-look20/mine")) == {"predictions.jsonl", "run.json"}
    assert not (workplace / "runs/mine").exists()
    scored(workplace)
    runs = read_csv(workplace / "out/runs.csv").set_index("model")
    assert runs.reason["mine"] == "no run.json; make score, or take the row out"


def test_a_base_that_was_not_run_is_said_to_be(workplace, capsys):
    """No gain is shown, and none is in code.csv."""
    added(workplace, capsys, "--base", "tiny-math")
    scored(workplace)
    out = workplace / "out"
    assert run_script("06_code.py", "--profile", "tiny", "--results", out, "--out", out / "code.csv") == 0
    effects = read_csv(out / "code.csv").set_index("treated")
    assert (effects.base["mine"], effects.status["mine"]) == ("tiny-math", "not run")
    capsys.readouterr()
    words = ("--profile", "tiny", "--model", "mine", "--runs", workplace / "runs", "--results", out)
    assert run_script("tools/gain.py", *words) == 3
    said = capsys.readouterr().err
    assert said == "gain.py: no gain to show; tiny-math: not run (no run.json; decode first)\n"


def test_a_row_stays_what_it_is(workplace, capsys):
    added(workplace, capsys, "--base", "tiny-base")
    before = files(workplace)
    line = refusal(capsys, *arguments(workplace, "--base", "tiny-math"))
    mend = "take it out first with make model REMOVE=mine, or give another with NAME="
    assert line == f"mine was added with base tiny-base, not tiny-math; {mend}"
    assert files(workplace) == before


def test_what_is_no_statement_is_counted(workplace, capsys):
    lines = [{"sample_id": 3, "num_operations": number, "prediction": "I cannot say."} for number in (0, 1)]
    write_text(workplace / "idle.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    assert run_script(*arguments(workplace, predictions="idle.jsonl")) == 0
    assert "mine: 2 of them with no whole statement; they are judged as they stand\n" in capsys.readouterr().err


REFUSED = [
    (("--name", "a/b"), "a/b: a name has letters, digits and . _ - alone; give another with NAME="),
    (("--name", "../mine"), "../mine: a name has letters, digits and . _ - alone; "),
    (("--name", ""), ": a name has letters, digits and . _ - alone; "),
    (
        ("--predictions", "table.csv"),
        "table.csv: line 1: not JSON, or cut short (Expecting value at character 1); write ",
    ),
    (
        ("--predictions", "other.jsonl"),
        "other.jsonl: line 1: no field 'prediction', but ['id', 'output']; call the text so",
    ),
    (
        ("--predictions", "null.jsonl"),
        "null.jsonl: line 1: field 'prediction' must be a text; leave the line out where ",
    ),
    (("--predictions", "empty.jsonl"), "empty.jsonl: empty; name the predictions, one JSON object a line"),
    (("--predictions", "."), ".: cannot be read (Is a directory); check the file and its permissions"),
    (("--profile", "reported"), "argument --profile: invalid choice: 'reported'"),
    (("--added", "maths"), "argument --added: invalid choice: 'maths'"),
    (("--constrained", "maybe"), "argument --constrained: invalid choice: 'maybe'"),
    (("--runs", "table.csv"), "argument --runs: table.csv is a file, not a folder; see --help"),
    (("--name", "status.csv"), "status.csv: among the runs there is a file of this name; give another with NAME="),
    (("--name", "tiny-code"), "tiny-code: the table has a row of this name; give another with NAME="),
    (("--name", "Tiny-Code"), "Tiny-Code: the table has a row of this name; give another with NAME="),
    (("--base", "tiny-bse"), "unknown model 'tiny-bse'; did you mean tiny-base"),
    (("--data", "none.jsonl"), "none.jsonl: no such file; `make data` writes it"),
    (("--predictions", "none.jsonl"), "none.jsonl: no such file; name the predictions"),
    (("--max-new-tokens", "0"), "argument --max-new-tokens: must be a whole number from 1 on, not '0'; see --help"),
    (("--size", "big"), "mine: its size is 'big'; give --size, e.g. 7B or 350M"),
    (("--prompt", "tabel2"), "argument --prompt: invalid choice: 'tabel2'"),
]


@pytest.mark.parametrize(("more", "message"), REFUSED)
def test_what_cannot_be_is_refused_and_nothing_written(workplace, capsys, monkeypatch, more, message):
    monkeypatch.chdir(workplace)
    write_text("table.csv", "sample_id,num_operations,prediction\n3,0,the car\n")
    write_text("other.jsonl", '{"id": 3, "output": "the car"}\n')
    write_text("null.jsonl", '{"sample_id": 3, "num_operations": 0, "prediction": null}\n')
    write_text("empty.jsonl", "")
    before = files(workplace)
    assert refusal(capsys, *arguments(workplace, *more)).startswith(message)
    assert files(workplace) == before


def test_a_run_of_ours_is_no_row_decoded_elsewhere(workplace, capsys):
    """Nor the other way round: predictions do not change what they are."""
    added(workplace, capsys)
    run = read_json(workplace / "runs/mine/run.json")
    del run["decoded"]
    write_text(workplace / "runs/mine/run.json", json.dumps(run))
    names = {"--data": "data.jsonl", "--runs": "runs", "--random": "random.csv", "--out": "other"}
    words = [part for option, name in names.items() for part in (option, workplace / name)]
    line = refusal(capsys, "05_score.py", "--profile", "tiny", *words)
    assert line.endswith("run.json: decoded here or elsewhere, the table says otherwise; score or decode again")


# --- prompts ---


def prompts(folder: Path, *more: object) -> list[dict]:
    out = folder / "prompts.jsonl"
    assert run_script(PROMPTS, "--data", folder / "data.jsonl", "--out", out, *more) == 0
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_prompts_are_those_of_the_runs(workplace):
    lines = prompts(workplace)
    for line, description in zip(lines, DESCRIPTIONS, strict=True):
        assert line["input"] == description
        assert line["prompts"] == {style: statement_prompt(description, style) for style in ("table2", "released")}
        assert line["messages"]["system_role"] == chat_messages(description)
        assert line["messages"]["no_system_role"] == chat_messages(description, False)
        assert STATEMENT_HEAD + line["regex"]["table2"] == line["regex"]["chat"] == STATEMENT_REGEX
    assert [(line["sample_id"], line["num_operations"]) for line in lines] == [(3, 0), (3, 1)]


def test_a_batch_of_vllm_goes_there_and_back(workplace):
    """Requests, answered as its server answers them, are read as they are."""
    lines = prompts(workplace, "--batch", "vllm", "--model", "org/name")
    assert {line["url"] for line in lines} == {"/v1/completions"}
    assert lines[1]["body"]["prompt"] == statement_prompt(DESCRIPTIONS[1])
    assert lines[0]["body"]["structured_outputs"] == {"regex": STATEMENT_REGEX.removeprefix(STATEMENT_HEAD)}
    rest = " the car" + ", ".join(["", *(f"Box {box} contains nothing" for box in range(1, 7))]) + "."
    answers = []
    for line in lines:
        body = {"choices": [{"text": rest, "finish_reason": "stop"}]}
        answers.append(json.dumps({"custom_id": line["custom_id"], "response": {"body": body}, "error": None}))
    write_text(workplace / "answers.jsonl", "\n".join(answers))
    task = read_task(workplace / "data.jsonl")
    found, missing = read_elsewhere(workplace / "answers.jsonl", task.by_key, STATEMENT_HEAD)
    assert missing == []
    assert {(line["prediction"], line["status"]) for line in found.values()} == {(STATEMENT_HEAD + rest, "ok")}


def test_a_batch_of_openai_is_a_chat_with_a_schema(workplace):
    [line, _] = prompts(workplace, "--batch", "openai", "--model", "m")
    assert (line["method"], line["url"], line["custom_id"]) == ("POST", "/v1/chat/completions", "3-0")
    schema = line["body"]["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["statement"]["pattern"] == f"^{STATEMENT_REGEX}$"
    [free, _] = prompts(workplace, "--batch", "vllm", "--model", "m", "--prompt", "chat", "--free", "--no-system-role")
    assert free["body"]["messages"] == chat_messages(DESCRIPTIONS[0], False)
    assert "structured_outputs" not in free["body"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--batch", "vllm"), "--batch needs --model"),
        (("--model", "m"), "--model: is for --batch; without, all prompts are written"),
        (("--free",), "--free: is for --batch"),
        (("--batch", "openai", "--model", "m", "--prompt", "table2"), "--prompt table2: OpenAI's structured output"),
        (
            ("--batch", "vllm", "--model", "m", "--no-system-role"),
            "--no-system-role: is for chats, not for --prompt tab",
        ),
        (("--data", "prompts.jsonl", "--out", "./prompts.jsonl"), "--out prompts.jsonl: is the dataset itself; name "),
        (("--batch", "vlm"), "argument --batch: invalid choice: 'vlm'"),
        (("--data", "none.jsonl"), "none.jsonl: no such file; `make data` writes it"),
        (("--out", "/"), "argument --out: / is a folder; name a file; see --help"),
    ],
)
def test_prompts_that_cannot_be_are_refused(workplace, capsys, monkeypatch, more, message):
    monkeypatch.chdir(workplace)  # the artifact's own folder may be read only
    out = workplace / "prompts.jsonl"
    assert refusal(capsys, PROMPTS, "--data", workplace / "data.jsonl", "--out", out, *more).startswith(message)
    assert not out.exists()
