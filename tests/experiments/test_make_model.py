"""make model, from a folder with a checkpoint to its gain, row, pair and panel, and out again (slow:
tiny models decode)."""

import re
import shutil
from pathlib import Path

import pytest
from checkout_fixture import link_checkout, make, small_release

from boxes.models.table import TINY_FOLDER
from boxes.records import read_csv

pytestmark = pytest.mark.slow
SMALL = ("DATA=release", "RELEASE_ZIP=small.zip", "HARDWARE=--device cpu --batch-size 8")


@pytest.fixture(scope="module")
def added(tmp_path_factory) -> tuple[Path, dict[str, str], str]:
    """A checkout in which make model added a copy of tiny-code, the place of its records, and what
    it said."""
    folder = link_checkout(tmp_path_factory.mktemp("checkout"))
    small_release(folder / "small.zip")
    shutil.copytree(TINY_FOLDER / "tiny-code", folder / "mine")
    records = {"MODELS_RECORDS": str(folder / "records"), "OMP_NUM_THREADS": "1"}  # busy cores: one thread is faster
    ran = make(folder, "model", "MODEL=mine", "BASE=tiny-base", "V=1", *SMALL, **records)
    assert ran.returncode == 0, ran.stderr
    return folder, records, ran.stdout


@pytest.fixture(scope="module")
def machine(added) -> tuple[Path, dict[str, str]]:
    """The same checkout after make all."""
    folder, records, _ = added
    ran = make(folder, "all", *SMALL, **records)
    assert ran.returncode == 0, ran.stderr
    return folder, records


def decoded(shown: str) -> list[str]:
    """The models that said that they were decoded."""
    return sorted(re.findall(r"^(\S+): \d+ statements, ", shown, re.M))


def test_two_are_decoded_and_the_gain_is_said(added):
    _, _, shown = added
    assert decoded(shown) == ["mine", "tiny-base"]
    assert re.search(
        r"^mine against tiny-base \(code\): [+-]\d+\.\d\d points at 1\+ operations, 95 % interval \[", shown, re.M
    )


def test_no_other_model_of_any_profile_is_tried(added, tmp_path):
    """The base is a folder, and the profile has 29 more models."""
    folder, _, _ = added
    other = link_checkout(tmp_path)
    shutil.copy(folder / "small.zip", other)
    for name in ("tiny-base", "tiny-chat"):
        shutil.copytree(TINY_FOLDER / name, other / f"my-{name}")
    records = {"MODELS_RECORDS": str(other / "records"), "OMP_NUM_THREADS": "1"}
    line = ("model", "MODEL=my-tiny-chat", "BASE=my-tiny-base", "ADDED=alignment", "PROFILE=paper", "V=1", *SMALL)
    ran = make(other, *line, **records)
    assert ran.returncode == 0, ran.stderr
    assert decoded(ran.stdout) == ["my-tiny-base", "my-tiny-chat"]
    assert re.search(r"^my-tiny-chat against my-tiny-base \(alignment\): ", ran.stdout, re.M)
    assert re.search(r"^prompt format: (plain|chat), which .* on the development set", ran.stdout, re.M)
    assert make(other, "model", "REMOVE=my-tiny-chat", **records).returncode == 0
    assert "my-tiny-chat" not in (other / "records/added.json").read_text()


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
    ran = make(other, "-j4", "table6", "V=1", *SMALL, **records)
    assert ran.returncode == 0, ran.stderr
    assert decoded(ran.stdout) == sorted(["tiny-base", "tiny-more", "tiny-code", "tiny-math", "tiny-chat", "mine"])
    for name in ("scores", "queries"):
        path = f"data/results/tiny/{name}.csv"
        assert (other / path).read_bytes() == (folder / path).read_bytes()


def when_written(folder: Path) -> dict[Path, int]:
    """When each prediction of a folder's runs was last added to."""
    found = (folder / "data/runs").rglob("predictions.jsonl")
    return {path: path.stat().st_mtime_ns for path in found}


def test_nothing_is_run_a_second_time_and_removed_it_is_gone(machine):
    folder, records = machine
    again = make(folder, "all", "V=1", *SMALL, **records)
    assert (again.returncode, "experiments/0" in again.stdout) == (0, False), again.stdout
    assert make(folder, "model", "REMOVE=mine", **records).returncode == 0
    written = when_written(folder)
    without = make(folder, "all", "V=1", *SMALL, **records)
    assert without.returncode == 0, without.stderr
    assert when_written(folder) == written, "04_decode.py looks, and decodes nothing"
    assert numbers(folder, "mine") == []
    assert "mine" not in (folder / "paper/out/tiny/table6.csv").read_text()
