"""The public release's zip in place of generated data: its layout, its password, and what is not
it."""

import json
import re
import stat
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from dataset_fixture import encrypted_zip, generate_data, two_states

from boxes.dataset import FILES, MAX_MEMBER, RELEASE_FOLDER, RELEASE_PASSWORD, SUBSET, unpack_release
from boxes.records import UserError


def release_members(top: str = "") -> dict[str, bytes]:
    """The release's layout: the four files in their folder, beside those of other variants of the
    task."""
    text = "".join(json.dumps(query) + "\n" for query in two_states())
    members = {f"{top}{RELEASE_FOLDER}/{name}": text.encode() for name in FILES}
    other = {f"{top}{RELEASE_FOLDER}_altforms/{name}": b"of another variant\n" for name in FILES}
    return members | other | {f"{top}README.txt": b"read me", f"{top}{RELEASE_FOLDER}/other.txt": b"and me"}


@pytest.mark.parametrize("top", ["", "boxes-dataset-v1/"])
def test_the_release_is_unpacked(top, tmp_path):
    members = release_members(top)
    archive = encrypted_zip(tmp_path / "boxes-dataset-v1.zip", members, RELEASE_PASSWORD)
    with zipfile.ZipFile(archive) as opened, pytest.raises(RuntimeError, match="password required"):
        opened.read(next(iter(members)))
    unpack_release(archive, tmp_path / "boxes")
    for name in FILES:
        assert (tmp_path / "boxes" / name).read_bytes() == members[f"{top}{RELEASE_FOLDER}/{name}"]
    assert len(list((tmp_path / "boxes").iterdir())) == 4


def test_the_command_takes_the_release(tmp_path):
    archive = encrypted_zip(tmp_path / "release.zip", release_members("v1/"), RELEASE_PASSWORD)
    ran = generate_data("--out", tmp_path / "boxes", "--release-zip", archive)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(f"{tmp_path / 'boxes' / SUBSET}: 2 descriptions, 14 queries\n")


def damaged(archive: Path) -> None:
    """Overwrite some of the first member that is wanted."""
    content = bytearray(archive.read_bytes())
    name = f"{RELEASE_FOLDER}/{FILES[0]}".encode()
    start = content.index(name) + len(name) + 40
    content[start : start + 40] = bytes(40)
    archive.write_bytes(content)


def without(path: Path, name: str) -> Path:
    members = {member: text for member, text in release_members().items() if not member.endswith(f"/{name}")}
    return encrypted_zip(path, members, RELEASE_PASSWORD)


def plain_zip(path: Path, changes: dict[str | zipfile.ZipInfo, bytes], kind: int = zipfile.ZIP_DEFLATED) -> Path:
    """The release without a password, some of its members replaced and others added."""
    names = {change if isinstance(change, str) else change.filename.split("/")[-1] for change in changes}
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, text in release_members().items():
            if name.split("/")[-1] not in names:
                archive.writestr(name, text)
        for member, text in changes.items():
            archive.writestr(member, text)
    return path


def link(to: str) -> dict[zipfile.ZipInfo, bytes]:
    """A symbolic link in place of the first file."""
    info = zipfile.ZipInfo(f"{RELEASE_FOLDER}/{FILES[0]}")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return {info: to.encode()}


def size_said(path: Path, size: int) -> Path:
    """The release, a size written into the zip in place of the first file's own."""
    true = len(release_members()[f"{RELEASE_FOLDER}/{FILES[0]}"])
    content = plain_zip(path, {}).read_bytes()
    path.write_bytes(content.replace(struct.pack("<I", true), struct.pack("<I", size)))
    return path


def bomb(path: Path, size: int = MAX_MEMBER + (1 << 20)) -> Path:
    """Zeros in place of the first file: a thousandth of their size as a zip."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open(f"{RELEASE_FOLDER}/{FILES[0]}", "w") as member:
            for _ in range(size >> 20):
                member.write(bytes(1 << 20))
        for name in FILES[1:]:
            archive.writestr(f"{RELEASE_FOLDER}/{name}", "")
    return path


FIRST = f"{RELEASE_FOLDER}/{FILES[0]}"
WHICH = "; name the authors' boxes-dataset-v1.zip with RELEASE_ZIP=..."
AGAIN = "; download it again"
REFUSED = {
    "wrong-password": (lambda path: encrypted_zip(path, release_members(), b"iamanLM"),
        f"Bad password for file '{FIRST}'{WHICH}"),
    "another-zip": (lambda path: encrypted_zip(path, {"another/file.txt": b"text"}, RELEASE_PASSWORD),
        f"no {FIRST} inside{WHICH}"),
    "no-member": (lambda path: without(path, SUBSET), f"no {RELEASE_FOLDER}/{SUBSET} inside{WHICH}"),
    "empty": (lambda path: path.write_bytes(b""), f"not a readable zip (File is not a zip file){AGAIN}"),
    "not-a-zip": (lambda path: path.write_text("not a zip"), f"not a readable zip (File is not a zip file){AGAIN}"),
    "cut-short": (
        lambda path: path.write_bytes(encrypted_zip(path, release_members(), RELEASE_PASSWORD).read_bytes()[:900]),
        f"not a readable zip (File is not a zip file){AGAIN}"),
    "damaged": (lambda path: damaged(encrypted_zip(path, release_members(), RELEASE_PASSWORD)),
        f"not a readable zip (Error -3 while decompressing data: .*){AGAIN}"),
    "a-folder": (lambda path: path.mkdir(), "cannot be read (Is a directory); check the file and its permissions"),
    "no-file": (lambda path: None, "no such file; name the release's zip with RELEASE_ZIP=..."),
    "out-of-the-folder": (lambda path: plain_zip(path, {FILES[0]: b"", f"../{FIRST}": b"x"}),
        f"'../{FIRST}' leads out of the folder it is unpacked into{WHICH}"),
    "from-the-root": (lambda path: plain_zip(path, {FILES[0]: b"", f"/etc/{FIRST}": b"x"}),
        f"'/etc/{FIRST}' leads out of the folder it is unpacked into{WHICH}"),
    "a-link": (lambda path: plain_zip(path, link("/etc/passwd")), f"'{FIRST}' is no plain file{WHICH}"),
    "a-bomb": (bomb, f"'{FIRST}' would unpack to {MAX_MEMBER + (1 << 20)} bytes, more than {MAX_MEMBER}{WHICH}"),
    "two-that-differ": (lambda path: plain_zip(path, {FILES[0]: b"", FIRST: b"x", f"a/{FIRST}": b"y"}),
        f"'{FIRST}' and 'a/{FIRST}' differ{WHICH}"),
    "a-smaller-size": (lambda path: size_said(path, 10), f"not a readable zip (Bad CRC-32 for file '{FIRST}'){AGAIN}"),
    "a-larger-size": (lambda path: size_said(path, 1 << 31),
        f"'{FIRST}' would unpack to {1 << 31} bytes, more than {MAX_MEMBER}{WHICH}"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_another_file_than_the_release_is_refused_and_nothing_written(make, message, tmp_path):
    archive = tmp_path / "release.zip"
    make(archive)
    with pytest.raises(UserError) as caught:
        unpack_release(archive, tmp_path / "boxes")
    expected = re.escape(f"{archive}: {message}").replace(re.escape(".*"), ".*")
    assert re.fullmatch(expected, str(caught.value)), str(caught.value)
    assert not (tmp_path / "boxes").exists()


def test_a_size_that_is_too_small_in_the_zip_does_not_let_a_bomb_through(tmp_path):
    """What a member unpacks to is counted, not believed."""
    archive = bomb(tmp_path / "release.zip", 100 << 20)
    content = archive.read_bytes()
    archive.write_bytes(content.replace(struct.pack("<I", 100 << 20), struct.pack("<I", 1000)))
    tracemalloc.start()
    with pytest.raises(UserError, match=r"not a readable zip \(Bad CRC-32 for file .*\); download it again$"):
        unpack_release(archive, tmp_path / "boxes")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50 << 20


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_to_compress_are_read_and_their_damage_is_one_line(kind, tmp_path):
    archive = plain_zip(tmp_path / "release.zip", {}, kind)
    unpack_release(archive, tmp_path / "boxes")
    assert (tmp_path / "boxes" / SUBSET).read_bytes() == release_members()[f"{RELEASE_FOLDER}/{SUBSET}"]
    damaged(archive)
    with pytest.raises(UserError, match=r"not a readable zip \(.*\); download it again$"):
        unpack_release(archive, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_same_file_twice_is_no_contradiction(tmp_path):
    text = release_members()[FIRST]
    archive = plain_zip(tmp_path / "release.zip", {FILES[0]: b"", FIRST: text, f"copy/{FIRST}": text})
    unpack_release(archive, tmp_path / "boxes")
    assert (tmp_path / "boxes" / FILES[0]).read_bytes() == text


def test_a_password_that_is_wrong_by_chance_only_later_is_refused_too(tmp_path):
    """One password in 256 passes the check byte of a member; what comes out is then no deflated
    text."""
    members = {f"{RELEASE_FOLDER}/{name}": bytes(range(256)) * 9 for name in FILES}
    refused = set()
    for number in range(600):
        archive = encrypted_zip(tmp_path / "release.zip", members, b"%d" % number)
        with pytest.raises(UserError) as caught:
            unpack_release(archive, tmp_path / "boxes")
        refused.add(str(caught.value).rpartition(";")[2])
    assert refused == {WHICH.removeprefix(";"), " download it again"}
    assert not (tmp_path / "boxes").exists()


def test_the_command_refuses_in_one_line(tmp_path):
    archive = tmp_path / "release.zip"
    archive.write_text("not a zip")
    ran = generate_data("--out", tmp_path / "boxes", "--release-zip", archive)
    assert ran.returncode == 2
    assert (
        ran.stderr
        == f"01_generate_data.py: {archive}: not a readable zip (File is not a zip file); download it again\n"
    )
    assert not (tmp_path / "boxes").exists()
