"""Datasets that are refused: each with the one line that names the file, the line, what is wrong
and what to do."""

import json
import tracemalloc

import pytest
from dataset_fixture import DESCRIPTION, FIRST, state_queries, two_states, write_queries
from scripts_fixture import files, refusal

from boxes import records
from boxes.dataset import read_examples
from boxes.records import UserError

MEND = "correct it, or make the data again (make data)"
OPENING = DESCRIPTION.removesuffix(" Remove the shoe from Box 0.")


def refused(capsys, path) -> str:
    """The line with which a script refuses a dataset, having written nothing; the file's name and
    the mend cut off."""
    before = files(path.parent)
    out = path.parent / "results" / "random.csv"
    line = refusal(capsys, "02_random_baseline.py", "--profile", "tiny", "--data", path, "--out", out)
    assert files(path.parent) == before
    assert line.startswith(f"{path}: ")
    assert line.endswith(f"; {MEND}")
    return line.removeprefix(f"{path}: ").removesuffix(f"; {MEND}")


# --- lines that are whole and say what cannot be ---


def put(index: int, **fields):
    return lambda queries: queries[index].update(fields)


def lack(index: int, field: str):
    return lambda queries: queries[index].pop(field)


def drop(*indices: int):
    return lambda queries: [queries.pop(index) for index in sorted(indices, reverse=True)]


def swap(one: int, other: int):
    def change(queries):
        queries[one], queries[other] = queries[other], queries[one]

    return change


def double(index: int):
    return lambda queries: queries.insert(index, queries[index])


def everywhere(old: str, new: str, state: int = 1):
    """Replace a text in every field of a state, as a consistent file would have it."""

    def change(queries):
        for query in queries[7 * state : 7 * state + 7]:
            for field in ("sentence", "sentence_masked", "masked_content"):
                query[field] = query[field].replace(old, new)

    return change


def then(operation: str):
    """Another operation at the end of the second state's description."""
    return everywhere("Remove the shoe from Box 0.", f"Remove the shoe from Box 0. {operation}")


def again(queries):
    queries += queries[:7]


ORDER = (
    "sentence_masked must end in 'Box {} contains <extra_id_0> .': a state has the queries of Box 0 to Box 6 in order"
)
FOLLOWS = "masked_content must be '<extra_id_0> {}', which follows from the description"
SENTENCE = "sentence must be sentence_masked with masked_content in it"
KINDS = "numops_by_op must count move, remove, put"
SAMPLE_ID = "field 'sample_id' must lie between 0 and 2**63"
WRONG = [
    # fields
    (lack(9, "numops"), 10, "field 'numops' must be of type int"),
    (lack(0, "sentence_masked"), 1, "field 'sentence_masked' must be of type str"),
    (put(8, numops="1"), 9, "field 'numops' must be of type int"),
    (put(8, numops=True), 9, "field 'numops' must be of type int"),
    (put(8, numops=1.0), 9, "field 'numops' must be of type int"),
    (put(0, sentence=None), 1, "field 'sentence' must be of type str"),
    (put(0, masked_content=["<extra_id_0> the car"]), 1, "field 'masked_content' must be of type str"),
    (put(3, sample_id="3"), 4, "field 'sample_id' must be of type int"),
    (put(3, sample_id=-3), 4, SAMPLE_ID),
    (put(3, sample_id=2**63), 4, SAMPLE_ID),
    (put(0, numops_by_op=[0]), 1, "field 'numops_by_op' must be of type dict"),
    (put(2, numops_by_op={"move": 0, "remove": 0}), 3, KINDS),
    (put(2, numops_by_op={"move": 0, "remove": "0", "put": 0}), 3, KINDS),
    (put(2, numops_by_op={"move": 0, "remove": 0, "put": 1}), 3, "numops_by_op must add up to numops, 0"),
    # the order of lines, and how many there are
    (drop(13), 13, "a state needs seven queries, the last one has 6"),
    (drop(6), 7, ORDER.format(6)),  # what stands there is Box 0 of the next state
    (drop(2), 3, ORDER.format(2)),
    (double(2), 4, ORDER.format(3)),
    (double(7), 9, ORDER.format(1)),
    (swap(9, 10), 10, ORDER.format(2)),
    (swap(0, 1), 1, ORDER.format(0)),
    (drop(3, 4, 5, 6, 7, 8, 9), 4, "a state needs seven queries, this one has 3"),
    (put(8, sample_id=4), 9, "a state needs seven queries, this one has 1"),
    (again, 15, "sample 3 after 0 operations a second time, as in line 1"),
    # the description
    (everywhere("Box 1 contains nothing, ", "", 0), 1, "expected 7 boxes, found 6"),
    (everywhere("the hat.", "the hat, Box 7 contains nothing.", 0), 1, "expected 7 boxes, found 8"),
    (everywhere("Box 1 contains nothing", "Box 1 is empty", 0), 1,
     "expected 'Box 1 contains ...', found 'Box 1 is empty'"),
    (everywhere("the hat. Box", "the hat Box", 0), 1, "a description ends in a period"),
    (everywhere("the tie", "the zebra"), 8, "unknown noun 'zebra'"),
    (everywhere("the tie", "the \0"), 8, "expected 'Box 4 contains ...', found 'Box 4 contains the \\x00'"),
    (everywhere("the tie", "the " + "z" * 500_000), 8, f"unknown noun '{'z' * 99}…"),
    (everywhere("the tie", "the hat"), 8, "the hat is in two boxes"),
    (everywhere("the bag and the map", "the map and the bag"), 8,
     "objects are not in alphabetical order in 'the map and the bag'"),
    (everywhere("the bag and the map", "the bag and the bag"), 8, "an object stands twice in 'the bag and the bag'"),
    (everywhere("the tie", "the apple and the bone and the cake and the tie"), 8,
     "Box 4 holds more than 3 objects"),
    # operations
    (everywhere("Remove the shoe", "Lose the shoe"), 8, "not an operation: 'Lose the shoe from Box 0'"),
    (everywhere("Remove the shoe", "Remove nothing"), 8, "an operation without objects: 'Remove nothing from Box 0'"),
    (everywhere("Remove the shoe", "Remove the zebra"), 8, "unknown noun 'zebra'"),
    (everywhere("from Box 0", "from Box 1"), 8,
     "'Remove the shoe from Box 1.' cannot be: the shoe is not in Box 1"),
    (then("Move the shoe from Box 0 to Box 1."), 8,
     "'Move the shoe from Box 0 to Box 1.' cannot be: the shoe is not in Box 0"),
    (then("Move the car from Box 0 to Box 7."), 8, "not an operation: 'Move the car from Box 0 to Box 7'"),
    (then("Move the car from Box 0 to Box 0."), 8,
     "'Move the car from Box 0 to Box 0.' cannot be: Box 0 is both source and target"),
    (then("Put the hat into Box 1."), 8, "'Put the hat into Box 1.' cannot be: the hat is already in a box"),
    (then("Put the bone and the cake into Box 2."), 8,
     "'Put the bone and the cake into Box 2.' cannot be: Box 2 would hold more than 3 objects"),
    # what is said to be true
    (put(9, masked_content="<extra_id_0> the bag"), 10, FOLLOWS.format("the bag and the map")),
    (put(9, masked_content="<extra_id_0> the map and the bag"), 10, FOLLOWS.format("the bag and the map")),
    (put(8, masked_content="<extra_id_0> the tie"), 9, FOLLOWS.format("nothing")),  # which is in Box 4
    (put(8, masked_content="<extra_id_0> the zebra"), 9, FOLLOWS.format("nothing")),
    (put(7, masked_content="<extra_id_0> the car and the shoe"), 8, FOLLOWS.format("the car")),  # as it was before
    (put(9, masked_content="the bag and the map"), 10, FOLLOWS.format("the bag and the map")),
    (put(9, sentence=f"{DESCRIPTION} Box 2 contains the bag."), 10, SENTENCE),
    (put(9, sentence=f"{DESCRIPTION} Box 1 contains the bag and the map."), 10, SENTENCE),
    (put(9, sentence=f"{OPENING} Box 2 contains the bag and the map."), 10, SENTENCE),
    (put(7, numops=0), 8, "numops must be 1, the operations that changed Box 0"),
    (put(8, numops=1), 9, "numops must be 0, the operations that changed Box 1"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "line", "message"), WRONG, ids=range(len(WRONG)))
def test_lines_that_say_what_cannot_be(change, line, message, tmp_path, capsys):
    queries = two_states()
    change(queries)
    path = write_queries(tmp_path / "data.jsonl", queries)
    assert refused(capsys, path) == f"line {line}: {message}"


# --- bytes that are no lines of the schema ---

GOOD = "".join(json.dumps(query) + "\n" for query in two_states()).encode()
LINES = GOOD.splitlines(keepends=True)


def instead(line: bytes, number: int = 15) -> bytes:
    """The good lines before one, it, and the good ones after it."""
    return b"".join([*LINES[: number - 1], line, *LINES[number:]])


def cut_short(message: str) -> str:
    return f"not JSON, or cut short ({message})"


BYTES = [
    (b"", "empty"),
    (instead(b"{'sentence': 1}\n"), "line 15: " + cut_short(
        "Expecting property name enclosed in double quotes at character 2")),
    (instead(b"\n", 3), "line 3: " + cut_short("Expecting value at character 2")),
    (instead(LINES[13][:100], 14), "line 14: " + cut_short("Unterminated string starting at character 14")),
    (GOOD + b"null\n", "line 15: expected a JSON object, found NoneType"),
    (GOOD + b"[1, 2]\n", "line 15: expected a JSON object, found list"),
    (GOOD + b'"text"', "line 15: expected a JSON object, found str"),
    (GOOD + b'{"sentence": ' + b"9" * 5000 + b"}\n", "line 15: not JSON (a number too long, or brackets too deep)"),
    (GOOD + b"[" * 200_000 + b"\n", "line 15: not JSON (a number too long, or brackets too deep)"),
    (instead(b'{"numops": NaN}\n', 5), "line 5: field 'sentence' must be of type str"),
    (instead(bytes(4096) + b"\n", 8), "line 8: NUL bytes in place of text"),
    (instead(LINES[7].replace(b"the tie", b"the t\0e"), 8), "line 8: NUL bytes in place of text"),
    (instead('{"sentence": "é"}\n'.encode("latin-1"), 4), "line 4: not UTF-8 text"),
    (GOOD.decode().encode("utf-16"), "line 1: not UTF-8 text"),
    (b"\xef\xbb\xbf" + LINES[0] + b"\xef\xbb\xbf" + LINES[1], "line 2: " + cut_short(
        "Unexpected UTF-8 BOM (decode using utf-8-sig) at character 1")),
    (GOOD.replace(b"\n", b"\r"), "line 1: " + cut_short(f"Extra data at character {len(LINES[0]) + 1}")),
    (GOOD + b"x" * (records.MAX_LINE + 1), "line 15: longer than 1048576 bytes"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "message"), BYTES, ids=range(len(BYTES)))
def test_bytes_that_are_no_lines_of_the_schema(content, message, tmp_path, capsys):
    path = tmp_path / "data.jsonl"
    path.write_bytes(content)
    assert refused(capsys, path) == message


def test_a_line_of_a_gigabyte_is_never_in_memory(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_bytes(GOOD)
    with open(path, "rb+") as file:
        file.truncate(1 << 30)  # no disk is used
    tracemalloc.start()
    with pytest.raises(UserError) as caught:
        read_examples(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(caught.value) == f"{path}: line 15: longer than 1048576 bytes; {MEND}"
    assert peak < 10 * records.MAX_LINE


@pytest.mark.parametrize(
    ("make", "message"),
    [(lambda path: None, "no such file; `make data` writes it"),
     (lambda path: path.mkdir(), "cannot be read (Is a directory); check the file and its permissions")],
    ids=["none", "a-folder"],
)  # fmt: skip
def test_where_there_is_no_file(make, message, tmp_path, capsys):
    path = tmp_path / "data.jsonl"
    make(path)
    before = files(tmp_path)
    arguments = ("--profile", "tiny", "--data", path, "--out", tmp_path / "out.csv")
    assert refusal(capsys, "02_random_baseline.py", *arguments) == f"{path}: {message}"
    assert files(tmp_path) == before


def test_a_file_cut_anywhere_is_refused_or_a_whole_number_of_states(tmp_path):
    path = tmp_path / "cut.jsonl"
    ends = [index + 1 for index, byte in enumerate(GOOD) if byte == ord("\n")]
    for length in [*range(1, len(GOOD), 37), *ends, *(end - 1 for end in ends)]:
        path.write_bytes(GOOD[:length])
        if length in (ends[6], ends[6] - 1, ends[13], ends[13] - 1):  # nothing but the line end is lacking, at most
            assert len(read_examples(path)) == (1 if length <= ends[6] else 2)
            continue
        line = GOOD[:length].count(b"\n") + (length not in ends)
        with pytest.raises(UserError, match=rf"^{path}: line {line}: (not JSON|a state needs seven queries)"):
            read_examples(path)


@pytest.mark.parametrize(
    "content",
    [GOOD.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + GOOD, b"\xef\xbb\xbf" + GOOD.replace(b"\n", b"\r\n"),
     GOOD.removesuffix(b"\n"), b"".join(b"  " + line for line in LINES)],
    ids=["CRLF", "BOM", "BOM and CRLF", "no last line end", "indented"],
)  # fmt: skip
def test_what_an_editor_does_to_a_file_changes_nothing(content, tmp_path):
    good, edited = tmp_path / "good.jsonl", tmp_path / "edited.jsonl"
    good.write_bytes(GOOD)
    edited.write_bytes(content)
    assert read_examples(edited) == read_examples(good)


def test_scenarios_and_their_states_may_stand_in_any_order(tmp_path):
    """The release's subset is not in the order of operations; its samples are not numbered without
    gaps."""
    other = [query | {"sample_id": 4000} for query in state_queries(0, OPENING, FIRST, (0,) * 7)]
    path = write_queries(tmp_path / "data.jsonl", other + two_states()[7:] + two_states()[:7])
    found = [(example.sample_id, example.num_operations) for example in read_examples(path)]
    assert found == [(4000, 0), (3, 1), (3, 0)]
