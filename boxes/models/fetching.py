"""Fetching a repository of the hub: which of its files, at which commit, checked and recorded."""

import hashlib
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from boxes.models.checkpoint import Checkpoint, pinned_commit
from boxes.models.files import TOKENIZER_FILES
from boxes.models.hub import REVISIONS, cache_folder, file_sums, is_recorded, record, recorded
from boxes.models.quiet import first_line
from boxes.models.shapes import gigabytes
from boxes.models.table import ModelSpec
from boxes.records import UserError

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

COMMON_FILES = ("config.json", "generation_config.json", *TOKENIZER_FILES,
                "chat_template.jinja", "chat_template.json")  # fmt: skip
# In the order of preference: one file or shards, and the index of shards.
WEIGHT_PATTERNS = (
    r"model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json",
    r"pytorch_model(-\d+-of-\d+)?\.bin|pytorch_model\.bin\.index\.json",
)


def fetch(spec: ModelSpec) -> None:
    """Download what a row needs at its pinned commit into the hub's cache, its tokenizer too where
    that is another's; pin the commit where none is known yet. UserError of one line where that
    cannot be."""
    if spec.tokenizer:
        _fetch(spec, *spec.tokenizer, weights=False)
    _fetch(spec, spec.hub_id, pinned_commit(spec))


def _fetch(spec: ModelSpec, hub_id: str, revision: str | None, weights: bool = True) -> None:
    from huggingface_hub import errors

    resume = "run again, it resumes"
    try:
        return fetch_repository(hub_id, revision, weights)
    except UserError as error:
        reason = str(error)
    except errors.GatedRepoError:
        reason = f"{hub_id} is gated; accept its licence on the hub and set HF_TOKEN"
    except errors.RepositoryNotFoundError:
        reason = f"{hub_id} is not on the hub, or not visible with this HF_TOKEN"
    except errors.RevisionNotFoundError:
        reason = f"{hub_id} has no commit {revision}"
    except errors.HfHubHTTPError as error:
        refused = error.response is not None and error.response.status_code in (401, 403)
        mend = "the hub refuses HF_TOKEN, or none is set" if refused else resume
        reason = f"could not fetch {hub_id} ({first_line(error)}); {mend}"
    except Exception as error:  # of the network, the disk, or a library for transfers
        reason = f"could not fetch {hub_id} ({first_line(error)}); {resume}"
    raise UserError(f"{spec.name}: {reason}")


def fetch_repository(hub_id: str, revision: str | None, weights: bool = True) -> None:
    """Fetch a repository into the hub's cache, resume a fetch that stopped, check and record it.

    UserError where it has no weights, the disk is too small or a file is not the hub's; the hub's
    own errors as they are.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.hf_api import RepoFile

    api = HfApi()
    commit = api.model_info(hub_id, revision=revision).sha
    tree = api.list_repo_tree(hub_id, revision=commit)
    listed = {file.path: file for file in tree if isinstance(file, RepoFile)}
    names = wanted_files(list(listed), weights)
    if weights and not any(name.endswith((".safetensors", ".bin")) for name in names):
        lacking = "neither model.safetensors nor pytorch_model.bin"
        raise UserError(f"{hub_id}: {lacking} at commit {commit}")
    files = {name: listed[name] for name in names}
    _check_known(hub_id, commit, files)
    check_room(cache_folder(hub_id, commit), files)
    folder = Path(snapshot_download(hub_id, revision=commit, allow_patterns=names))
    record(hub_id, commit, {name: _checked(folder / name, files[name]) for name in names})


def wanted_files(names: list[str], weights: bool = True) -> list[str]:
    """Of a repository: weights in one format, safetensors if it can be, and the small files."""
    chosen = [name for name in names if name in COMMON_FILES]
    for pattern in WEIGHT_PATTERNS if weights else ():
        found = [name for name in names if re.fullmatch(pattern, name)]
        if any(not name.endswith(".json") for name in found):
            return chosen + found
    return chosen


def _check_known(hub_id: str, commit: str, files: "dict[str, RepoFile]") -> None:
    """UserError where the hub's checksum of a file is not the one recorded at this commit."""
    known = recorded(hub_id)
    if known.get("commit") != commit:
        return
    for name, file in files.items():
        before = known["files"].get(name)
        if before and file.lfs and file.lfs.sha256 != before:
            wrong = f"{name}: the hub's checksum is not the one in {REVISIONS}"
            raise UserError(f"{hub_id}: {wrong}; nothing was fetched")


def check_room(folder: Path, files: "dict[str, RepoFile]") -> None:
    """UserError where what is still to be fetched has no room."""
    missing = sum(file.size for name, file in files.items() if not (folder / name).exists())
    place = next(place for place in folder.parents if place.exists())
    free = shutil.disk_usage(place).free
    if missing > free:
        found = f"{gigabytes(missing)} to fetch, {gigabytes(free)} free"
        raise UserError(f"{place}: {found}; free some, or set HF_HOME")


def _checked(path: Path, file: "RepoFile") -> str:
    """The SHA-256 of a fetched file. UserError, and it is deleted, where it is not the hub's."""
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


def is_settled(checkpoint: Checkpoint) -> bool:
    """Whether nothing is left to fetch of what was found: it is no part of the hub's cache, or a
    folder of it that was added as it is, or it was fetched to the end."""
    hub_id = checkpoint.spec.hub_id
    if hub_id is None or not checkpoint.is_snapshot:
        return True
    names = [path.name for path in checkpoint.weight_files]
    return is_recorded(hub_id, checkpoint.folder, names)


def settle(checkpoint: Checkpoint) -> None:
    """Record the commit and files of a snapshot in the hub's cache that was not fetched by us."""
    folder = checkpoint.folder
    sums = file_sums([path for path in folder.iterdir() if path.is_file()])
    record(checkpoint.spec.hub_id, folder.name, {path.name: sum for path, sum in sums.items()})
