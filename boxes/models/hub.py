"""What is known of the hub's repositories on this machine: commits and checksums.

They are recorded at the first download; what is fetched or loaded later is held to them.
"""

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from boxes.models.shapes import GB
from boxes.models.table import RECORDS
from boxes.records import UserError, read_json, sha256_file, write_json

REVISIONS = RECORDS / "revisions.json"  # {repository: {"commit": ..., "files": {name: SHA-256}}}
VERIFIED = RECORDS / "verified.json"  # {file: size, times and SHA-256 when it was last read}
# Bytes of a file whose checksum is remembered: 140 GB take minutes, less than this no time.
REMEMBERED = 2**26
SAID = 5 * GB  # bytes to be hashed of which a person is told


def cache_folder(hub_id: str, commit: str | None) -> Path | None:
    """Where the hub's cache has a repository at a commit, whether it is there or not; the newest
    one known without a commit.

    Not asked of snapshot_download, which takes a snapshot for incomplete that lacks what is never
    fetched.
    """
    from huggingface_hub import constants

    repository = Path(constants.HF_HUB_CACHE) / f"models--{hub_id.replace('/', '--')}"
    newest = repository / "refs" / "main"
    if commit is None and newest.is_file():
        commit = newest.read_text().strip()
    return repository / "snapshots" / commit if commit else None


def recorded(hub_id: str) -> dict:
    """What was recorded of a repository: "commit" and "files"; empty where it was never fetched."""
    if not REVISIONS.exists():
        return {}
    entry = read_json(REVISIONS).get(hub_id, {})
    if not entry:
        return {}
    is_whole = isinstance(entry, dict) and "commit" in entry
    if not is_whole or not isinstance(entry.get("files"), dict):
        wrong = f"{REVISIONS}: {hub_id}: no commit or files"
        raise UserError(f"{wrong}; delete the entry and fetch again")
    return entry


def record(hub_id: str, commit: str, files: dict[str, str]) -> None:
    """Record the commit and the checksums of fetched files; those known of the same commit stay."""
    known = recorded(hub_id)
    before = known["files"] if known.get("commit") == commit else {}
    entries = read_json(REVISIONS) if REVISIONS.exists() else {}
    write_json(REVISIONS, entries | {hub_id: {"commit": commit, "files": before | files}})


def is_recorded(hub_id: str, folder: Path, names: list[str]) -> bool:
    """Whether a folder of the cache was fetched to the end: all of it recorded, and there."""
    known = recorded(hub_id)
    files = known.get("files", {})
    if known.get("commit") != folder.name or not set(names) <= set(files):
        return False
    return all((folder / name).is_file() for name in files)


def check_sums(actual: dict[Path, str], files: dict[str, str]) -> None:
    """UserError where a file is not the one that was recorded under its name."""
    for path, sha256 in actual.items():
        if sha256 != files[path.name]:
            wrong = f"{path}: not the file that was recorded in {REVISIONS}"
            raise UserError(f"{wrong}; delete it and fetch again")


def file_sums(paths: Sequence[Path]) -> dict[Path, str]:
    """The SHA-256 of files; a large one that has not changed since is read once."""
    verified = _verified()
    sums, unread = {}, []
    for path in paths:
        *stamp, sha256 = str(verified.get(str(path.resolve()), "")).rsplit(" ", 1)
        if stamp == [_stamp(path)]:
            sums[path] = sha256
        else:
            unread.append(path)
    size = sum(path.stat().st_size for path in unread)
    if size > SAID:
        place = unread[0].parent
        print(f"{place}: reading {size / GB:.0f} GB for their checksums, once", file=sys.stderr)
    large = {}
    for path in unread:
        stamp = _stamp(path)  # of before: what changes meanwhile is read again
        sums[path] = sha256_file(path)
        if path.stat().st_size >= REMEMBERED:
            large[str(path.resolve())] = f"{stamp} {sums[path]}"
    if large:
        with suppress(UserError):  # where nothing can be written, they are read again
            write_json(VERIFIED, _verified() | large)
    return {path: sums[path] for path in paths}


def _verified() -> dict[str, str]:
    """What is remembered of files that were read; nothing where that cannot be read."""
    with suppress(OSError, UserError):
        if VERIFIED.exists():
            return read_json(VERIFIED)
    return {}


def _stamp(path: Path) -> str:
    """Size and times: that of the last change of content can be set, as by unpacking an archive,
    that of any change cannot."""
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
