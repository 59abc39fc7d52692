"""Where weights come from: a folder of this repository, MODELS_DIR, or the hub's cache at a pinned commit. Then loading them.

Code in a checkpoint is never run, and a pickle is never opened but as plain tensors (weights_only).
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boxes.models import MODELS, ModelSpec, spec_of
from boxes.records import UserError, read_json, write_json

if TYPE_CHECKING:
    import torch

REVISIONS = Path(__file__).resolve().parent.parent / "data" / "models" / "revisions.json"
_COMMON_FILES = ("*.json", "tokenizer.model", "*.txt", "*.jinja")
_WEIGHT_FILES = {"safetensors": ("*.safetensors",), "bin": ("*.bin",)}


class WeightsMissing(UserError):
    """The weights of a row are not on this machine: the row is not run."""


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
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

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
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).splitlines()[0]
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


def _has_weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))


def find(spec: ModelSpec) -> Path:
    """The folder of a row's weights. WeightsMissing says how to get them."""
    if spec.folder:
        candidates = [spec.folder]
    else:
        root = os.environ.get("MODELS_DIR")
        candidates = [Path(root) / spec.name, Path(root) / spec.hub_id] if root else []
        candidates.append(_cached(spec.hub_id, revision_of(spec)))
    for folder in candidates:
        if folder and folder.is_dir() and _has_weights(folder):
            return folder
    if spec.folder:
        raise WeightsMissing(f"{spec.folder}: no weights here; `make train-tiny` trains them")
    raise WeightsMissing(
        f'{spec.name}: weights not found; `make weights PROFILE=paper MODELS="{spec.name}"` fetches them, '
        "or name a folder that has them with MODELS_DIR=..."
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
    """Load a row of the model table, or a local folder. Defaults: the GPU in bfloat16 where there is one, else float32."""
    import torch
    from transformers import AutoModelForCausalLM

    spec, folder = resolve(str(name_or_path))
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = dtype or (torch.bfloat16 if device.type == "cuda" else torch.float32)
    dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    tokenizer = load_tokenizer(spec, folder)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=any(folder.glob("*.safetensors")),
            weights_only=True,
        )
    except (OSError, ValueError, RuntimeError, json.JSONDecodeError) as error:
        raise UserError(f"{folder}: cannot load the model ({str(error).splitlines()[0]})") from None
    return Loaded(model.to(device).eval(), tokenizer, spec)


def load_tokenizer(spec: ModelSpec, folder: Path):
    """The tokenizer of a folder, or the one that the row names instead (float-7b carries none)."""
    from transformers import AutoTokenizer

    if spec.tokenizer and not (folder / "tokenizer.json").exists():
        root = os.environ.get("MODELS_DIR")
        named = Path(root) / spec.tokenizer[0].split("/")[1] if root else None
        other = named if named and named.is_dir() else _cached(*spec.tokenizer)
        if other is None:
            raise WeightsMissing(
                f"{spec.name}: its tokenizer, {spec.tokenizer[0]}, is not here; `make weights` fetches it"
            )
        folder = other
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: cannot load the tokenizer ({str(error).splitlines()[0]})") from None
