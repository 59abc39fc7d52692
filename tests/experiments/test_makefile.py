"""The Makefile: what would run, and what runs."""

import json
import os
import re
import shutil
import sys

import pytest
from checkout_fixture import make, run
from makefile_fixture import names, pretend_data, pretend_decoded

from boxes.models.table import spec_of


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
