"""A quick look: a stratified part of the dataset in a file of its own, labelled wherever its results are shown."""

import re

import pytest
from checkout_fixture import make
from results_fixture import write_results
from scenarios_fixture import write_dataset
from scripts_fixture import refusal, run_script

from boxes.dataset import SUBSET, read_examples
from boxes.records import read_csv, write_csv
from boxes.runs.task import LOOK, dataset_note, read_task
from boxes.score_tables import BUCKETS
from paper import figures, tables
from paper.results import read_results

NOTE = "Quick look at 3 queries a bucket, not the test set: no result."


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("data") / SUBSET, count=12, operations=6)


def look(whole, out, limit=3):
    assert run_script("tools/look.py", "--data", whole, "--limit", limit, "--out", out) == 0
    return out / LOOK.format(limit)


def test_it_is_some_states_of_the_dataset_the_same_every_time(whole, tmp_path):
    path = look(whole, tmp_path / "one")
    examples, everything = read_examples(path), read_examples(whole)
    kept = {(example.sample_id, example.num_operations) for example in examples}
    assert examples == [example for example in everything if (example.sample_id, example.num_operations) in kept]
    assert examples == read_task(whole, 3).examples
    assert path.read_bytes() == look(whole, tmp_path / "two").read_bytes()
    counts = [str(count) for example in examples for count in example.num_ops]
    there = [str(count) for example in everything for count in example.num_ops]
    for bucket in BUCKETS:
        assert counts.count(bucket) >= min(3, there.count(bucket)), bucket
    assert len(examples) < len(everything)
    assert read_task(path).checksum != read_task(whole).checksum


def test_a_limit_that_is_none_is_refused(whole, tmp_path, capsys):
    for limit in ("0", "-1", "x", "1.5"):
        line = refusal(capsys, "tools/look.py", "--data", whole, f"--limit={limit}", "--out", tmp_path / "out")
        assert line.startswith("argument --limit: must be a whole number from 1 on")
    assert not (tmp_path / "out").exists()


def test_notes():
    assert dataset_note(SUBSET) == dataset_note("") == ""
    assert dataset_note(LOOK.format(3)) == NOTE
    assert dataset_note("mine.jsonl") == "Not the test set: mine.jsonl."


def test_tables_and_figures_say_so(tmp_path):
    folder = write_results(tmp_path, "tiny")
    assert read_results("tiny", folder).note == ""
    runs = read_csv(folder / "runs.csv").assign(dataset=LOOK.format(3))
    write_csv(folder / "runs.csv", runs)
    results = read_results("tiny", folder)
    for number in (3, 6):
        assert tables.TABLES[number](results).caption.endswith(NOTE)
        assert NOTE in tables.for_terminal(results, number)
    assert figures.draw(1, results).get_suptitle() == NOTE


def test_a_dataset_of_ones_own_has_folders_of_its_own(checkout):
    (checkout / "mine.jsonl").write_text("{}\n")
    shown = make(checkout, "-n", "all", "DATASET=mine.jsonl", LIMIT="5").stdout
    for words in ("data/runs/tiny-mine", "data/results/tiny-mine", "paper/out/tiny-mine", "--data mine.jsonl"):
        assert words in shown
    assert "look" not in shown
    assert "01_generate_data" in shown, "nothing was made yet, and the prompt format is chosen on the development set"
    assert "mine" not in make(checkout, "-n", "all", DATASET="mine.jsonl").stdout


def test_make_gives_it_folders_of_its_own(checkout):
    shown = make(checkout, "-n", "all", "LIMIT=20").stdout
    assert re.search(r"look\.py --data data/boxes/test-sub\S+ --limit 20 --out data/boxes", shown)
    for folder in ("data/runs/tiny-look20", "data/results/tiny-look20", "paper/out/tiny-look20"):
        assert folder in shown
    assert not re.search(r"data/(runs|results)/tiny[ /]|out/tiny[ /]|--data data/boxes/test-subsample.* --runs", shown)
    other = make(checkout, "-n", "all", LIMIT="20").stdout
    assert "look" not in other, "an environment's LIMIT is another thing"
