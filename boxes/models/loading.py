"""Where weights come from: a folder of this repository, MODELS_DIR, or the hub's cache at a pinned commit."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boxes.models.checkpoint import (
    WeightsMissing,
    check_files,
    check_finite,
    check_vocabulary,
    read_model,
    read_tokenizer,
    weight_files,
)
from boxes.models.hub import cache_folder, check_sums, fetch_repository, file_sums, is_recorded, record, recorded
from boxes.models.table import MODELS, ModelSpec, spec_of
from boxes.models.tokenizer import check_tokens
from boxes.records import UserError, sha256_text

if TYPE_CHECKING:
    import torch

# What a tokenizer is read from, but for the chat template, which is in the prompt's own hash.
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "vocab.txt",
)  # fmt: skip


@dataclass(frozen=True)
class Loaded:
    """A model ready to decode, its tokenizer and its row."""

    model: Any
    tokenizer: Any
    spec: ModelSpec


def revision_of(spec: ModelSpec) -> str | None:
    """The pinned commit: of the model table, or the one recorded at a first download."""
    return spec.revision or recorded(spec.hub_id).get("commit")


def fetch(spec: ModelSpec) -> Path:
    """Download what a row needs at its pinned commit into the hub's cache, its tokenizer too where that is another's; pin the
    commit where none is known yet. UserError of one line where that cannot be."""
    if spec.tokenizer:
        _fetch(spec, *spec.tokenizer, weights=False)
    return _fetch(spec, spec.hub_id, revision_of(spec))


def _fetch(spec: ModelSpec, hub_id: str, revision: str | None, weights: bool = True) -> Path:
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        return fetch_repository(hub_id, revision, weights)
    except UserError as error:
        raise UserError(f"{spec.name}: {error}") from None
    except GatedRepoError:
        reason = f"{hub_id} is gated; accept its licence on the hub and set HF_TOKEN"
    except RepositoryNotFoundError:
        reason = f"{hub_id} is not on the hub, or not visible with this HF_TOKEN"
    except RevisionNotFoundError:
        reason = f"{hub_id} has no commit {revision}"
    except HfHubHTTPError as error:
        refused = error.response is not None and error.response.status_code in (401, 403)
        mend = "the hub refuses HF_TOKEN, or none is set" if refused else "run again, it resumes"
        reason = f"could not fetch {hub_id} ({_first_line(error)}); {mend}"
    except Exception as error:  # of the network, the disk, or a library for transfers: each has its own
        reason = f"could not fetch {hub_id} ({_first_line(error)}); run again, it resumes"
    raise UserError(f"{spec.name}: {reason}")


def is_settled(spec: ModelSpec, folder: Path) -> bool:
    """Whether nothing is left to fetch for a row whose weights were found: they are no part of the hub's cache, or a folder of
    it that was added as it is, or they were fetched to the end."""
    if spec.hub_id is None or folder.parent.name != "snapshots":
        return True
    return is_recorded(spec.hub_id, folder, [path.name for path in weight_files(folder)])


def settle(spec: ModelSpec, folder: Path) -> None:
    """Record the commit and the files of a snapshot that is in the hub's cache but was not fetched by us."""
    files = [path for path in folder.iterdir() if path.is_file()]
    record(spec.hub_id, folder.name, {path.name: sum for path, sum in file_sums(files).items()})


def _places(hub_id: str, revision: str | None) -> list[Path]:
    """The folders where a repository of the hub can lie: two in MODELS_DIR, and the hub's cache."""
    root = os.environ.get("MODELS_DIR")
    mine = [Path(root) / hub_id.split("/")[1], Path(root) / hub_id] if root else []
    cached = cache_folder(hub_id, revision)
    return [folder for folder in (*mine, cached) if folder and folder.is_dir()]


def find(spec: ModelSpec) -> Path:
    """The folder of a row's weights. WeightsMissing says how to get them, or the tokenizer where another's is used."""
    candidates = [spec.folder] if spec.folder else _places(spec.hub_id, revision_of(spec))
    for folder in candidates:
        if weight_files(folder):
            _tokenizer_folder(spec, folder)
            return folder
    if spec.folder:
        mend = f"{spec.name} was added from there" if spec.extra else "`make train-tiny` trains them"
        raise WeightsMissing(f"{spec.folder}: no weights here; {mend}")
    raise WeightsMissing(
        f'{spec.name}: weights not found; `make weights PROFILE={spec.profile} MODELS="{spec.name}"` fetches them, '
        "or name a folder that has them with MODELS_DIR=..."
    )


def _tokenizer_folder(spec: ModelSpec, folder: Path) -> Path:
    """The folder itself, or that of the tokenizer which the row names instead (float-7b carries none)."""
    if not spec.tokenizer or (folder / "tokenizer.json").exists():
        return folder
    for place in _places(*spec.tokenizer):
        if (place / "tokenizer.json").exists() or (place / "tokenizer.model").exists():
            return place
    raise WeightsMissing(
        f'{spec.name}: its tokenizer, {spec.tokenizer[0]}, not found; `make weights PROFILE={spec.profile} MODELS="{spec.name}"` '
        "fetches it, or put its folder beside the weights in MODELS_DIR"
    )


def resolve(name_or_path: str) -> tuple[ModelSpec, Path]:
    """The row and the folder of a model's name, or of a local checkpoint's path (a row of its own, named as the folder)."""
    if name_or_path not in MODELS and Path(name_or_path).is_dir():
        folder = Path(name_or_path)
        row = ModelSpec(folder.name, folder.name, folder.name, "?", None, None, None, None, "unknown", profile="local")
        return row, folder
    spec = spec_of(name_or_path)
    return spec, find(spec)


def load(
    name_or_path: str, device: "str | torch.device | None" = None, dtype: "str | torch.dtype | None" = None
) -> Loaded:
    """Load a row of the model table, or a local folder. Defaults: the GPU in bfloat16 where there is one, else float32.

    The device "auto" spreads a model over all GPUs that can be seen (CUDA_VISIBLE_DEVICES).
    """
    import torch

    spec, folder = resolve(str(name_or_path))
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    device = device if device == "auto" else _device(device)
    dtype = dtype or (torch.bfloat16 if torch.cuda.is_available() and device != torch.device("cpu") else torch.float32)
    dtype = getattr(torch, dtype, dtype) if isinstance(dtype, str) else dtype
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise UserError(f"unknown dtype {str(dtype)!r}; choose float32, bfloat16 or float16")
    check_files(folder)
    check_recorded(spec, folder)
    tokenizer = load_tokenizer(spec, folder)
    model = read_model(folder, dtype, device).eval()
    check_vocabulary(model, tokenizer, folder)
    check_finite(model, folder)
    return Loaded(model, tokenizer, spec)


def check_recorded(spec: ModelSpec, folder: Path) -> None:
    """UserError where a file of a row's folder is not the one recorded for the commit that is pinned."""
    known = recorded(spec.hub_id) if spec.hub_id else {}
    if known and known["commit"] == (folder.name if folder.parent.name == "snapshots" else revision_of(spec)):
        check_sums(folder, known["files"])


def checkpoint_sha256(spec: ModelSpec, folder: Path) -> str:
    """A hash of all that decides what a checkpoint says, whatever folder it lies in: weights, configuration and tokenizer."""
    tokenizer = _tokenizer_folder(spec, folder)
    small = [folder / "config.json", *(tokenizer / name for name in TOKENIZER_FILES)]
    files = [*weight_files(folder), *(path for path in small if path.is_file())]
    return sha256_text("".join(f"{sha256}  {path.name}\n" for path, sha256 in _sums(spec, files).items()))


def weights_sha256(folder: Path) -> str:
    """A hash of the weights in a folder, for people: "sha256:" and its first 16 digits."""
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")])
    return "sha256:" + sha256_text("".join(file_sums(files).values()))[:16]


def is_commit(spec: ModelSpec, folder: Path, commit: str | None) -> bool:
    """Whether the weights in a folder are those that were recorded when a commit of the hub was fetched."""
    known = recorded(spec.hub_id)
    files = weight_files(folder)
    if not files or known.get("commit") != commit or any(path.name not in known["files"] for path in files):
        return False
    return all(known["files"][path.name] == sha256 for path, sha256 in file_sums(files).items())


def _sums(spec: ModelSpec, files: list[Path]) -> dict[Path, str]:
    """The SHA-256 of files; of a snapshot of the hub as they were recorded when it was fetched, without reading them."""
    known = recorded(spec.hub_id) if spec.hub_id else {}
    sums = {
        path: known["files"][path.name]
        for path in files
        if known and path.parent.parent.name == "snapshots" and path.parent.name == known["commit"]
        and path.name in known["files"]
    }  # fmt: skip
    sums |= file_sums([path for path in files if path not in sums])
    return {path: sums[path] for path in files}


def _device(device: "str | torch.device") -> "torch.device":
    import torch

    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {str(device)!r}: {_first_line(error)}; choose cpu, cuda, cuda:0 or auto") from None


def load_tokenizer(spec: ModelSpec, folder: Path):
    """The tokenizer of a folder, or the one that the row names instead (float-7b carries none). UserError where it would
    not send what its files say."""
    place = _tokenizer_folder(spec, folder)
    tokenizer = read_tokenizer(place)
    check_tokens(tokenizer, place, spec.system_role)
    return tokenizer


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
