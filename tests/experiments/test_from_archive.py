"""make table6 FROM=... and make all FROM=...: the paper's outputs from an archive alone, in a
checkout where nothing ran."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from checkout_fixture import ROOT, link_checkout, make
from results_fixture import write_results
from runs_fixture import DESCRIPTIONS, fill_workplace, score_arguments
from scripts_fixture import files, run_script

from paper import tables
from paper.results import read_results

OUT = Path("paper/out/deposit-archive")
UNPACKED = Path("data/results/archives/deposit")


@pytest.fixture(scope="module")
def machine(tmp_path_factory) -> Path:
    """A machine on which two of the tiny models were run, and the archive of its results,
    deposit.tar.zst."""
    folder = fill_workplace(tmp_path_factory.mktemp("machine"))
    write_results(folder / "out", "tiny", ["tiny-base", "tiny-code"])
    assert run_script(*score_arguments(folder)) == 0
    assert run_script("tools/archive.py", "--profile", "tiny", "--results", folder / "out", "--runs", folder / "runs",
                      "--out", folder / "deposit.tar.zst") == 0  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def checkout(machine, tmp_path_factory) -> Path:
    """Another machine, which has the archive alone, after make all FROM=..."""
    folder = link_checkout(tmp_path_factory.mktemp("other"))
    shutil.copy(machine / "deposit.tar.zst", folder)
    ran = make(folder, "all", "FROM=deposit.tar.zst")
    assert ran.returncode == 0, ran.stderr
    assert f"{OUT}/report.html" in ran.stdout
    return folder


def test_table6_is_that_of_the_machine_that_ran_the_models(machine, checkout):
    ran = make(checkout, "table6", "FROM=deposit.tar.zst")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip().endswith(tables.for_terminal(read_results("tiny", machine / "out"), 6).strip())


@pytest.mark.parametrize("target", ["tables", "figures"])
def test_one_kind_alone_is_rendered_too(checkout, target):
    ran = make(checkout, target, "FROM=deposit.tar.zst")
    assert ran.returncode == 0, ran.stderr
    assert f"{target} are in {OUT}" in ran.stdout
    assert not (checkout / "data/runs").exists()


def test_what_is_checked_is_the_archive(checkout):
    (checkout / "data/reference").symlink_to(ROOT / "data/reference")
    ran = make(checkout, "check", "FROM=deposit.tar.zst")
    assert ran.returncode == 2  # a made-up test set, which is not the reference's
    assert f"{UNPACKED}/results/scores.csv: another test set than the reference's" in ran.stderr
    assert not (checkout / "data/runs").exists()


def test_all_renders_everything_and_runs_nothing(checkout):
    expected = {f"table{number}.{kind}" for number in (1, 3, 4, 6) for kind in ("md", "tex", "csv")}
    expected |= {f"figure{number}.{kind}" for number in (1, 2, 3) for kind in ("pdf", "png")}
    assert {path.name for path in (checkout / OUT).iterdir()} == expected | {"report.html", "report.md"}
    assert not (checkout / "data/boxes").exists()
    assert not (checkout / "data/runs").exists()


def test_the_report_has_the_provenance_of_the_runs_and_no_text_of_the_task(machine, checkout):
    report = (checkout / OUT / "report.html").read_text()
    run = json.loads((machine / "runs/tiny-code/run.json").read_text())
    assert run["dataset_sha256"] in report
    assert run["revision"] in report
    assert DESCRIPTIONS[0] not in report


def test_what_was_unpacked_is_what_its_checksums_say(checkout):
    sums = dict(reversed(line.split("  ")) for line in (checkout / UNPACKED / "SHA256SUMS").read_text().splitlines())
    found = files(checkout / UNPACKED)
    assert {name: hashlib.sha256(found[name]).hexdigest() for name in sums} == sums
    assert {"results/scores.csv", "runs/tiny-base/run.json", "PREDICTIONS.sha256"} < set(sums)


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "cannot be read (No such file or directory); name an archive with FROM=..."),
     (b"no archive", "not a readable .tar.zst"), (lambda whole: whole[:-50], "fetch it again")],
)  # fmt: skip
def test_what_is_no_whole_archive_is_one_line_and_leaves_no_table(checkout, content, says):
    if content is not None:
        whole = (checkout / "deposit.tar.zst").read_bytes()
        (checkout / "bad.tar.zst").write_bytes(content(whole) if callable(content) else content)
    ran = make(checkout, "table6", f"FROM={'bad' if content else 'nowhere'}.tar.zst")
    assert ran.returncode == 2
    [line] = [line for line in ran.stderr.splitlines() if not line.startswith("make")]
    assert says in line
    assert not list(checkout.glob("paper/out/bad*")) + list(checkout.glob("paper/out/nowhere*"))
