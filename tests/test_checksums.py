"""Checksums of the dataset that do not fit."""

import pytest

from boxes.dataset import FILES
from boxes.records import UserError, checksum_lines, verify_checksums


def without_a_file(folder):
    (folder / FILES[1]).unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / FILES[0]).write_text("x"),
         "{folder}/" + FILES[0] + ": not the bytes of {sums}; make it with SEED=27 and the numpy of requirements.lock"),
        (without_a_file, "{folder}/" + FILES[1]
         + ": cannot be read (No such file or directory); check the file and its permissions"),
        (lambda folder: (folder / "sums").unlink(), "{sums}: no such file of checksums; restore it from the repository"),
        (lambda folder: (folder / "sums").write_bytes(b"\xff\n"),
         "{sums}: not a file of checksums; restore it from the repository"),
        (lambda folder: (folder / "sums").write_text(""),
         "{sums}: must have a SHA-256 for each of " + ", ".join(FILES) + "; restore it from the repository"),
        (lambda folder: (folder / "sums").write_text("nonsense\n"),
         "{sums}: must have a SHA-256 for each of " + ", ".join(FILES) + "; restore it from the repository"),
    ],
    ids=["bytes", "no-file", "no-sums", "binary", "empty", "nonsense"],
)  # fmt: skip
def test_checksums_that_do_not_fit(change, message, tmp_path):
    for name in FILES:
        (tmp_path / name).write_text(f"{name}\n")
    sums = tmp_path / "sums"
    sums.write_text(checksum_lines(tmp_path, FILES))
    verify_checksums(tmp_path, sums, FILES)
    change(tmp_path)
    with pytest.raises(UserError) as caught:
        verify_checksums(tmp_path, sums, FILES)
    assert str(caught.value) == message.format(folder=tmp_path, sums=sums)
