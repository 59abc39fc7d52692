"""A repository of the hub: what is fetched of it and at which commit, and that the files are those which the hub has.

Commits and checksums are recorded at the first download; what is fetched or loaded later is held to them.
"""

import hashlib
import re
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from boxes.models.shapes import GB
from boxes.models.table import RECORDS
from boxes.records import UserError, read_json, sha256_file, write_json

REVISIONS = RECORDS / "revisions.json"  # {repository: {"commit": ..., "files": {name: SHA-256}}}
VERIFIED = RECORDS / "verified.json"  # {file: size, times and SHA-256 when it was last read}
LARGE = 2**26  # bytes of a file whose checksum is remembered: hashing 140 GB takes minutes, less than this no time
SAID = 5e9  # bytes to be hashed of which a person is told
COMMON_FILES = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json",
)  # fmt: skip
# In the order of preference: one file or shards, and the index of shards.
WEIGHT_FILES = (
    r"model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json",
    r"pytorch_model(-\d+-of-\d+)?\.bin|pytorch_model\.bin\.index\.json",
)


def cache_folder(hub_id: str, commit: str | None) -> Path | None:
    """Where the hub's cache has a repository at a commit, whether it is there or not; the newest one known without a commit.

    Not asked of snapshot_download, which takes a snapshot for incomplete that lacks what is never fetched.
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
    if entry and (not isinstance(entry, dict) or not isinstance(entry.get("files"), dict) or "commit" not in entry):
        raise UserError(f"{REVISIONS}: {hub_id}: no commit or files; delete the entry and fetch again")
    return entry


def record(hub_id: str, commit: str, files: dict[str, str]) -> None:
    """Record the commit and the checksums of fetched files, those of the same commit that are known stay."""
    known = recorded(hub_id)
    before = known["files"] if known.get("commit") == commit else {}
    entries = read_json(REVISIONS) if REVISIONS.exists() else {}
    write_json(REVISIONS, entries | {hub_id: {"commit": commit, "files": before | files}})


def is_recorded(hub_id: str, folder: Path, names: list[str]) -> bool:
    """Whether a folder of the cache was fetched to the end: `names` are recorded and all that is recorded is there."""
    known = recorded(hub_id)
    files = known.get("files", {})
    here = known.get("commit") == folder.name and set(names) <= set(files)
    return here and all((folder / name).is_file() for name in files)


def check_sums(folder: Path, sums: dict[str, str]) -> None:
    """UserError where a file of a folder is not the one that was recorded. A large file that has not changed is read once."""
    for path, actual in file_sums([folder / name for name in sums if (folder / name).is_file()]).items():
        if actual != sums[path.name]:
            raise UserError(f"{path}: not the file that was recorded in {REVISIONS}; delete it and fetch again")


def _verified() -> dict[str, str]:
    """What is remembered of files that were read; nothing where that cannot be read, and they are read again."""
    with suppress(OSError, UserError):
        if VERIFIED.exists():
            return read_json(VERIFIED)
    return {}


def file_sums(paths: Sequence[Path]) -> dict[Path, str]:
    """The SHA-256 of files. Those of large ones are remembered by size and times: such a file is read once."""
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
        print(f"{unread[0].parent}: reading {size / GB:.0f} GB for their checksums, once", file=sys.stderr)
    stamps = {path: _stamp(path) for path in unread}  # of before: what changes meanwhile is read again
    sums |= {path: sha256_file(path) for path in unread}
    large = {str(path.resolve()): f"{stamps[path]} {sums[path]}" for path in unread if path.stat().st_size >= LARGE}
    if large:
        with suppress(UserError):  # where nothing can be written, they are read again
            write_json(VERIFIED, _verified() | large)
    return {path: sums[path] for path in paths}


def _stamp(path: Path) -> str:
    """Size and times: that of the last change of content can be set, as by unpacking an archive, that of any change cannot."""
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def wanted_files(names: list[str], weights: bool = True) -> list[str]:
    """What to fetch of a repository's files: weights in one format, safetensors where there are any, configuration and
    tokenizer."""
    chosen = [name for name in names if name in COMMON_FILES]
    for pattern in WEIGHT_FILES if weights else ():
        found = [name for name in names if re.fullmatch(pattern, name)]
        if any(not name.endswith(".json") for name in found):
            return chosen + found
    return chosen


def fetch_repository(hub_id: str, revision: str | None, weights: bool = True) -> Path:
    """Fetch a repository into the hub's cache, resume a fetch that stopped, check and record it; its folder.

    UserError where it has no weights, the disk is too small or a file is not the hub's; the hub's own errors as they are.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.hf_api import RepoFile

    api = HfApi()
    commit = api.model_info(hub_id, revision=revision).sha
    listed = {file.path: file for file in api.list_repo_tree(hub_id, revision=commit) if isinstance(file, RepoFile)}
    names = wanted_files(list(listed), weights)
    if weights and not any(name.endswith((".safetensors", ".bin")) for name in names):
        raise UserError(f"{hub_id}: neither model.safetensors nor pytorch_model.bin at commit {commit}")
    files = {name: listed[name] for name in names}
    _check_known(hub_id, commit, files)
    _check_disk(cache_folder(hub_id, commit), files)
    folder = Path(snapshot_download(hub_id, revision=commit, allow_patterns=names))
    sums = {name: _checked(folder / name, file) for name, file in files.items()}
    record(hub_id, commit, sums)
    return folder


def _check_known(hub_id: str, commit: str, files: dict) -> None:
    """UserError where the hub names another checksum for a file than was recorded at the same commit."""
    known = recorded(hub_id)
    for name, file in files.items():
        sum_before = known.get("files", {}).get(name) if known.get("commit") == commit else None
        if sum_before and file.lfs and file.lfs.sha256 != sum_before:
            raise UserError(f"{hub_id}: {name}: the hub's checksum is not the one in {REVISIONS}; nothing was fetched")


def _check_disk(folder: Path, files: dict) -> None:
    """UserError where what is still to be fetched has no room."""
    missing = sum(file.size for name, file in files.items() if not (folder / name).exists())
    place = next(place for place in folder.parents if place.exists())
    free = shutil.disk_usage(place).free
    if missing > free:
        raise UserError(f"{place}: {missing / GB:.1f} GB to fetch, {free / GB:.1f} GB free; free some, or set HF_HOME")


def _checked(path: Path, file) -> str:
    """The SHA-256 of a fetched file. UserError, and the file is deleted, where it is not the hub's."""
    actual = file_sums([path])[path]
    if file.lfs:
        right = actual == file.lfs.sha256
    else:  # a small file, of which the hub has git's own checksum
        content = path.read_bytes()
        right = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == file.blob_id
    if not right:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise UserError(f"{path.name}: its checksum is not the hub's; it was deleted, run again")
    return actual
