"""Files that survive a kill, a full disk and a torn line; tables that come back as written; errors
for people."""

import json
import os
import signal

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripts_fixture import python

from boxes.records import (
    JsonLines,
    UserError,
    read_csv,
    read_json,
    sha256_file,
    sha256_text,
    write_bytes,
    write_csv,
    write_json,
    write_text,
)

# --- whole files or nothing ---


def test_a_file_is_written_whole(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    write_text(path, "é\n")
    assert path.read_bytes() == b"\xc3\xa9\n"
    write_bytes(path, (piece for piece in (b"a", b"", b"b")))
    assert path.read_bytes() == b"ab"
    assert path.stat().st_mode & 0o777 == 0o644
    assert sha256_file(path) == sha256_text("ab")
    assert os.listdir(path.parent) == ["file.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_fails_half_way_leaves_the_old_file_and_nothing_else(error, tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def pieces():
        yield b"half"
        raise error

    with pytest.raises(error):
        write_bytes(path, pieces())
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_a_kill_half_way_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    code = """if True:
        import os, signal, sys
        from boxes.records import write_bytes
        def pieces():
            yield b"new" * 100_000
            os.kill(os.getpid(), signal.SIGKILL)
        write_bytes(sys.argv[1], pieces())"""
    assert python(code, path).returncode == -signal.SIGKILL
    assert path.read_text() == "old"


LIMITED = """if True:
    import resource, sys
    from boxes.commandline import command
    from boxes.records import JsonLines, write_bytes
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))  # as good as a full disk
    path, how = sys.argv[1:]
    sys.argv = ["script.py"]
    @command
    def main():
        if how == "write":
            write_bytes(path, b"new" * 10_000)
        for number in range(1000):
            JsonLines(path).append([{"number": number, "text": "x" * 100}])
    main()"""


def test_a_full_disk_leaves_the_old_file_and_is_one_line(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    ran = python(LIMITED, path, "write")
    assert (ran.returncode, ran.stderr) == (
        2,
        f"script.py: {path}: cannot write (File too large); nothing was changed, check the disk and the permissions\n",
    )
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_a_full_disk_keeps_the_lines_that_were_appended(tmp_path):
    path = tmp_path / "file.jsonl"
    ran = python(LIMITED, path, "append")
    assert ran.returncode == 2
    assert ran.stderr == f"script.py: {path}: cannot append (File too large); the lines before are kept, run again\n"
    kept = [line["number"] for line in JsonLines(path).read()]
    assert kept == list(range(len(kept)))
    assert len(kept) > 50
    JsonLines(path).append([{"number": len(kept)}])
    assert [line["number"] for line in JsonLines(path).read()] == list(range(len(kept) + 1))


def test_where_nothing_can_be_written(tmp_path):
    write_text(tmp_path / "file", "not a folder")
    with pytest.raises(
        UserError, match=r"^\S+/file/below.txt: cannot write here \(.*\); check the folder's permissions$"
    ):
        write_text(tmp_path / "file" / "below.txt", "text")
    (tmp_path / "folder").mkdir()
    with pytest.raises(
        UserError, match=r"^\S+/folder: cannot write \(Is a directory\); nothing was changed, check the disk and"
    ):
        write_text(tmp_path / "folder", "text")
    with pytest.raises(UserError, match=r"^\S+/file/below.jsonl: cannot append \(.*\); the lines before are kept"):
        JsonLines(tmp_path / "file" / "below.jsonl").append([{}])
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


# --- lines that grow ---

values = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3)
anywhere = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@anywhere
@given(lines=st.lists(values, min_size=1, max_size=4), more=st.lists(values, min_size=1, max_size=3), data=st.data())
def test_a_file_torn_anywhere_goes_on_after_its_last_whole_line(tmp_path, lines, more, data):
    path = tmp_path / "lines.jsonl"
    path.unlink(missing_ok=True)
    JsonLines(path).append(lines)
    content = path.read_bytes()
    assert content.count(b"\n") == len(lines)  # whatever characters a text has
    kept = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:kept])
    whole = lines[: content[:kept].count(b"\n")]
    assert list(JsonLines(path).read()) == whole
    assert path.read_bytes() == content[:kept]  # reading changes nothing
    JsonLines(path).append(more)
    assert list(JsonLines(path).read()) == whole + more


def test_lines_of_a_file_that_is_not_there(tmp_path):
    lines = JsonLines(tmp_path / "folder" / "lines.jsonl")
    assert list(lines.read()) == []
    lines.append([])
    lines.append([{"a": 1}, {"b": "é"}])
    assert lines.path.read_bytes() == '{"a": 1}\n{"b": "é"}\n'.encode()


NOT_JSON = r"not JSON, or cut short \(.*\)"


@pytest.mark.parametrize(
    ("broken", "message"),
    [(b"{'a': 1}", NOT_JSON), (b"", NOT_JSON), (b"\xff", "not UTF-8 text"), (b"\0\0", "NUL bytes in place of text"),
     (b"[1]", "expected a JSON object, found list"), (b"[" * 99_999, r"not JSON \(.*brackets too deep\)"),
     (b" " * (1 << 20), "longer than 1048576 bytes")],
    ids=["quotes", "empty", "encoding", "NUL", "list", "deep", "long"],
)  # fmt: skip
def test_a_broken_line_that_is_not_the_last_is_named(broken, message, tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"a": 1}\n' + broken + b'\n{"a": 2}\n')
    with pytest.raises(UserError, match=f"^{path}: line 2: {message}; delete the line$"):
        list(JsonLines(path).read())


# --- tables and objects ---


def test_a_table_comes_back_as_written(tmp_path):
    frame = pd.DataFrame(
        {"model": ["NA", "a,b", 'say "x"', "None"], "num_ops": ["0", "7", "all", "1+"], "n": [1, 2, 3, 4],
         "accuracy": [0.5, 100 / 3, float("nan"), 1e-7]}
    )  # fmt: skip
    path = tmp_path / "table.csv"
    write_csv(path, frame)
    again = read_csv(path, ("model", "n"))
    pd.testing.assert_frame_equal(again, frame, rtol=0, atol=5e-7)
    assert again.num_ops.tolist() == ["0", "7", "all", "1+"]
    write_csv(tmp_path / "again.csv", again)
    assert (tmp_path / "again.csv").read_bytes() == path.read_bytes()
    assert b"\r" not in path.read_bytes()
    assert b"33.333333\n" in path.read_bytes()


MAKE = r"run the experiment that writes it \(make help\)"


def test_a_table_that_cannot_be_read_is_one_line(tmp_path):
    path = tmp_path / "table.csv"
    with pytest.raises(UserError, match=f"^{path}: no such file; {MAKE}$"):
        read_csv(path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=f"^{path}: line 1: missing column c, d; {MAKE}$"):
        read_csv(path, ("a", "c", "d"))
    for content in (b"", b'a,b\n"1,2\n', b"a,b\n1,2,3\n4,5,6,7,8\n", b"a\n\xff\n"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"^{path}: not a readable CSV \(.*\); {MAKE}$") as caught:
            read_csv(path)
        assert "\n" not in str(caught.value)
    for cell in ("many", "", "-1", "inf", "9" * 400):
        path.write_text(f"a,num_ops\n1,2\n1,{cell}\n")
        said = f"line 3: num_ops must be a number of 0 or more, found {repr(cell) if cell else 'nothing'}"
        with pytest.raises(UserError, match=f"^{path}: {said}; {MAKE}$"):
            read_csv(path, ("a",), ("num_ops",))
    path.write_text("a,b\n0,1,2\n")
    with pytest.raises(UserError, match=f"^{path}: line 2: more fields than line 1 has names; {MAKE}$"):
        read_csv(path)


@anywhere
@given(value=values)
def test_an_object_comes_back_as_written(tmp_path, value):
    write_json(tmp_path / "value.json", value)
    assert read_json(tmp_path / "value.json") == value


def test_an_object_is_written_in_one_way(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1], "a": "é"})
    write_json(tmp_path / "b.json", {"a": "é", "b": [1]})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": "é", "b": [1]}


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, f"no such file; {MAKE}"), (b"{", r"not a readable JSON file \(.*\); delete it and run again"),
     (b"\xff", r"not a readable JSON file \(.*\); delete it and run again"),
     (b"[" * 99_999, r"not a readable JSON file \(.*\); delete it and run again"),
     (b"[]", "expected a JSON object, found list; delete it and run again")],
)  # fmt: skip
def test_an_object_that_cannot_be_read_is_one_line(content, message, tmp_path):
    path = tmp_path / "value.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"^{path}: {message}$"):
        read_json(path)
