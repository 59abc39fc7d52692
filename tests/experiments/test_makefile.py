"""The Makefile, set-up and the locks: what would run, what must never run, and what must never be
committed."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkout_fixture import LOCKS, ROOT, link_checkout, make, run

from boxes.models.table import models_of, spec_of
from boxes.runs.plan import folders_beside
from boxes.runs.status import write_status
from experiments.tools.command_line import nearest

TINY = ("tiny-base", "tiny-code", "tiny-math", "tiny-chat")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return link_checkout(tmp_path)


def scripts(result: subprocess.CompletedProcess) -> list[str]:
    """The numbered experiments and modules that a `make -n` would run."""
    assert result.returncode == 0, result.stderr
    return re.findall(r"experiments/(\d\d_\w+)\.py|-m (paper\.\w+)", result.stdout)


def names(result: subprocess.CompletedProcess) -> list[str]:
    return [experiment or module for experiment, module in scripts(result)]


def pretend_decoded(folder: Path, statuses: dict[str, str] | None = None) -> None:
    """Runs of the tiny models, complete but for those in `statuses`, and a status.csv newer than
    all it depends on."""
    assert make(folder, "data/runs/tiny/.settings").returncode == 0
    runs = Path("data/runs/tiny")
    for model in TINY:
        for name in (model, *(f"{model}/{other}" for other in folders_beside(spec_of(model)))):
            said = {"model": model, "status": (statuses or {}).get(name, "complete"), "reason": "", "seconds": 1.0}
            (folder / runs / name).mkdir(parents=True, exist_ok=True)
            (folder / runs / name / "predictions.jsonl").touch()
            (folder / runs / name / "run.json").write_text(json.dumps(said))
    with contextlib.chdir(folder):
        write_status(runs / "status.csv", models_of("tiny"), runs)


def pretend_data(folder: Path) -> None:
    assert make(folder, "data/boxes/.settings").returncode == 0
    for name in ("train-t5", "dev-t5", "test-t5", "test-subsample-states-t5"):
        (folder / f"data/boxes/{name}.jsonl").touch()


# ------------------------------------------------------------------------------------------------ what would run


def test_reported_needs_no_data_and_no_model(checkout):
    assert names(make(checkout, "-n", "table6", "PROFILE=reported")) == ["05_score", "paper.tables", "paper.tables"]
    narrowed = make(checkout, "-n", "table6", "PROFILE=reported", "MODELS=llama-7b").stdout
    assert re.search(r"05_score\.py --profile reported --out \S+ --models llama-7b$", narrowed, re.MULTILINE)
    everything = names(make(checkout, "-n", "all", "PROFILE=reported"))
    assert not {"01_generate_data", "03_select_prompt_format", "04_decode", "09_constrained_decoding"} & set(everything)
    assert {"02_random_baseline", "06_code", "07_math", "08_alignment", "10_claims", "paper.report"} < set(everything)


def test_tiny_goes_all_the_way(checkout):
    result = make(checkout, "-n", "table6")
    made = ["01_generate_data", "02_random_baseline", "04_decode", "05_score", "paper.tables", "paper.tables"]
    assert sorted(names(result)) == made
    assert names(result)[0] == made[0]
    assert names(result)[-3:] == made[-3:]


def test_models_are_decoded_once_on_as_many_gpus_as_were_asked_for(checkout):
    result = make(checkout, "-n", "-j8", "all", "GPUS_PER_MODEL=2")
    assert names(result).count("04_decode") == 1
    assert re.search(r"04_decode\.py --profile tiny .* --gpus 2 ", result.stdout)


def test_one_target_is_made_on_all_cores_and_several_in_turn(checkout):
    cores = len(os.sched_getaffinity(0))
    made = run(checkout, "make", f"VENV={sys.prefix}", "-n", "all", OMP_NUM_THREADS="1")  # which nproc would heed
    assert f" --jobs {cores} " in made.stdout
    assert " --jobs 7 " in make(checkout, "-n", "-j7", "all").stdout
    assert "--jobs" not in make(checkout, "-n", "-j1", "all").stdout.replace("--jobs 1 ", "")
    assert "--jobs" not in make(checkout, "-n", "clean", "all").stdout


def test_what_runs_compiles_nothing(checkout):
    """A full disk would cut a compiled module short."""
    result = make(checkout, "--eval=compiling: ; @echo [$$PYTHONDONTWRITEBYTECODE]", "compiling")
    assert result.stdout == "[1]\n"


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


def test_models_narrows(checkout):
    result = make(checkout, "-n", "all", "MODELS=tiny-chat")
    assert names(result).count("04_decode") == 1
    assert result.stdout.count("--models tiny-chat") == 6  # experiments 03, 04, 05, 09 and 11, and not_run
    everything = make(checkout, "-n", "all", "MODELS=all")
    assert names(everything).count("04_decode") == 1
    assert "--models" not in everything.stdout
    assert "--models all" in make(checkout, "-n", "weights", "MODELS=all").stdout


def test_what_is_decoded_is_not_decoded_again(checkout):
    pretend_data(checkout)
    pretend_decoded(checkout)
    assert "04_decode" not in names(make(checkout, "-n", "table6"))
    assert "01_generate_data" not in names(make(checkout, "-n", "table6"))


@pytest.mark.parametrize("status", ["partial", "not run", "failed"])
def test_an_incomplete_run_is_tried_again(checkout, status):
    pretend_data(checkout)
    pretend_decoded(checkout, {"tiny-math": status})
    result = make(checkout, "-n", "table6")
    assert names(result).count("04_decode") == 1


@pytest.mark.parametrize(
    "mend",
    [lambda path: os.utime(path, (2e9, 2e9)), lambda path: path.unlink(), lambda path: shutil.rmtree(path.parent)],
)
def test_a_run_whose_predictions_were_mended_is_tried_again(checkout, mend):
    pretend_data(checkout)
    pretend_decoded(checkout)
    mend(checkout / "data/runs/tiny/tiny-math/predictions.jsonl")
    result = make(checkout, "-n", "table6")
    assert names(result).count("04_decode") == 1


def test_other_options_of_decoding_decode_anew(checkout):
    pretend_data(checkout)
    pretend_decoded(checkout)
    result = make(checkout, "-n", "table6", "DECODE=--prompt-style released")
    assert names(result).count("04_decode") == 1
    assert "--prompt-style released" in result.stdout
    chosen = make(checkout, "-n", "table6", "FORMAT=chosen")
    assert names(chosen).count("04_decode") == chosen.stdout.count("--prompt-format chosen") == 1


@pytest.mark.parametrize("status", [None, "partial", "not run", "failed"])
@pytest.mark.parametrize("beside", ["tiny-base/free", "tiny-chat/dev-chat"])
def test_a_model_whose_run_beside_its_own_lacks_is_tried_again(checkout, beside, status):
    pretend_data(checkout)
    pretend_decoded(checkout)
    if status:
        pretend_decoded(checkout, {beside: status})
    else:
        (checkout / "data/runs/tiny" / beside / "run.json").unlink()
    assert names(make(checkout, "-n", "all")).count("04_decode") == 1


def test_weights_that_changed_are_looked_at_again(checkout):
    pretend_data(checkout)
    pretend_decoded(checkout)
    status = checkout / "data/runs/tiny/status.csv"
    other = checkout / "other model"
    other.mkdir()
    status.write_text(status.read_text().replace(str(spec_of("tiny-math").folder), str(other)))
    assert "04_decode" not in names(make(checkout, "-n", "table6"))
    (other / "model.safetensors").touch()
    os.utime(other / "model.safetensors", (2e9, 2e9))
    assert names(make(checkout, "-n", "table6")).count("04_decode") == 1


def test_another_seed_generates_anew(checkout):
    pretend_data(checkout)
    result = make(checkout, "-n", "data", "SEED=1")
    assert names(result) == ["01_generate_data"]
    assert "--seed 1" in result.stdout
    assert "--checksums" not in result.stdout


def test_a_lacking_file_is_made_again(checkout):
    pretend_data(checkout)
    (checkout / "data/boxes/dev-t5.jsonl").unlink()
    assert names(make(checkout, "-n", "data")) == ["01_generate_data"]


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
    makefile = (ROOT / "Makefile").read_text() + (ROOT / "experiments/tools/maintenance.mk").read_text()
    shown = make(checkout, "help").stdout
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    for name in [*phony[:-1], *re.findall(r"^([A-Z_]+) \?=", makefile, re.MULTILINE)]:
        assert len(re.findall(rf"^  {name}[ =]", shown, re.MULTILINE)) == 1, name
    first = shown.partition("to begin with\n")[2].partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in first] == ["all", "table6", "test", "model"]
    rooms = re.findall(r"^\n?([a-z][a-z ,-]*)$", shown, re.MULTILINE)
    assert rooms[0] == "to begin with"
    assert rooms[-1] == "variables"
    assert set(rooms[1:-1]) < set(re.findall(r"^# -+ (.*)$", makefile, re.MULTILINE))
    assert not (checkout / ".make").exists()


# ------------------------------------------------------------------------------------------------ what runs


def test_a_second_time_nothing_runs_but_the_printing(checkout):
    first = make(checkout, "table6", "PROFILE=reported", "V=1")
    assert first.returncode == 0, first.stderr
    assert "05_score" in names(first)
    assert "06_code" not in first.stdout
    second = make(checkout, "table6", "PROFILE=reported")
    shown = make(checkout, "table6", "PROFILE=reported", "V=1")
    assert names(shown) == ["paper.tables"]
    assert second.stdout.count("Code Llama 70B Instruct") == 1
    assert second.stdout in first.stdout


def test_models_that_failed_or_were_not_run_are_named_with_status_3(checkout):
    for model, status in {"tiny-base": "complete", "tiny-code": "failed"}.items():
        folder = checkout / "data/runs/tiny" / model
        folder.mkdir(parents=True)
        run = {"model": model, "status": status, "reason": "out of memory, or worse"}
        (folder / "run.json").write_text(json.dumps(run))
    (checkout / "only.mk").write_text("include Makefile\nall-runs:\n\t@$(NAME_NOT_RUN)\n")
    result = make(checkout, "-f", "only.mk", "all-runs")
    assert "Error 3" in result.stderr
    assert re.search(r"^tiny-code +failed +out of memory, or worse$", result.stderr, re.MULTILINE)
    assert re.search(r"^tiny-math +not run +no run.json; decode first$", result.stderr, re.MULTILINE)
    assert "tiny-base" not in result.stderr
    assert make(checkout, "-f", "only.mk", "all-runs", "MODELS=tiny-base").returncode == 0
    assert make(checkout, "-f", "only.mk", "all-runs", "PROFILE=reported").returncode == 0


# ------------------------------------------------------------------------------------------------ set-up


def setup(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    return run(folder, "experiments/install/setup.sh", *arguments, **variables)


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


# ------------------------------------------------------------------------------------------------ locks


def locked(name: str) -> dict[str, tuple[str, int]]:
    """Package -> (version, number of hashes)."""
    text = re.sub(r"^#.*\n", "", (ROOT / name).read_text(), flags=re.MULTILINE)
    found = {}
    for entry in re.split(r"\n(?=\S)", text.strip()):
        first, *rest = entry.replace("\\", "").split("\n")
        package, version = re.fullmatch(r"([a-z0-9.-]+)==([^ ]+)(?: ;.*)?\s*", first).groups()
        assert package not in found, package
        assert all(re.fullmatch(r"\s+--hash=sha256:[0-9a-f]{64}\s*", line) for line in rest), package
        found[package] = (version, len(rest))
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_hashes_and_no_address(name):
    assert all(hashes for _, hashes in locked(name).values())
    assert not re.search(r"://|file:|--index|--find-links|--extra|/work|/tmp|/opt", (ROOT / name).read_text())


def test_the_locks_agree():
    full, lean = (locked(name) for name in LOCKS)
    assert lean.pop("torch")[0] == full.pop("torch")[0] + "+cpu"
    assert {package: full[package] for package in lean} == lean
    only_cuda = set(full) - set(lean)
    assert all(package == "triton" or package.startswith(("nvidia-", "cuda-")) for package in only_cuda)


def test_the_locks_have_what_is_asked_for():
    wanted = dict(re.findall(r"^([\w-]+)==([^ \n]+)", (ROOT / "requirements.in").read_text(), re.MULTILINE))
    full = locked("requirements.lock")
    assert wanted == {package: full[package.replace("_", "-")][0] for package in wanted}


# ------------------------------------------------------------------------------------------------ the repository


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    return subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True).stdout.split("\0")[:-1]


def test_no_task_data_is_tracked(tracked):
    assert not [name for name in tracked if re.match(r"data/boxes/.*\.jsonl|.*\.zip$|data/(runs|results)/", name)]


def test_tracked_files_stay_small(tracked):
    sizes = {name: (ROOT / name).stat().st_size for name in tracked if (ROOT / name).exists()}
    assert sum(size for name, size in sizes.items() if name.startswith("data/models/")) <= 12 * 2**20
    assert sum(size for name, size in sizes.items() if not name.startswith("data/models/")) <= 8 * 2**20


def test_ci_runs_the_readmes_test_command():
    assert re.search(r"^make test\b", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert os.access(ROOT / ".ci/run", os.X_OK)
    readme = ROOT / "README.md"
    if readme.exists():
        assert "make test" in readme.read_text()
