"""make model, from a folder with a checkpoint to its row, pair and panel, and out again (slow: five tiny models decode)."""

import re
import shutil
import sys
from pathlib import Path

import pytest
from checkout_fixture import ROOT, link_checkout, make, run, small_release

from boxes.models import TINY_FOLDER
from boxes.records import read_csv

pytestmark = pytest.mark.slow
SMALL = ("DATA=release", "RELEASE_ZIP=small.zip", "HARDWARE=--device cpu --batch-size 8")


@pytest.fixture(scope="module")
def machine(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """A checkout in which make model added a copy of tiny-code, and the place of its records."""
    folder = link_checkout(tmp_path_factory.mktemp("checkout"))
    small_release(folder / "small.zip")
    shutil.copytree(TINY_FOLDER / "tiny-code", folder / "mine")
    records = {"MODELS_RECORDS": str(folder / "records"), "OMP_NUM_THREADS": "1"}  # busy cores: one thread is faster
    added = make(folder, "model", "MODEL=mine", "BASE=tiny-base", *SMALL, **records)
    assert added.returncode == 0, added.stderr
    return folder, records


def numbers(folder: Path, model: str) -> list[str]:
    """A model's lines of scores.csv, without its name."""
    lines = (folder / "data/results/tiny/scores.csv").read_text().splitlines()
    return [line.removeprefix(f"{model},") for line in lines if line.startswith(f"{model},")]


def test_the_row_has_the_numbers_of_the_model_it_copies(machine):
    folder, _ = machine
    assert numbers(folder, "mine") == numbers(folder, "tiny-code") != []
    printed = (folder / "paper/out/tiny/table6.md").read_text()
    assert printed.count("| mine ") == 1


def test_it_is_a_pair_of_experiment_1_and_a_panel_of_figure_1(machine):
    folder, _ = machine
    pairs = read_csv(folder / "data/results/tiny/code.csv")
    assert set(zip(pairs.base, pairs.treated, strict=True)) == {("tiny-base", "tiny-code"), ("tiny-base", "mine")}
    report = (folder / "paper/out/tiny/report.html").read_text()
    figure1, figure2 = (report.partition(f'<figure id="figure{number}">')[2] for number in (1, 2))
    panels = [figure.partition("</figure>")[0].count("-axes_") for figure in (figure1, figure2)]
    assert panels[0] == 2 * panels[1] > 0


def test_jobs_side_by_side_run_nothing_twice_and_change_nothing(machine, tmp_path):
    folder, records = machine
    other = link_checkout(tmp_path)
    shutil.copy(folder / "small.zip", other)
    ran = make(other, "-j4", "table6", *SMALL, **records)
    assert ran.returncode == 0, ran.stderr
    decoded = re.findall(r"04_decode\.py --model (\S+)", ran.stdout)
    assert sorted(decoded) == sorted(["tiny-base", "tiny-code", "tiny-math", "tiny-chat", "mine"])
    for name in ("scores", "queries"):
        path = f"data/results/tiny/{name}.csv"
        assert (other / path).read_bytes() == (folder / path).read_bytes()


def test_nothing_is_run_a_second_time_and_removed_it_is_gone(machine):
    folder, records = machine
    again = make(folder, "all", *SMALL, **records)
    assert (again.returncode, "experiments/0" in again.stdout) == (0, False), again.stdout
    remove = [sys.executable, ROOT / "experiments/add_model.py", "--remove", "mine"]
    assert run(folder, *map(str, remove), PYTHONPATH=str(ROOT), **records).stdout == "tiny mine\n"
    without = make(folder, "all", *SMALL, **records)
    assert without.returncode == 0, without.stderr
    assert "04_decode" not in without.stdout
    assert numbers(folder, "mine") == []
    assert "mine" not in (folder / "paper/out/tiny/table6.csv").read_text()
