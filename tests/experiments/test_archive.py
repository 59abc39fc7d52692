"""Archives of results: the same bytes, all that a table needs and no text of the task; archives of
others are not trusted."""

import hashlib
import io
import json
import re
import runpy
import tarfile
from pathlib import Path

import pytest
import zstandard
from runs_fixture import DESCRIPTIONS, TRUTHS, add_run, fill_workplace, score
from scripts_fixture import ROOT, files, refusal, run_script

from boxes import world
from boxes.records import UserError, read_csv, read_json, write_csv, write_json
from experiments.tools.cards import card
from paper import tables
from paper.results import read_results

ARCHIVE = runpy.run_path(str(ROOT / "experiments" / "tools/archive.py"), run_name="archive")


@pytest.fixture
def workplace(tmp_path, capsys) -> Path:
    """Scores of two tiny models, in out/, and their archive, a.tar.zst."""
    fill_workplace(tmp_path)
    assert score(tmp_path, capsys) == (0, "")
    assert run_script("tools/archive.py", *pack_arguments(tmp_path)) == 0
    return tmp_path


def pack_arguments(folder: Path, name: str = "a.tar.zst") -> list[object]:
    return ["--profile", "tiny", "--results", folder / "out", "--runs", folder / "runs", "--out", folder / name]


def unpack_arguments(folder: Path, name: str = "a.tar.zst") -> list[object]:
    return ["--unpack", folder / name, "--out", folder / "unpacked"]


def contents(path: Path) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(zstandard.ZstdDecompressor().decompress(path.read_bytes()))) as archive:
        return {info.name: archive.extractfile(info).read() for info in archive}


def write_archive(
    path: Path, members: dict[str, bytes] | list[tuple[tarfile.TarInfo, bytes]], sums: bool = True
) -> None:
    """An archive of these files, with checksums that are right; or of members as they are given."""
    if isinstance(members, dict):
        if sums:
            members = members | {"SHA256SUMS": ARCHIVE["checksums"](members).encode()}
        path.write_bytes(ARCHIVE["pack"](members))
        return
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    path.write_bytes(zstandard.compress(buffer.getvalue()))


def test_same_results_same_bytes_without_dates_and_owners(workplace):
    assert run_script("tools/archive.py", *pack_arguments(workplace, "b.tar.zst")) == 0
    packed = (workplace / "a.tar.zst").read_bytes()
    assert packed == (workplace / "b.tar.zst").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(zstandard.ZstdDecompressor().decompress(packed))) as archive:
        members = archive.getmembers()
    assert [info.name for info in members] == sorted(info.name for info in members)
    assert {(info.mtime, info.uid, info.gid, info.uname, info.mode) for info in members} == {(0, 0, 0, "", 0o644)}


def test_holds_results_provenance_and_checksums_and_no_text_of_the_task(workplace):
    found = contents(workplace / "a.tar.zst")
    for name in ("scores", "queries", "runs"):
        assert found[f"results/{name}.csv"] == (workplace / "out" / f"{name}.csv").read_bytes()
    assert found["runs/tiny-code/run.json"] == (workplace / "runs/tiny-code/run.json").read_bytes()
    left_out = dict(reversed(line.split("  ")) for line in found["PREDICTIONS.sha256"].decode().splitlines())
    predictions = workplace / "runs/tiny-code/predictions.jsonl"
    assert left_out["runs/tiny-code/predictions.jsonl"] == hashlib.sha256(predictions.read_bytes()).hexdigest()
    sums = [line.split("  ") for line in found["SHA256SUMS"].decode().splitlines()]
    assert {name: digest for digest, name in sums} == {
        name: hashlib.sha256(content).hexdigest() for name, content in found.items() if name != "SHA256SUMS"
    }
    everything = b"".join(found.values()).decode()
    assert DESCRIPTIONS[0] not in everything
    assert "Box 0 contains the" not in everything


def test_a_run_has_a_page_and_the_archive_a_citation(workplace):
    found = contents(workplace / "a.tar.zst")
    assert found["CITATION.cff"] == (ROOT / "CITATION.cff").read_bytes()
    page = found["runs/tiny-base/CARD.md"].decode()
    assert "A run decoded by this artifact, under the paper's regular expression.\n" in page
    run = read_json(workplace / "runs/tiny-base/run.json")
    for name in ("revision", "prompt_sha256", "dtype"):
        assert f" | {run[name]} |\n" in page
    assert "| all | 14 | 14 | 100.00 | " in page
    assert "Not the test set: data.jsonl." not in page, "an earlier version's run, which names no dataset"
    assert not [name for name in found if name.startswith("runs/tiny-math")]
    page = card({"model": "mine", "engine": "vLLM 0.11 | AWQ\nnight", "constrained": "not stated"}, {})
    assert "\n| Engine | vLLM 0.11 \\| AWQ night |\n" in page
    assert "with or without the paper's regular expression (not stated).\n" in page


IN_OTHER_WORDS = [world.describe(*world.parse(DESCRIPTIONS[1]), wording) for wording in world.WORDINGS.values()]
TASK_TEXTS = [
    "Statement: Box 0 contains nothing", "Put the map and the car into Box 3", "Statement: Container A is empty",
    "Take the car out of Container A", "Pick up the car in Container A and place it into Container B",
    "Move the contents of Box 1 to Box 2", *IN_OTHER_WORDS, *(text.rpartition(". ")[2] for text in IN_OTHER_WORDS),
]  # fmt: skip


def test_text_of_the_task_is_not_packed(workplace, capsys):
    """In whatever words it is."""
    path = workplace / "runs/tiny-base/run.json"
    run = read_json(path)
    for text in TASK_TEXTS:
        write_json(path, run | {"reason": f"said: {text}"})
        line = refusal(capsys, "tools/archive.py", *pack_arguments(workplace, "b.tar.zst"))
        assert line.startswith("runs/tiny-base/run.json: has text of the task; it is kept out of what is published")
        assert not (workplace / "b.tar.zst").exists()


def test_table6_comes_out_of_an_archive_alone(workplace, capsys):
    before = tables.for_terminal(read_results("tiny", workplace / "out"), 6)
    for gone in ("out", "runs"):
        (workplace / gone).rename(workplace / f"was-{gone}")
    for _ in range(2):  # a folder that was unpacked into is made anew
        capsys.readouterr()
        assert run_script("tools/archive.py", *unpack_arguments(workplace)) == 0
        assert capsys.readouterr().out == "tiny\n"
        assert tables.for_terminal(read_results("tiny", workplace / "unpacked/results"), 6) == before
        (workplace / "unpacked" / "stranger").touch()


def test_a_folder_of_another_kind_is_left_alone(workplace, capsys):
    (workplace / "unpacked").mkdir()
    (workplace / "unpacked" / "thesis.tex").touch()
    said = "not a folder that an archive was unpacked into; name another or move it away"
    assert refusal(capsys, "tools/archive.py", *unpack_arguments(workplace)) == f"{workplace / 'unpacked'}: {said}"
    assert (workplace / "unpacked" / "thesis.tex").exists()


DISTRUST = "nothing was unpacked, name an archive that experiments/tools/archive.py wrote"
AGAIN = "fetch it again"


def refused(capsys, folder: Path, name: str = "bad.tar.zst") -> str:
    """What unpacking says, having written nothing."""
    before = files(folder)
    line = refusal(capsys, "tools/archive.py", *unpack_arguments(folder, name))
    assert files(folder) == before
    return line.removeprefix(f"{folder / name}: ")


@pytest.mark.parametrize(
    "name",
    ["../evil.csv", "/etc/evil", "results/../../evil.csv", "results/evil.py", "runs/x/predictions.jsonl", "results/.csv",
     "runs/a/b/c/run.json", "results/scores.csv\n", "results\\\\..\\\\x.csv", "runs/../run.json", "evil", ""],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_refused(workplace, capsys, name):
    found = contents(workplace / "a.tar.zst")
    write_archive(workplace / "bad.tar.zst", [*((tarfile.TarInfo(n), c) for n, c in found.items()),
                                              (tarfile.TarInfo(name), b"x")])  # fmt: skip
    assert refused(capsys, workplace) == f"{name!r} has no place in an archive of results; {DISTRUST}"


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE],
)
def test_what_is_no_plain_file_is_refused(workplace, capsys, kind):
    info = tarfile.TarInfo("results/scores.csv")
    info.type, info.linkname = kind, "/etc/passwd"
    write_archive(workplace / "bad.tar.zst", [(info, b"")])
    assert refused(capsys, workplace) == f"'results/scores.csv' is no plain file; {DISTRUST}"


def test_sparse_files_are_refused(workplace, capsys):
    info = tarfile.TarInfo("results/scores.csv")
    info.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(1 << 60)}
    write_archive(workplace / "bad.tar.zst", [(info, b"x")])
    assert refused(capsys, workplace) == f"'results/scores.csv' is no plain file; {DISTRUST}"


def test_bombs_are_refused(workplace, capsys):
    (workplace / "bad.tar.zst").write_bytes(zstandard.compress(bytes(ARCHIVE["MAX_BYTES"] + 1)))
    assert refused(capsys, workplace) == f"would unpack to more than {ARCHIVE['MAX_BYTES']} bytes; {DISTRUST}"
    with open(workplace / "bad.tar.zst", "wb") as file:
        file.truncate(ARCHIVE["MAX_PACKED"] + 1)
    with pytest.raises(UserError) as caught:
        ARCHIVE["read_archive"](workplace / "bad.tar.zst")
    assert str(caught.value) == f"{workplace / 'bad.tar.zst'}: more than {ARCHIVE['MAX_PACKED']} bytes; {DISTRUST}"
    far = zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters(window_log=27)).compressobj()
    (workplace / "bad.tar.zst").write_bytes(far.compress(bytes(1000)) + far.flush())
    assert re.fullmatch(rf"not a readable .tar.zst \(zstd .*\); {AGAIN}", refused(capsys, workplace))
    many = [(tarfile.TarInfo(f"results/a{n}.csv"), b"") for n in range(ARCHIVE["MAX_FILES"] + 1)]
    write_archive(workplace / "bad.tar.zst", many)
    said = f"'results/a1000.csv' a second time, or more than 1000 files; {DISTRUST}"
    assert refused(capsys, workplace) == said


def test_a_header_that_leads_back_ends(workplace, capsys):
    info = tarfile.TarInfo("results/scores.csv")
    info.size = -1024
    header = bytearray(tarfile.TarInfo("results/scores.csv").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 10 + b"\xfc\x00"  # a size of -1024 in base 256
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    (workplace / "bad.tar.zst").write_bytes(zstandard.compress(bytes(header) * 3))
    # the reason is in the words of the library, which are others in other versions of Python
    assert re.fullmatch(rf"not a readable .tar.zst \(.+\); {re.escape(AGAIN)}", refused(capsys, workplace))


@pytest.mark.parametrize("damage", [lambda c: b"", lambda c: c[:100], lambda c: c[:-2000], lambda c: b"PK" + c,
                                    lambda c: c[:2000] + bytes(50) + c[2050:]])  # fmt: skip
def test_damaged_archives_are_refused(workplace, capsys, damage):
    (workplace / "bad.tar.zst").write_bytes(damage((workplace / "a.tar.zst").read_bytes()))
    assert re.fullmatch(rf"not a readable .tar.zst \(.+\); {AGAIN}", refused(capsys, workplace))


def test_where_there_is_no_archive(workplace, capsys):
    said = "cannot be read (No such file or directory); name an archive with FROM=..."
    assert refused(capsys, workplace, "none.tar.zst") == said


def changed(folder: Path, name: str, content: bytes | None, sums: bool = True) -> None:
    found = contents(folder / "a.tar.zst") | {name: content}
    kept = {key: value for key, value in found.items() if value is not None and (key != "SHA256SUMS" or not sums)}
    write_archive(folder / "bad.tar.zst", kept, sums)


@pytest.mark.parametrize(
    ("name", "content", "sums", "says"),
    [("results/scores.csv", b"x", False, f"the files in it are not those of its SHA256SUMS; {AGAIN}"),
     ("results/scores.csv", None, True, f"results/scores.csv: no such file; {DISTRUST}"),
     ("results/runs.csv", b"model\n", True, "results/runs.csv: line 1: missing column status, revision, prompt_sha256, "
      f"dataset_sha256, started; {DISTRUST}"),
     ("results/queries.csv", b"model,sample_id,num_operations,box,num_ops,correct\ntiny-base,3,0,0,few,1\n", True,
      f"results/queries.csv: line 2: num_ops must be a number of 0 or more, found 'few'; {DISTRUST}"),
     ("results/scores.csv", b"model,num_ops,n,correct,accuracy,ci_low,ci_high\ntiny-base,all,9,,50,40,60\n", True,
      f"results/scores.csv: tiny-base is not what follows from queries.csv; {DISTRUST}"),
     ("runs/tiny-code/run.json", None, True, f"runs/tiny-code/run.json: no such file; {DISTRUST}"),
     ("runs/tiny-code/run.json", b'{"format": 2}', True, "runs/tiny-code/run.json: format 2, this version reads 1; "
      "use the version that wrote it, or another folder"),
     ("results/runs.csv", b"model,status,revision,prompt_sha256,dataset_sha256,started\n../runs/tiny-code,complete,,,,\n",
      True, f"results/runs.csv: '../runs/tiny-code' is no model's name; {DISTRUST}"),
     ("runs/tiny-code/run.json", b"[]", True,
      f"runs/tiny-code/run.json: expected a JSON object, found list; {DISTRUST}"),
     ("archive.json", None, True, f"no proper archive.json inside; {DISTRUST}"),
     ("archive.json", b"archive", True, f"no proper archive.json inside; {DISTRUST}"),
     ("archive.json", b'{"format": 2, "profile": "tiny"}', True,
      "format 2, this version reads 1; use the version that wrote it"),
     ("archive.json", b'{"format": 1, "profile": "x"}', True, "unknown profile 'x'; use the version that wrote it")],
)  # fmt: skip
def test_archives_that_do_not_hold_together_are_refused(workplace, capsys, name, content, sums, says):
    changed(workplace, name, content, sums)
    assert refused(capsys, workplace) == says


def test_scores_must_follow_from_the_answers_and_runs_share_a_table(workplace, capsys):
    scores = contents(workplace / "a.tar.zst")["results/scores.csv"].decode()
    first = next(line for line in scores.splitlines() if line.startswith("tiny-code,all,"))
    name, bucket, n, _, *rest = first.split(",")
    changed(workplace, "results/scores.csv", scores.replace(first, ",".join([name, bucket, n, n, *rest])).encode())
    said = f"results/scores.csv: tiny-code is not what follows from queries.csv; {DISTRUST}"
    assert refused(capsys, workplace) == said
    run = json.loads(contents(workplace / "a.tar.zst")["runs/tiny-code/run.json"])
    changed(workplace, "runs/tiny-code/run.json", json.dumps(run | {"max_new_tokens": 100}).encode())
    said = f"tiny-code: decoded with max_new_tokens 100, but tiny-base with 256; {DISTRUST}"
    assert refused(capsys, workplace) == said
    changed(workplace, "runs/tiny-code/run.json", json.dumps(run | {"dataset_sha256": "0" * 64}).encode())
    said = f"runs/tiny-code/run.json: dataset_sha256 not as in runs.csv; {DISTRUST}"
    assert refused(capsys, workplace) == said


def test_results_that_are_not_of_the_runs_beside_them_are_not_packed(workplace, capsys):
    add_run(workplace, "tiny-code", TRUTHS, started="later")
    assert "started not as in runs.csv; score again" in refusal(
        capsys, "tools/archive.py", *pack_arguments(workplace, "b")
    )
    assert not (workplace / "b").exists()
    add_run(workplace, "tiny-code", TRUTHS)
    scores = read_csv(workplace / "out/scores.csv")
    write_csv(workplace / "out/scores.csv", scores.replace("tiny-code", "tiny-math"))
    assert "tiny-code is not what follows" in refusal(capsys, "tools/archive.py", *pack_arguments(workplace, "b"))
    (workplace / "out/scores.csv").unlink()
    assert "no scores.csv and runs.csv" in refusal(capsys, "tools/archive.py", *pack_arguments(workplace, "b"))
