"""Where weights come from: a folder of this repository, MODELS_DIR, or the hub's cache at a pinned commit."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boxes.checkpoint import (
    WeightsMissing,
    check_files,
    check_finite,
    check_vocabulary,
    read_model,
    read_tokenizer,
    weight_files,
)
from boxes.models import MODELS, ModelSpec, spec_of
from boxes.records import UserError, read_json, write_json

if TYPE_CHECKING:
    import torch

REVISIONS = Path(__file__).resolve().parent.parent / "data" / "models" / "revisions.json"
_COMMON_FILES = ("*.json", "tokenizer.model", "*.txt", "*.jinja")
_WEIGHT_FILES = {"safetensors": ("*.safetensors",), "bin": ("*.bin",)}


@dataclass(frozen=True)
class Loaded:
    """A model ready to decode, its tokenizer and its row."""

    model: Any
    tokenizer: Any
    spec: ModelSpec


def revision_of(spec: ModelSpec) -> str | None:
    """The pinned commit: of the model table, or of data/models/revisions.json, written at a first download."""
    if spec.revision or not REVISIONS.exists():
        return spec.revision
    return read_json(REVISIONS).get(spec.hub_id)


def file_patterns(spec: ModelSpec) -> list[str]:
    """What to fetch of a repository: weights in one format, configuration and tokenizer, nothing else."""
    return [*_COMMON_FILES, *_WEIGHT_FILES[spec.weights]]


def fetch(spec: ModelSpec) -> Path:
    """Download a row's snapshot at its pinned commit into the hub's cache; pin the commit where none is known yet."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HTTPError, RepositoryNotFoundError

    try:
        folder = Path(snapshot_download(spec.hub_id, revision=revision_of(spec), allow_patterns=file_patterns(spec)))
        if spec.tokenizer:
            snapshot_download(spec.tokenizer[0], revision=spec.tokenizer[1], allow_patterns=list(_COMMON_FILES))
    except GatedRepoError:
        raise UserError(
            f"{spec.name}: {spec.hub_id} is gated; accept its licence on the hub and set HF_TOKEN"
        ) from None
    except RepositoryNotFoundError:
        raise UserError(f"{spec.name}: {spec.hub_id} is not on the hub, or not visible with this HF_TOKEN") from None
    except (HTTPError, OSError) as error:
        reason = _first_line(error)
        raise UserError(f"{spec.name}: could not fetch {spec.hub_id} ({reason}); run again, it resumes") from None
    if revision_of(spec) is None:
        pinned = read_json(REVISIONS) if REVISIONS.exists() else {}
        write_json(REVISIONS, pinned | {spec.hub_id: folder.name})  # a snapshot's folder is named by its commit
    return folder


def _cached(hub_id: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None


def _places(hub_id: str, revision: str | None) -> list[Path]:
    """The folders where a repository of the hub can lie: two in MODELS_DIR, and the hub's cache."""
    root = os.environ.get("MODELS_DIR")
    mine = [Path(root) / hub_id.split("/")[1], Path(root) / hub_id] if root else []
    cached = _cached(hub_id, revision)
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
    tokenizer = load_tokenizer(spec, folder)
    model = read_model(folder, dtype, device).eval()
    check_vocabulary(model, tokenizer, folder)
    check_finite(model, folder)
    return Loaded(model, tokenizer, spec)


def _device(device: "str | torch.device") -> "torch.device":
    import torch

    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {str(device)!r}: {_first_line(error)}; choose cpu, cuda, cuda:0 or auto") from None


def load_tokenizer(spec: ModelSpec, folder: Path):
    """The tokenizer of a folder, or the one that the row names instead (float-7b carries none)."""
    return read_tokenizer(_tokenizer_folder(spec, folder))


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
