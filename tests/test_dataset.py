"""The files of the boxes task: the generated text read again by other means, and what is refused."""

import json
import re
import shutil
import time

import pytest
from dataset_fixture import CONTENTS, DESCRIPTION, FIRST, ROOT, generate_data, two_states, write_queries

from boxes.dataset import (
    FILES,
    SUBSET,
    Example,
    checksum_lines,
    read_examples,
    verify_checksums,
    write_generated,
)
from boxes.records import UserError

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
    assert checksum_lines(folder) == CHECKSUMS.read_text()
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert output.startswith(f"{folder / SUBSET}: 714 descriptions, 4998 queries\n")
    assert peak < 500
    assert seconds < 60  # 4 s on a quiet machine


OPENING = re.compile(r"^(Box \d contains [^.]*)\.")
CLAUSE = re.compile(r"Box (\d) contains ([^,]+)")
ACTION = re.compile(r"(Move|Remove|Put) ([^.]*?) (?:from Box (\d) to Box (\d)|(?:from|into) Box (\d))\.")


def replay_text(description: str) -> list[tuple[set[str], dict[str, int]]]:
    """What a description says, read without the package: for each box its objects, and moves, removes and puts so far."""
    opening = OPENING.match(description)
    clauses = CLAUSE.findall(opening[1])
    assert [number for number, _ in clauses] == list("0123456")
    boxes = [set() if text == "nothing" else set(text.replace("the ", "").split(" and ")) for _, text in clauses]
    counts = [{"move": 0, "remove": 0, "put": 0} for _ in boxes]
    consumed = len(opening[0])
    for verb, text, source, target, only in ACTION.findall(description, consumed):
        objects = set(text.replace("the ", "").split(" and "))
        consumed += 1 + len(f"{verb} {text} into Box {only}." if verb == "Put" else f"{verb} {text} from Box {only}.")
        if verb == "Move":
            consumed += len("from Box 0 to Box 0.") - len("from Box .")
            assert objects <= boxes[int(source)]
            assert not objects & boxes[int(target)]
            boxes[int(source)] -= objects
            boxes[int(target)] |= objects
            counts[int(source)]["move"] += 1
            counts[int(target)]["move"] += 1
        elif verb == "Remove":
            assert objects <= boxes[int(only)]
            boxes[int(only)] -= objects
            counts[int(only)]["remove"] += 1
        else:
            assert not objects & set().union(*boxes)
            boxes[int(only)] |= objects
            counts[int(only)]["put"] += 1
    assert consumed == len(description)  # no word is left over
    assert sum(map(len, boxes)) == len(set().union(*boxes))
    assert max(map(len, boxes)) <= 3
    return list(zip(boxes, counts, strict=True))


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


def test_changed_bytes_do_not_pass_the_checksums(tmp_path):
    for name in FILES:
        (tmp_path / name).write_text("a line\n")
    sums = tmp_path / "sums"
    sums.write_text(checksum_lines(tmp_path))
    verify_checksums(tmp_path, sums)
    (tmp_path / SUBSET).write_text("another line\n")
    with pytest.raises(UserError, match=rf"^{tmp_path / 'none'}: no such file"):
        verify_checksums(tmp_path, tmp_path / "none")
    with pytest.raises(UserError, match=rf"^{tmp_path / SUBSET}: not the bytes of {sums}; was SEED changed"):
        verify_checksums(tmp_path, sums)


def test_a_seed_that_cannot_be_used_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"^seed -1: expected non-negative integer$"):
        write_generated(tmp_path, -1)
    ran = generate_data("--out", tmp_path / "boxes", "--seed", -1)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert not (tmp_path / "boxes").exists()


# --- what is refused ---


def test_read_examples_golden(tmp_path):
    first, second = read_examples(write_queries(tmp_path / "data.jsonl", two_states()))
    assert second == Example(3, 1, DESCRIPTION, CONTENTS, (1, 0, 0, 0, 0, 0, 0))
    assert (first.num_operations, first.contents, first.num_ops) == (0, FIRST, (0,) * 7)


def everywhere(queries: list[dict], old: str, new: str, state: int = 1) -> None:
    """Replace a text in every field of a state, as a consistent file would have it."""
    for query in queries[7 * state : 7 * state + 7]:
        for field in ("sentence", "sentence_masked", "masked_content"):
            query[field] = query[field].replace(old, new)


def drop(*indices: int):
    return lambda queries: [queries.pop(index) for index in sorted(indices, reverse=True)]


def put(index: int, **fields):
    return lambda queries: queries[index].update(fields)


def swap(one: int, other: int):
    def change(queries):
        queries[one], queries[other] = queries[other], queries[one]

    return change


ORDER = (
    "sentence_masked must end in 'Box {} contains <extra_id_0> .': a state has the queries of Box 0 to Box 6 in order"
)
APART = "sentence, sentence_masked and masked_content do not belong together"


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        (lambda queries: queries[9].pop("numops"), 10, "field 'numops' must be of type int"),
        (put(8, numops="1"), 9, "field 'numops' must be of type int"),
        (put(8, numops=True), 9, "field 'numops' must be of type int"),
        (put(8, numops=1.0), 9, "field 'numops' must be of type int"),
        (put(0, sentence=None), 1, "field 'sentence' must be of type str"),
        (put(0, numops_by_op=[0]), 1, "field 'numops_by_op' must be of type dict"),
        (drop(13), 13, "a state needs seven queries, the last one has 6"),
        (drop(6), 7, ORDER.format(6)),  # what stands there is Box 0 of the next state
        (drop(2), 3, ORDER.format(2)),
        (swap(9, 10), 10, ORDER.format(2)),
        (drop(3, 4, 5, 6, 7, 8, 9), 4, "a state needs seven queries, this one has 3"),
        (put(8, sample_id=4), 9, "a state needs seven queries, this one has 1"),
        (put(9, masked_content="<extra_id_0> the bag"), 10, APART),
        (put(9, sentence=f"{DESCRIPTION} Box 2 contains the bag."), 10, APART),
        (put(9, sentence=f"{DESCRIPTION} Box 1 contains the bag and the map."), 10, APART),
        (lambda queries: everywhere(queries, "the tie", "the zebra"), 12, "unknown noun 'zebra'"),
        (lambda queries: everywhere(queries, "the shoe", "the zebra"), 8, "unknown noun 'zebra'"),
        (lambda queries: everywhere(queries, "the tie", "the hat"), 8, "the hat is in two boxes"),
        (lambda queries: everywhere(queries, "the bag and the map", "the map and the bag"), 10,
         "objects are not in alphabetical order in 'the map and the bag'"),
        (lambda queries: everywhere(queries, "Remove the shoe", "Lose the shoe"), 8,
         "not an operation: 'Lose the shoe from Box 0'"),
        (lambda queries: everywhere(queries, "Box 1 contains nothing,", "", 0), 1, "expected 7 boxes, found 6"),
    ],
)  # fmt: skip
def test_malformed_lines_are_named(change, line, message, tmp_path):
    queries = two_states()
    change(queries)
    path = write_queries(tmp_path / "data.jsonl", queries)
    with pytest.raises(UserError) as caught:
        read_examples(path)
    assert str(caught.value) == f"{path}: line {line}: {message}"


def test_an_object_that_is_in_two_boxes_in_the_end_is_refused(tmp_path):
    """The description is in order, the answers are not."""
    queries = two_states()
    queries[8]["sentence"] = f"{DESCRIPTION} Box 1 contains the tie."
    queries[8]["masked_content"] = "<extra_id_0> the tie"
    path = write_queries(tmp_path / "data.jsonl", queries)
    with pytest.raises(UserError) as caught:
        read_examples(path)
    assert str(caught.value) == f"{path}: line 8: the tie is in two boxes"


NOT_JSON = "not JSON, or a line cut short; make the data again (make data)"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{'sentence': 1}\n", NOT_JSON),
        (b"\n", NOT_JSON),
        (b'{"sentence": "\xff"}\n', NOT_JSON),
        (b"[1, 2]\n", "expected a JSON object, found list"),
        (b"null\n", "expected a JSON object, found NoneType"),
    ],
)
def test_lines_that_are_no_objects_are_named(line, message, tmp_path):
    path = write_queries(tmp_path / "data.jsonl", two_states())
    path.write_bytes(path.read_bytes() + line)
    with pytest.raises(UserError) as caught:
        read_examples(path)
    assert str(caught.value) == f"{path}: line 15: {message}"


def test_a_file_cut_anywhere_is_refused_or_a_whole_number_of_states(tmp_path):
    content = write_queries(tmp_path / "data.jsonl", two_states()).read_bytes()
    path = tmp_path / "cut.jsonl"
    ends = [index + 1 for index, byte in enumerate(content) if byte == ord("\n")]
    for length in [*range(1, len(content), 37), *ends, *(end - 1 for end in ends)]:
        path.write_bytes(content[:length])
        if length in (ends[6], ends[6] - 1, ends[13], ends[13] - 1):  # nothing but the line end is lacking, at most
            assert len(read_examples(path)) == (1 if length <= ends[6] else 2)
            continue
        line = content[:length].count(b"\n") + (length not in ends)
        with pytest.raises(UserError, match=rf"^{path}: line {line}: (not JSON|a state needs seven queries)"):
            read_examples(path)


def test_a_missing_file_says_what_writes_it(tmp_path):
    with pytest.raises(UserError, match=r"none.jsonl: no such file; `make data` writes it"):
        read_examples(tmp_path / "none.jsonl")
