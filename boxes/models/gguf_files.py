"""GGUF files as checkpoints: transformers' reader dequantises one, once, into a folder of its own.

The folder is a checkpoint like any other, and `gguf.json` in it says which file it is of. What the
reader would pass over without a word (a tensor, a setting, a way to split text) is refused here.
"""

import fcntl
import math
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from boxes.models.gguf_tokenizer import write_tokenizer
from boxes.models.hub import file_sums
from boxes.models.quiet import quiet, reason
from boxes.models.shapes import GB, gigabytes
from boxes.models.table import GGUF_FOLDER
from boxes.records import UserError, read_json, write_json

if TYPE_CHECKING:
    import torch
    from gguf import GGUFReader
    from transformers import PreTrainedConfig, PreTrainedModel

SUFFIX = ".gguf"
RECORD = "gguf.json"  # of a folder: "file", "sha256" and "quantisation" of what it was written from
_MAGIC = b"GGUF"
_ANOTHER = "give another file of the model, or its folder of safetensors"
_DAMAGED = "fetch the file again"
# Types of fewer bits than float32 that a file's weights may fit into without a loss: what was
# written in one of them takes half the disk. A weight of 4 bits and its scale fits into neither.
_NARROW = ("bfloat16", "float16")
# Settings of an architecture in a file, and the attribute of the configuration that must say so.
_SETTINGS = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "vocab_size": "vocab_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.value_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.sliding_window": "sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "rope.dimension_count": "head_dim",
    "rope.freq_base": "rope_theta",
    "rope.freq_base_swa": "rope_theta of sliding_attention",
}
# Those that a configuration has no attribute for, and the values that ask for nothing.
_NEUTRAL = {"rope.scaling.type": ("none", ""), "rope.scaling.factor": (0.0, 1.0)}
_LAYOUT = "tensor_data_layout"  # how the file was converted, which the reader knows


def is_gguf(path: Path) -> bool:
    """Whether a path is that of a GGUF file, by its name."""
    return path.suffix.lower() == SUFFIX


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file; UserError without it."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    return file_sums([path])[path]


def record_of(folder: Path) -> dict[str, str] | None:
    """What the folder of a checkpoint says of the GGUF file it was written from; else None."""
    path = folder / RECORD
    return read_json(path) if path.exists() else None


def written_out(path: Path, folder: Path | None = None) -> Path:
    """The folder that a GGUF file was written out to (by default of the file's name, in
    GGUF_FOLDER), now or before. UserError where that cannot be; nothing is then left."""
    folder = folder or GGUF_FOLDER / path.stem
    sha256 = sha256_of(path)
    with _alone(folder):
        known = record_of(folder)
        if known and known["sha256"] == sha256:
            return folder
        if folder.exists():
            wrong = f"{folder} is of another file than {path}"
            raise UserError(f"{wrong}; delete that folder, or rename the file")
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)  # of one that was killed
        try:
            _write(path, partial, sha256)
            partial.rename(folder)
        except OSError as error:
            wrong = f"{error.filename or partial}: {error.strerror or error}"
            raise UserError(f"{wrong}; check the disk and the permissions") from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time writes a folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f".{folder.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(path: Path, folder: Path, sha256: str) -> None:
    reader = _open(path)
    _check_whole(path, reader)
    _check_room(path, folder.parent, reader)
    folder.mkdir()
    with TemporaryDirectory(dir=folder.parent) as scratch:  # whatever else lies beside the file
        (Path(scratch) / path.name).symlink_to(path.resolve())
        model = _read_model(path, Path(scratch))
        _check_settings(path, reader, model)
        _write_weights(model, folder)
        write_tokenizer(path, Path(scratch), settings_of(reader), folder)
    about = {"file": path.name, "sha256": sha256, "quantisation": quantisation_of(reader)}
    write_json(folder / RECORD, about)


# --- the file ---


def _open(path: Path) -> "GGUFReader":
    """The file's settings and tensors, which lie on the disk still."""
    try:
        from gguf import GGUFReader
    except ImportError:
        raise UserError(f"{path}: needs the package gguf; make setup installs it") from None
    with open(path, "rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise UserError(f"{path}: not a GGUF file; {_DAMAGED}")
    try:
        return GGUFReader(path)
    except Exception as error:  # a file can be wrong in as many ways as lines read it
        raise UserError(f"{path}: damaged or cut off ({reason(error)}); {_DAMAGED}") from None


def settings_of(reader: "GGUFReader") -> dict[str, Any]:
    """What the file says of itself."""
    return {name: field.contents() for name, field in reader.fields.items()}


def quantisation_of(reader: "GGUFReader") -> str:
    """As in names of files: "Q4_K_M", "F16"; where it is not said, the most frequent type."""
    from gguf import LlamaFileType

    field = reader.fields.get("general.file_type")
    if field:
        name = LlamaFileType(int(field.contents())).name
        return name.removeprefix("MOSTLY_").removeprefix("ALL_")
    return Counter(tensor.tensor_type.name for tensor in reader.tensors).most_common(1)[0][0]


def _check_whole(path: Path, reader: "GGUFReader") -> None:
    """UserError for a part of a model, or for what is none."""
    parts = reader.fields.get("split.count")
    if parts and int(parts.contents()) > 1:
        mend = "join them with llama.cpp's `llama-gguf-split --merge` and give that file"
        raise UserError(f"{path}: one of {int(parts.contents())} parts of a model; {mend}")
    kind = reader.fields.get("general.type")
    if kind and kind.contents() != "model":
        raise UserError(f"{path}: not a model but of type {kind.contents()}; {_ANOTHER}")
    if not reader.tensors:
        raise UserError(f"{path}: no weights, a vocabulary alone; {_ANOTHER}")


def _check_room(path: Path, folder: Path, reader: "GGUFReader") -> None:
    """UserError where the weights have no room in float32."""
    need = 4 * sum(int(tensor.n_elements) for tensor in reader.tensors)
    free = shutil.disk_usage(folder).free
    if need > free - 0.1 * GB:
        found = f"{gigabytes(need)} to write, {gigabytes(free)} free in {folder}"
        raise UserError(f"{path}: {found}; free some")


# --- the model ---


def _read_model(path: Path, scratch: Path) -> "PreTrainedModel":
    """The model in float32. UserError where transformers cannot read it, or not all of it."""
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with quiet(), redirect_stderr(StringIO()):  # a bar
            model, report = AutoModelForCausalLM.from_pretrained(
                scratch, gguf_file=path.name, dtype=torch.float32, output_loading_info=True
            )
    except Exception as error:  # see _open
        raise UserError(f"{path}: cannot be read as a model ({reason(error)}); {_ANOTHER}") from None
    missing = sorted(report["missing_keys"])
    if missing:  # transformers would make them up at random
        raise UserError(f"{path}: {len(missing)} weights are missing, {missing[0]} the first; {_ANOTHER}")
    return model


def _write_weights(model: "PreTrainedModel", folder: Path) -> None:
    """config.json and model.safetensors, in the narrowest type that holds every weight exactly."""
    from safetensors.torch import save_file

    tensors: dict[int, tuple[str, torch.Tensor]] = {}
    for name, tensor in model.state_dict().items():
        tensors.setdefault(tensor.data_ptr(), (name, tensor))  # an output that is the embedding: once
    dtype = exact_dtype([tensor for _, tensor in tensors.values()])
    stored = {name: tensor.to(dtype).contiguous() for name, tensor in tensors.values()}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    config = model.config
    if hasattr(config, "quantization_config"):  # the weights no longer are
        del config.quantization_config
    config.dtype = dtype
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)


def exact_dtype(tensors: "list[torch.Tensor]") -> "torch.dtype":
    """The narrowest type that holds all values of float32 tensors as they are."""
    import torch

    for name in _NARROW:
        dtype = getattr(torch, name)
        if all(torch.equal(tensor.to(dtype).float(), tensor) for tensor in tensors):
            return dtype
    return torch.float32


def _check_settings(path: Path, reader: "GGUFReader", model: "PreTrainedModel") -> None:
    """UserError where the model is not all of what the file says."""
    config = model.config.get_text_config()
    architecture = reader.fields["general.architecture"].contents()
    for name, value in settings_of(reader).items():
        setting = name.removeprefix(f"{architecture}.")
        if name != setting and not _is_heeded(setting, value, config):
            wrong = f"says {name} = {value}, which would not be heeded"
            raise UserError(f"{path}: {wrong}; {_ANOTHER}")
    elements = sum(int(tensor.n_elements) for tensor in reader.tensors)
    if elements != model.num_parameters():
        odd = [tensor.name for tensor in reader.tensors if "rope" in tensor.name]
        which = f" ({odd[0]} among them)" if odd else ""
        wrong = f"{elements} values, of which a model of {model.num_parameters()} is read{which}"
        raise UserError(f"{path}: {wrong}; {_ANOTHER}")


def _is_heeded(setting: str, value: Any, config: "PreTrainedConfig") -> bool:
    """Whether a configuration says the same as a setting of the file."""
    if setting in _NEUTRAL:
        return value in _NEUTRAL[setting]
    if setting == _LAYOUT:
        return True
    if setting not in _SETTINGS:
        return False
    ours = _attribute(_SETTINGS[setting], config)
    if ours is None or isinstance(value, list):
        return ours == value
    return math.isclose(ours, value, rel_tol=1e-6)


def _attribute(name: str, config: "PreTrainedConfig") -> float | None:
    """An attribute of a configuration; heads have the size that follows where none is said."""
    if name == "head_dim":
        heads = config.num_attention_heads
        return getattr(config, name, None) or config.hidden_size // heads
    if name.startswith("rope_theta"):
        rope = config.rope_parameters
        layers = name.removeprefix("rope_theta").removeprefix(" of ") or "full_attention"
        return rope.get(layers, rope).get("rope_theta")
    return getattr(config, name, None)
