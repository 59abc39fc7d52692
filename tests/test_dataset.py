"""The files of the boxes task: the generated text read again by other means."""

import json
import re
import shutil
import time

import pytest
from dataset_fixture import (
    CONTENTS,
    DESCRIPTION,
    FIRST,
    ROOT,
    generate_data,
    replay_text,
    two_states,
    write_queries,
)

from boxes.dataset import (
    FILES,
    SUBSET,
    Example,
    read_examples,
    write_generated,
)
from boxes.records import UserError, checksum_lines

CHECKSUMS = ROOT / "data" / "checksums.sha256"


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """What `make data` makes: the folder, the seconds it took and its peak of memory in MB."""
    folder = tmp_path_factory.mktemp("boxes")
    started = time.perf_counter()
    ran = generate_data("--out", folder, "--seed", 27, "--checksums", CHECKSUMS)
    seconds = time.perf_counter() - started
    assert ran.returncode == 0, ran.stderr
    yield folder, seconds, int(ran.stdout.split()[-1]), ran.stdout
    shutil.rmtree(folder)  # 240 MB


# --- what is generated ---


def test_generating_is_cheap_and_gives_the_committed_checksums(generated):
    folder, seconds, peak, output = generated
    assert checksum_lines(folder, FILES) == CHECKSUMS.read_text()
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert output.startswith(f"{folder / SUBSET}: 714 descriptions, 4998 queries\n")
    assert peak < 500
    assert seconds < 60  # 4 s on a quiet machine


def test_every_query_of_the_test_split_is_what_its_text_says(generated):
    lines = (generated[0] / "test-t5.jsonl").read_text().splitlines()
    assert len(lines) == 90_090
    previous, truth = None, []
    for number, line in enumerate(lines):
        query = json.loads(line)
        sample_id, box = number // 91, number % 7
        description, _, tail = query["sentence_masked"].rpartition(" Box ")
        if description != previous:
            assert box == 0
            previous, truth = description, replay_text(description)
        objects, by_kind = truth[box]
        gold = query["masked_content"].removeprefix("<extra_id_0> ")
        assert tail == f"{box} contains <extra_id_0> ."
        assert query["sentence"] == f"{description} Box {box} contains {gold}."
        assert gold == (" and ".join(f"the {noun}" for noun in sorted(objects)) or "nothing")
        assert query["numops_by_op"] == by_kind
        assert query["numops"] == sum(by_kind.values())
        assert query["sample_id"] == sample_id
        assert len(re.findall(r"\. (?:Move|Remove|Put) ", description)) == number % 91 // 7
        assert list(query) == [
            "sentence", "sentence_masked", "masked_content", "sample_id", "numops", "numops_by_op"
        ]  # fmt: skip


def test_the_splits_have_all_states_and_the_subset_takes_whole_ones(generated):
    folder = generated[0]
    lengths = {name: (folder / name).read_bytes().count(b"\n") for name in FILES}
    assert lengths == dict(zip(FILES, (90_090, 20_020, 90_090, 4_998), strict=True))
    full, kept = ((folder / name).read_text().splitlines() for name in ("test-t5.jsonl", SUBSET))
    states = {full[start]: start for start in range(0, len(full), 7)}
    places = [states[line] for line in kept[::7]]
    assert places == sorted(set(places))
    assert kept == [line for start in places for line in full[start : start + 7]]


def test_read_examples_is_the_text(generated):
    examples = read_examples(generated[0] / SUBSET)
    assert len(examples) == 714
    assert len({(example.sample_id, example.num_operations) for example in examples}) == 714
    for example in examples:
        truth = replay_text(example.description)
        assert [set(text.replace("the ", "").split(" and ")) - {"nothing"} for text in example.contents] == [
            objects for objects, _ in truth
        ]
        assert list(example.num_ops) == [sum(kinds.values()) for _, kinds in truth]


def test_reading_holds_every_line_against_its_description_and_is_cheap(generated):
    started = time.perf_counter()
    assert len(read_examples(generated[0] / "test-t5.jsonl")) == 12_870
    assert time.perf_counter() - started < 20  # 1.5 s on a quiet machine


def test_a_seed_that_cannot_be_used_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"^seed -1: expected non-negative integer$"):
        write_generated(tmp_path, -1)
    ran = generate_data("--out", tmp_path / "boxes", "--seed", -1)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert not (tmp_path / "boxes").exists()


def test_read_examples_golden(tmp_path):
    first, second = read_examples(write_queries(tmp_path / "data.jsonl", two_states()))
    assert second == Example(3, 1, DESCRIPTION, CONTENTS, (1, 0, 0, 0, 0, 0, 0))
    assert (first.num_operations, first.contents, first.num_ops) == (0, FIRST, (0,) * 7)
