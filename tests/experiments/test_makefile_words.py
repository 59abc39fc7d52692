"""What may stand on make's command line, what is refused in one line, what help and clean do."""

import re

import pytest
from checkout_fixture import ROOT, make, run
from makefile_fixture import names

from experiments.tools.command_line import nearest


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["all", "PROFILE=tyni"], 'unknown PROFILE "tyni"; choose tiny, small, paper, modern or reported'),
        (["all", "MODELS=tiny-bse"], "unknown in MODELS: tiny-bse; PROFILE=tiny has tiny-base"),
        (["data", "DATA=release"], "DATA=release needs RELEASE_ZIP"),
        (["data", "DATA=release", "RELEASE_ZIP=/nope"], "RELEASE_ZIP=/nope: no such file; name the authors'"),
        (["all", "MODELS_DIR=/nope"], "MODELS_DIR=/nope: no such folder; name the one that has a folder a model"),
        (["data", "DATA=realease"], 'unknown DATA "realease"; choose generated or release'),
        (["table6", "profile=reported"], "unknown variable profile; did you mean PROFILE?"),
        (["all", "MODLES=tiny-base"], "unknown variable MODLES; did you mean MODELS?"),
        (["all", "GPUS=2"], "unknown variable GPUS; make help lists those there are"),
        (["weights", "PROFILE=paper", "MODEL=CodeLlama-7b-hf"],
         'MODEL= is for make model, not for weights; models of the table are chosen with MODELS="..."'),
        (["all", "BASE=tiny-base"], "BASE= is for make model, not for all"),
        (["score"], "make score needs PREDICTIONS=... and NAME=...; make help says what"),
        (["score", "PREDICTIONS=x.jsonl"], "make score needs NAME=...; make help says what"),
        (["score", "PREDICTIONS=x", "NAME=y", "MODELS=tiny-base"], "make score names one with NAME=, and its base"),
        (["prompts"], "make prompts needs OUT=...; make help says what"),
        (["prompts", "OUT=x.jsonl", "FORMAT=vllm"], "make prompts writes a batch file with BATCH=vllm or openai"),
        (["score", "PREDICTIONS=x", "NAME=y", "MODEL=org/name"], "MODEL= is for make model, not for score"),
        (["score", "PREDICTIONS=x", "NAME=y", "LIMIT=0"], "LIMIT=0: queries a bucket, a number from 1 to 9999"),
        (["data", "FORM=long", "DATASET=x.jsonl"], "DATASET= is for make all, not for data"),
        (["all", "OUT=x"], "OUT= is for make prompts, not for all"),
        (["prompts", "table6", "OUT=x"], "OUT= is for make prompts alone; make the other targets apart"),
        (["data", "FORM=long empty"], "FORM=long empty: name one of long, contents, empty, containers; each has a file"),
        (["data", "FORM=nonsense"], "FORM=nonsense: name one of long, contents, empty, containers"),
        (["check", "LIMIT=20"], "LIMIT= is for make all, not for check"),
        (["all", "archive", "LIMIT=20"], "LIMIT= is not the whole test set: make the other targets apart"),
        (["all", "DATASET=none.jsonl"], "DATASET=none.jsonl: no such file; name a JSONL with a description a line"),
        (["all", "DATASET=Makefile"], "DATASET=Makefile: a name of letters, digits and . _ - alone, and .jsonl"),
        (["all", "DATASET=x.jsonl", "LIMIT=3"], "LIMIT= looks into the test set, DATASET= is another one: name one"),
        (["check", "DATASET=x.jsonl"], "DATASET= is for make all, not for check"),
        (["all", "LIMIT=many"], "LIMIT=many: queries a bucket, a number from 1 to 9999"),
        (["all", "PREDICTIONS=x"], "PREDICTIONS= is for make score, not for all"),
        (["all", "REMOVE=mine"], "REMOVE= is for make model, not for all"),
        (["all", "SHAPES=7b"], "SHAPES= is for make bench, not for all"),
        (["model", "MODELS=tiny-base"], "make model takes one with MODEL=, and its base with BASE="),
        (["model", "BASE=tiny-base"], "make model needs MODEL=folder, MODEL=file.gguf or MODEL=org/name, or REMOVE=name"),
        (["bench", "FROM=x.tar.zst"], "FROM= is for all table6 tables figures check, which need nothing but the archive; not"),
        (["check", "archive", "FROM=x.tar.zst"], "; not for archive"),
        (["table6", "FROM=x.tar.zst", "MODELS=tiny-base"], "FROM= shows what is in the archive; leave out MODELS"),
    ],
)  # fmt: skip
def test_a_wrong_name_is_named(checkout, arguments, message):
    result = make(checkout, *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (checkout / "data/runs").exists()


def test_what_programs_below_read_may_stand_there(checkout):
    result = make(checkout, "-n", "table6", "PROFILE=reported", "RAY_ADDRESS=10.0.0.1:6379", "HF_HOME=/hub")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(("where", "told"), [("slurm", True), ("ray", False), ("local", False)])
def test_what_slurm_is_told_is_for_slurm(checkout, where, told):
    """In an environment it may stand for other purposes, too."""
    result = make(checkout, "-n", "table6", f"WHERE={where}", "SLURM=--partition=gpu --time=9", "V=1")
    [line] = [line for line in result.stdout.splitlines() if "--where" in line]
    assert f"--where {where} " in line
    assert ("--cluster='--partition=gpu --time=9'" in line) == told


def test_a_damaged_file_of_added_models_is_one_line_and_no_matter_of_help(checkout, tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records/added.json").write_text("{")
    records = f"MODELS_RECORDS={tmp_path}/records"
    for goals in (["table6", "MODELS=tiny-base"], ["model", "REMOVE=mine"]):
        result = make(checkout, "-n", *goals, records)
        assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
        assert f"*** {tmp_path}/records/added.json: not a readable JSON file" in result.stderr
    assert make(checkout, "help", records).returncode == 0


def test_the_environment_and_what_programs_read_are_not_judged(checkout):
    strange = {"profile": "paper", "MODEL": "gpt-2", "BASE": "x", "SHAPES": "7b", "XYZZY": "1"}
    assert names(make(checkout, "-n", "table6", "PROFILE=reported", **strange))[0] == "05_score"
    handed_on = ("HF_HOME=/nowhere", "OMP_NUM_THREADS=1", "CUDA_VISIBLE_DEVICES=0", "V=1", "MODEL=")
    assert names(make(checkout, "-n", "table6", "PROFILE=reported", *handed_on))[0] == "05_score"


@pytest.mark.parametrize(
    ("given", "meant"), [("profile", "PROFILE"), ("MODLES", "MODELS"), ("Data", "DATA"), ("GPU_PER_MODEL", "GPUS_PER_MODEL"),
                         ("xyzzy", None)]
)  # fmt: skip
def test_the_nearest_variable_is_named(given, meant):
    known = re.findall(r"^([A-Z_]+) \?=", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert nearest(given, known) == meant


def test_commands_are_shown_when_asked_for(checkout):
    quiet, shown = (make(checkout, "tables", "PROFILE=reported", f"V={v}", "-B") for v in ("", "1"))
    assert (quiet.returncode, shown.returncode) == (0, 0), quiet.stderr + shown.stderr
    assert "experiments/" not in quiet.stdout
    assert "tables: paper/out/reported\n" in quiet.stdout
    assert len(quiet.stdout.splitlines()) < 8
    assert {"05_score", "paper.tables"} <= set(names(shown))


def test_make_model_narrows_to_two_and_a_dry_run_adds_nothing(checkout, tmp_path):
    records = {"MODELS_RECORDS": str(tmp_path / "records")}
    shown = make(checkout, "-n", "model", "MODEL=it's $mine", "BASE=tiny-base", "PROFILE=paper", **records)
    assert shown.returncode == 0, shown.stderr
    assert r"--model 'it'\''s $mine' --profile paper" in shown.stdout
    assert "--base 'tiny-base'" in shown.stdout
    assert "05_score" not in shown.stdout
    assert not (tmp_path / "records").exists()
    assert "add_model.py --remove 'mine'" in make(checkout, "-n", "model", "REMOVE=mine", **records).stdout


def test_make_score_narrows_to_two_and_a_dry_run_adds_nothing(checkout, tmp_path):
    records = {"MODELS_RECORDS": str(tmp_path / "records")}
    given = ("PREDICTIONS=it's.jsonl", "NAME=mine", "BASE=tiny-base", "ARGS=--prompt table2")
    shown = make(checkout, "-n", "score", *given, **records)
    assert shown.returncode == 0, shown.stderr
    assert r"--predictions 'it'\''s.jsonl' --name 'mine' --profile tiny" in shown.stdout
    assert "--base 'tiny-base'" in shown.stdout
    assert "05_score" not in shown.stdout
    assert not (tmp_path / "records").exists()
    (checkout / "own.jsonl").write_text("{}\n")
    for words, suffix, data in (
        (("DATASET=own.jsonl",), "-own", "own.jsonl"),
        (("LIMIT=20",), "-look20", "look20-test-sub"),
    ):
        other = make(checkout, "-n", "score", *given, *words, **records).stdout
        assert re.search(rf"--data \S*{data}\S* --runs data/runs --suffix={suffix} --base", other)
        assert f"--runs data/runs/$profile{suffix} --results data/results/$profile{suffix}" in other
    assert "--suffix" not in shown.stdout
    batch = make(checkout, "-n", "prompts", "OUT=x y.jsonl", "BATCH=vllm", "MODEL=org/name").stdout
    assert re.search(r"prompts\.py --data \S+ --out 'x y.jsonl' --batch vllm --model 'org/name'", batch)


def test_clean_leaves_predictions_and_data(checkout):
    for target, expected in (("clean", False), ("distclean", True)):
        removed = make(checkout, "-n", target).stdout
        assert ("data/runs" in removed) is expected
        assert (".jsonl" in removed) is expected
        assert "data/models/tiny" not in removed
        assert "data/reported" not in removed


def test_distclean_takes_what_was_recorded_and_the_environment_whatever_its_name(checkout, tmp_path):
    records = tmp_path / "records"
    for name in (
        "records/added.json",
        "records/revisions.json",
        "records/other.json",
        "my-env/pyvenv.cfg",
        "thesis/all.tex",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for venv, stays in (("my-env/", False), ("thesis", True), ("nowhere", False)):
        ran = run(checkout, "make", "distclean", f"VENV={tmp_path}/{venv}", MODELS_RECORDS=str(records))
        assert ran.returncode == 0, ran.stderr
        assert (tmp_path / venv).exists() is stays
        assert ("no virtual environment, it stays" in ran.stdout) is stays
    assert [path.name for path in records.iterdir()] == ["other.json"]
    assert (tmp_path / "thesis/all.tex").exists()


def test_predictions_are_no_target():
    text = (ROOT / "Makefile").read_text()
    assert not re.search(r"^[^\t\n#=:]*predictions[^\n=:]*:(?!=)", text, flags=re.MULTILINE)


def test_help_has_every_target_and_variable(checkout):
    makefile = (ROOT / "Makefile").read_text()
    for name in ("maintenance", "field"):
        makefile += (ROOT / f"experiments/tools/{name}.mk").read_text()
    shown = make(checkout, "help").stdout
    phony = " ".join(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)).split()
    phony.remove("FORCE")
    for name in [*phony, *re.findall(r"^([A-Z_]+) \?=", makefile, re.MULTILINE)]:
        assert len(re.findall(rf"^  {name}[ =]", shown, re.MULTILINE)) == 1, name
    first = shown.partition("to begin with\n")[2].partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in first] == ["all", "table6", "test", "model"]
    rooms = re.findall(r"^\n?([a-z][a-z ,-]*)$", shown, re.MULTILINE)
    assert rooms[0] == "to begin with"
    assert rooms[-1] == "variables"
    assert set(rooms[1:-1]) < set(re.findall(r"^# -+ (.*)$", makefile, re.MULTILINE))
    assert not (checkout / ".make").exists()
