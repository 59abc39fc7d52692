"""Wrong arguments of the scripts, and what is said of them before anything is loaded, decoded or
written."""

import argparse
import os
import re
import shutil
import stat
import tempfile
from pathlib import Path

import pytest
from runs_fixture import fill_workplace
from scripts_fixture import ROOT, files, refusal, run_script

from boxes.commandline import out_folder
from boxes.models.table import models_of

TINY = ", ".join(spec.name for spec in models_of("tiny"))
CHOICES = "(choose from .*)"
BAS = "unknown model 'tiny-bas'; did you mean tiny-base, tiny-math, tiny-chat?"
BSE = "unknown model 'tiny-bse'; did you mean tiny-base, tiny-more, tiny-code?"
NUMBER = "must be a whole number from {} on, not '{}'; see --help"
# Script -> arguments that are right; {} is the folder of a test, with what fill_workplace puts
# there.
RIGHT = {
    "01_generate_data.py": "--out {}/new",
    "02_random_baseline.py": "--profile tiny --data {}/data.jsonl --out {}/new/random.csv",
    "03_select_prompt_format.py": "--profile tiny --data {}/data.jsonl --runs {}/runs --out {}/new/formats.csv",
    "04_decode.py": "--model tiny-base --data {}/data.jsonl --out {}/new/run",
    "05_score.py": "--profile tiny --data {}/data.jsonl --runs {}/runs --random {}/random.csv --out {}/new",
    "06_code.py": "--profile tiny --results {} --out {}/new/code.csv",
    "07_math.py": "--profile tiny --results {} --out {}/new/math.csv",
    "08_alignment.py": "--profile tiny --results {} --out {}/new/alignment.csv",
    "09_constrained_decoding.py": "--profile tiny --data {}/data.jsonl --runs {}/runs --out {}/new/free.csv",
    "10_claims.py": "--profile tiny --results {} --out {}/new/claims.csv",
    "11_errors.py": "--profile tiny --data {}/data.jsonl --runs {}/runs --out {}/new/errors.csv",
    "tools/check.py": "--profile tiny --results {} --reference {}",
    "tools/fetch_weights.py": "--profile tiny --models tiny-base",
    "bench/decoding.py": "--data {}/data.jsonl --out {}/new.csv",
    "bench/precision.py": "--data {}/data.jsonl --out {}/new.csv",
    "bench/scaling.py": "--data {}/data.jsonl --out {}/new.csv",
    "bench/shapes.py": "--shapes 100m --data {}/data.jsonl --out {}/new.csv",
    "bench/inflate.py": "--out {}/new",
    "tools/archive.py": "--profile tiny --results {} --runs {}/runs --out {}/new.tar.zst",
}
# Script, arguments in place of or beside the right ones ("" takes one away), what is said.
WRONG = [
    ("01_generate_data.py", "--out", "", "the following arguments are required: --out; see --help"),
    ("01_generate_data.py", "--out", "{}/data.jsonl", "argument --out: {}/data.jsonl is a file, not a folder; see --help"),
    ("01_generate_data.py", "--out", "{}/data.jsonl/in",
     "argument --out: {}/data.jsonl is a file, not a folder; see --help"),
    ("01_generate_data.py", "--seed", "-1", "argument --seed: " + NUMBER.format(0, -1)),
    ("01_generate_data.py", "--seed", "many", "argument --seed: " + NUMBER.format(0, "many")),
    ("01_generate_data.py", "--release-zip", "{}/none.zip",
     "{}/none.zip: no such file; name the release's zip with RELEASE_ZIP=..."),
    ("01_generate_data.py", "--write-checksums", "{}", "argument --write-checksums: {} is a folder; name a file; see --help"),
    ("02_random_baseline.py", "--profile", "tyni", f"argument --profile: invalid choice: 'tyni' {CHOICES}; see --help"),
    ("02_random_baseline.py", "--data", "", "--data is missing; only --profile reported does without it"),
    ("02_random_baseline.py", "--data", "{}/none.jsonl", "{}/none.jsonl: no such file; `make data` writes it"),
    ("02_random_baseline.py", "--reported", "{}",
     "{}/table6.csv: no such file; restore the file from the repository"),
    ("02_random_baseline.py", "--draws", "0", "argument --draws: " + NUMBER.format(1, 0)),
    ("02_random_baseline.py", "--draws", "1", "--draws 1: at least 2 are needed for a standard deviation"),
    ("02_random_baseline.py", "--seed", "-5", "argument --seed: " + NUMBER.format(0, -5)),
    ("02_random_baseline.py", "--out", "{}", "argument --out: {} is a folder; name a file; see --help"),
    ("03_select_prompt_format.py", "--profile", "all", f"argument --profile: invalid choice: 'all' {CHOICES}; see --help"),
    ("03_select_prompt_format.py", "--data", "{}/none.jsonl", "{}/none.jsonl: no such file; `make data` writes it"),
    ("03_select_prompt_format.py", "--models", "tiny-chta",
     "unknown model 'tiny-chta'; did you mean tiny-chat, tiny-math, tiny-code?"),
    ("03_select_prompt_format.py", "--models", "gemma-7b",
     f"gemma-7b is no model of profile tiny; choose from {TINY}"),
    ("03_select_prompt_format.py", "--runs", "{}/none", "argument --runs: {}/none is no folder; see --help"),
    ("04_decode.py", "--dev", "{}/none.jsonl", "{}/none.jsonl: no such file; `make data` writes it"),
    ("04_decode.py", "--model", "", "one of the arguments --profile --model is required; see --help"),
    ("04_decode.py", "--model", "tiny-bas", BAS),
    ("04_decode.py", "--model", "{}/nowhere", "unknown model '{}/nowhere'; .*"),
    ("04_decode.py", "--data", "{}/none.jsonl", "{}/none.jsonl: no such file; `make data` writes it"),
    ("04_decode.py", "--batch-size", "0", "argument --batch-size: " + NUMBER.format(1, 0)),
    ("04_decode.py", "--batch-size", "-3", "argument --batch-size: " + NUMBER.format(1, -3)),
    ("04_decode.py", "--batch-size", "2.5", "argument --batch-size: " + NUMBER.format(1, 2.5)),
    ("04_decode.py", "--max-new-tokens", "-1", "argument --max-new-tokens: " + NUMBER.format(1, -1)),
    ("04_decode.py", "--max-new-tokens", "0", "argument --max-new-tokens: " + NUMBER.format(1, 0)),
    ("04_decode.py", "--max-new-tokens", str(10**12), "argument --max-new-tokens: " + NUMBER.format(1, 10**12)),
    ("04_decode.py", "--prompt-format", "plan",
     "argument --prompt-format: invalid choice: 'plan' (choose from .*); see --help"),
    ("04_decode.py", "--prompt-style", "table3",
     "argument --prompt-style: invalid choice: 'table3' (choose from .*); see --help"),
    ("04_decode.py", "--out", "{}/data.jsonl", "argument --out: {}/data.jsonl is a file, not a folder; see --help"),
    ("04_decode.py", "--bath-size", "8", "unrecognized arguments: --bath-size 8; see --help"),
    ("05_score.py", "--runs", "{}/none", "argument --runs: {}/none is no folder; see --help"),
    ("05_score.py", "--runs", "", "--runs is missing; only --profile reported does without it"),
    ("05_score.py", "--random", "{}/none.csv", "{}/none.csv: no such file; run the experiment that writes it (make help)"),
    ("05_score.py", "--random", "{}/data.jsonl",
     "{}/data.jsonl: line 1: missing column num_ops, n, expected; run the experiment that writes it (make help)"),
    ("05_score.py", "--data", "{}/runs", "{}/runs: cannot be read (Is a directory); check the file and its permissions"),
    ("05_score.py", "--models", "tiny-bse", BSE),
    ("05_score.py", "--models", "gemma-7b", f"gemma-7b is no model of profile tiny; choose from {TINY}"),
    ("05_score.py", "--out", "{}/data.jsonl", "argument --out: {}/data.jsonl is a file, not a folder; see --help"),
    ("06_code.py", "--results", "{}/none", "{}/none/scores.csv: no such file; run the experiment that writes it (make help)"),
    ("06_code.py", "--out", "{}", "argument --out: {} is a folder; name a file; see --help"),
    ("07_math.py", "--results", "", "the following arguments are required: --results; see --help"),
    ("07_math.py", "--out", "{}/data.jsonl/x.csv", "argument --out: {}/data.jsonl is a file, not a folder; see --help"),
    ("08_alignment.py", "--profile", "", "the following arguments are required: --profile; see --help"),
    ("08_alignment.py", "--profile", "Tiny", f"argument --profile: invalid choice: 'Tiny' {CHOICES}; see --help"),
    ("09_constrained_decoding.py", "--runs", "{}/none", "argument --runs: {}/none is no folder; see --help"),
    ("09_constrained_decoding.py", "--models", "gemma-7b", f"gemma-7b is no model of profile tiny; choose from {TINY}"),
    ("09_constrained_decoding.py", "--data", "{}/none.jsonl", "{}/none.jsonl: no such file; `make data` writes it"),
    ("10_claims.py", "--results", "{}/none",
     "{}/none/scores.csv: no such file; run the experiment that writes it (make help)"),
    ("10_claims.py", "--reported", "{}/none",
     "{}/none/table6.csv: no such file; restore the file from the repository"),
    ("10_claims.py", "--out", "{}", "argument --out: {} is a folder; name a file; see --help"),
    ("tools/check.py", "--results", "{}/none", "{}/scores.csv: no such file; run the experiment that writes it (make help)"),
    ("tools/check.py", "--reference", "{}/none", "{}/none: no such folder; profile tiny has no reference to compare with"),
    ("11_errors.py", "--runs", "{}/none", "argument --runs: {}/none is no folder; see --help"),
    ("11_errors.py", "--out", "{}", "argument --out: {} is a folder; name a file; see --help"),
    ("tools/check.py", "--profile", "tyni", f"argument --profile: invalid choice: 'tyni' {CHOICES}; see --help"),
    ("tools/fetch_weights.py", "--models", "tiny-bse", BSE),
    ("bench/decoding.py", "--data", "", "the following arguments are required: --data; see --help"),
    ("bench/decoding.py", "--rounds", "0", "argument --rounds: " + NUMBER.format(1, 0)),
    ("bench/precision.py", "--prompts", "some", "argument --prompts: " + NUMBER.format(1, "some")),
    ("bench/precision.py", "--out", "{}", "argument --out: {} is a folder; name a file; see --help"),
    ("bench/scaling.py", "--unit", "-1", "argument --unit: " + NUMBER.format(1, -1)),
    ("bench/scaling.py", "--data", "{}/none.jsonl", "{}/none.jsonl: no such file; `make data` writes it"),
    ("bench/scaling.py", "--unit", "99", "{}/data.jsonl: 2 descriptions, 1584 are needed; give a smaller --unit"),
    ("bench/shapes.py", "--shapes", "8b", f"argument --shapes: invalid choice: '8b' {CHOICES}; see --help"),
    ("bench/shapes.py", "--dtype", "float16", f"argument --dtype: invalid choice: 'float16' {CHOICES}; see --help"),
    ("bench/inflate.py", "--shape", "100M", f"argument --shape: invalid choice: '100M' {CHOICES}; see --help"),
    ("bench/inflate.py", "--out", "{}/data.jsonl", "argument --out: {}/data.jsonl is a file, not a folder; see --help"),
    ("bench/inflate.py", "--model", "tiny-bse", BSE),
    ("tools/archive.py", "--profile", "", "--profile: needed to pack, and not to unpack; see --help"),
    ("tools/archive.py", "--unpack", "{}/a.tar.zst", "--profile: needed to pack, and not to unpack; see --help"),
    ("tools/archive.py", "--results", "{}/none", "argument --results: {}/none is no folder; see --help"),
    ("tools/archive.py", "--results", "{}/runs", "{}/runs: no scores.csv and runs.csv; `make all` writes them"),
]  # fmt: skip


def command_line(script: str, option: str, value: str, folder: Path) -> list[str]:
    """The right arguments of a script, one of them replaced, added or taken away."""
    words = RIGHT[script].split()
    named = dict(zip(words[::2], words[1::2], strict=True)) | {option: value}
    return [part.replace("{}", str(folder)) for pair in named.items() if pair[1] for part in pair]


@pytest.mark.parametrize(
    ("script", "option", "value", "message"), WRONG, ids=[f"{case[0][:2]}{case[1]}={case[2]}" for case in WRONG]
)
def test_a_wrong_argument_is_named_and_nothing_written(script, option, value, message, tmp_path, capsys):
    fill_workplace(tmp_path)
    before = files(tmp_path)
    said = refusal(capsys, script, *command_line(script, option, value, tmp_path))
    expected = re.escape(message.replace("{}", str(tmp_path))).replace(re.escape(".*"), ".*")
    assert re.fullmatch(expected, said), said
    assert files(tmp_path) == before


def test_the_arguments_called_right_are_right(tmp_path, capsys):
    """So that a refusal above is because of what was changed. Those that decode are run in the
    tests of running."""
    fill_workplace(tmp_path)
    for script in ("02_random_baseline.py", "05_score.py"):
        assert run_script(script, *command_line(script, "", "", tmp_path)) == 0, capsys.readouterr().err
    scored = RIGHT | {
        name: RIGHT[name].replace("--results {}", "--results {}/new") for name in RIGHT if name[:2] > "05"
    }
    for script in ("06_code.py", "07_math.py", "08_alignment.py", "10_claims.py"):
        words = scored[script].replace("{}", str(tmp_path)).split()
        assert run_script(script, *words) == 0, capsys.readouterr().err


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "experiments").glob("[01]*_*.py")))
def test_help_is_shown(script, capsys):
    assert run_script(script, "--help") == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"usage: {script} ")
    assert err == ""


def test_a_folder_that_must_not_be_written_into():
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o555)
    user = os.getuid()
    try:
        if user == 0:
            os.setreuid(65534, 0)  # root may write anywhere
        with pytest.raises(argparse.ArgumentTypeError, match=f"^no permission to write into {folder}$"):
            out_folder(str(folder / "run"))
    finally:
        os.setreuid(user, user)
        folder.rmdir()


def test_a_folder_that_must_not_be_looked_into():
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o000)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)
        with pytest.raises(
            argparse.ArgumentTypeError, match=rf"^cannot write into {folder}/run \(Permission denied\)$"
        ):
            out_folder(str(folder / "run"))
    finally:
        os.seteuid(user)
        folder.rmdir()


CHECK = "cannot be read (Permission denied); check the file and its permissions"
CLOSED = [
    ("data.jsonl", 0o000, f"{{}}/data.jsonl: {CHECK}"),
    ("random.csv", 0o000, f"{{}}/random.csv: {CHECK}"),
    ("runs/tiny-code/run.json", 0o000, f"{{}}/runs/tiny-code/run.json: {CHECK}"),
    ("runs/tiny-code/predictions.jsonl", 0o000, f"{{}}/runs/tiny-code/predictions.jsonl: {CHECK}"),
    ("runs/tiny-code", 0o000, "{}/runs/tiny-code/run.json: Permission denied; check the disk and the permissions"),
    (".", 0o000, "{}/runs: Permission denied; check the disk and the permissions"),
    ("new", 0o555, "argument --out: no permission to write into {}/new; see --help"),
]


@pytest.fixture
def nobodys():
    """A folder with what fill_workplace puts there, and this process without the rights of root
    while it lasts."""
    if not all(parent.stat().st_mode & stat.S_IXOTH for parent in Path(__file__).resolve().parents):
        pytest.skip("no other user may enter the checkout")
    folder, user = Path(tempfile.mkdtemp(dir="/tmp")), os.getuid()
    fill_workplace(folder)
    words = command_line("05_score.py", "", "", folder)
    assert run_script("05_score.py", *words) == 0  # all that it imports is imported
    if user == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 65534, 65534)
        os.setresuid(65534, 65534, 0)
    yield folder
    os.setresuid(user, user, user)
    shutil.rmtree(folder)


@pytest.mark.parametrize(("name", "mode", "message"), CLOSED, ids=[name for name, *_ in CLOSED])
def test_missing_permissions_are_one_line(name, mode, message, nobodys, capsys):
    before, usual = files(nobodys), (nobodys / name).stat().st_mode
    (nobodys / name).chmod(mode)
    try:
        said = refusal(capsys, "05_score.py", *command_line("05_score.py", "", "", nobodys))
    finally:
        (nobodys / name).chmod(usual)
    assert said == message.format(nobodys)
    assert files(nobodys) == before
