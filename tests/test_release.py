"""The public release's zip in place of generated data: its layout, its password, and what is not it."""

import json
import zipfile
from pathlib import Path

import pytest
from dataset_fixture import encrypted_zip, generate_data, two_states

from boxes.dataset import FILES, RELEASE_FOLDER, RELEASE_PASSWORD, SUBSET, unpack_release
from boxes.records import UserError


def release_members(top: str = "") -> dict[str, bytes]:
    """The release's layout: the four files in their folder, beside those of other variants of the task."""
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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: encrypted_zip(path, release_members(), b"iamanLM"),
         "Bad password for file .*; this is not the release of the boxes task"),
        (lambda path: encrypted_zip(path, {"another/file.txt": b"text"}, RELEASE_PASSWORD),
         rf"no {RELEASE_FOLDER}/train-t5.jsonl inside; is this boxes-dataset-v1.zip\?"),
        (lambda path: encrypted_zip(path, {name: text for name, text in release_members().items()
                                           if not name.endswith(SUBSET)}, RELEASE_PASSWORD),
         rf"no {RELEASE_FOLDER}/{SUBSET} inside; is this boxes-dataset-v1.zip\?"),
        (lambda path: path.write_text("not a zip"), "not a readable zip .*; download it again"),
        (lambda path: path.write_bytes(encrypted_zip(path, release_members(), RELEASE_PASSWORD).read_bytes()[:900]),
         "not a readable zip .*; download it again"),
        (lambda path: damaged(encrypted_zip(path, release_members(), RELEASE_PASSWORD)),
         "not a readable zip .*; download it again"),
        (lambda path: path.mkdir(), "not a readable zip .*; download it again"),
        (lambda path: None, "no such file; name the release's zip with RELEASE_ZIP=..."),
    ],
    ids=["wrong-password", "another-zip", "missing-member", "not-a-zip", "cut-short", "damaged", "a-folder", "no-file"],
)  # fmt: skip
def test_another_file_than_the_release_is_refused_and_nothing_written(make, message, tmp_path):
    archive = tmp_path / "release.zip"
    make(archive)
    with pytest.raises(UserError, match=f"^{archive}: {message}") as caught:
        unpack_release(archive, tmp_path / "boxes")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "boxes").exists()


def test_a_password_that_is_wrong_by_chance_only_later_is_refused_too(tmp_path):
    """One password in 256 passes the check byte of a member; what comes out is then no deflated text."""
    members = {f"{RELEASE_FOLDER}/{name}": bytes(range(256)) * 9 for name in FILES}
    refused = set()
    for number in range(600):
        archive = encrypted_zip(tmp_path / "release.zip", members, b"%d" % number)
        with pytest.raises(UserError) as caught:
            unpack_release(archive, tmp_path / "boxes")
        refused.add(str(caught.value).rpartition(";")[2])
    assert refused == {" this is not the release of the boxes task", " download it again"}
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
