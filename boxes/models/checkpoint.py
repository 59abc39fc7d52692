"""A checkpoint in a folder: its files found, read and checked.

Code in a checkpoint is never run, and a pickle is never opened but as plain tensors (weights_only). What is damaged,
incomplete or of another model is a UserError of one line: a wrong weight would only make the answers worse.
"""

import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from boxes.models.leftovers import AGAIN as _AGAIN
from boxes.models.leftovers import check_leftovers, check_tied
from boxes.models.tokenizer import open_tokenizer
from boxes.prompting import encode_prompts
from boxes.records import UserError, read_json

if TYPE_CHECKING:
    import torch

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
_LFS = b"version https://git-lfs"
_SPREAD = "let it see more GPUs (CUDA_VISIBLE_DEVICES) and give --device auto"
_REASON = 200  # characters of another library's error


class WeightsMissing(UserError):
    """The weights of a row are not on this machine: the row is not run."""


def weight_files(folder: Path) -> list[Path]:
    """The files of a folder's weights, safetensors rather than .bin, a whole file rather than an index beside it, as
    transformers reads them; empty where some are lacking (a fetch that stopped)."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        whole = folder / name
        files = [whole] if whole.is_file() else [folder / shard for shard in _shards(folder, name)]
        if files and all(file.is_file() for file in files):
            return files
    return []


def _shards(folder: Path, name: str) -> list[str]:
    """The one file of that name, or the shards that its index names."""
    index = folder / f"{name}.index.json"
    if not index.exists():
        return [name]
    try:
        shards = set(read_json(index)["weight_map"].values())
    except (UserError, KeyError, AttributeError, TypeError):
        raise WeightsMissing(f"{index}: not an index of shards; {_AGAIN}") from None
    outside = [shard for shard in shards if not isinstance(shard, str) or Path(shard).name != shard]
    if outside:
        raise WeightsMissing(f"{index}: {outside[0]!r} is no file of this folder; {_AGAIN}")
    return sorted(shards)


def check_files(folder: Path) -> None:
    """UserError where a folder is no checkpoint: what can be told in a moment, and said better than by who would read it."""
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: no config.json; name the folder of a whole checkpoint")
    read_json(folder / "config.json", _AGAIN)
    if (folder / "adapter_config.json").exists():
        raise UserError(
            f"{folder / 'adapter_config.json'}: an adapter, which is not applied; merge it into the model first "
            "(merge_and_unload of peft), or delete it to run the model without it"
        )
    try:
        with _quiet():
            AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # a file can be wrong in as many ways as there are lines that read it
        raise UserError(
            f"{folder / 'config.json'}: not of a model that can be loaded ({_reason(error)}); {_AGAIN}"
        ) from None
    files = weight_files(folder)
    if not files:
        raise UserError(f"{folder}: no model.safetensors or pytorch_model.bin, in one file or all shards; {_AGAIN}")
    for path in files:
        with open(path, "rb") as file:
            if file.read(len(_LFS)) == _LFS:
                raise UserError(
                    f"{path}: a pointer of Git LFS in place of the weights; run git lfs pull in that folder"
                )


def read_model(folder: Path, dtype: "torch.dtype", device: "torch.device | str" = "cpu"):
    """The model of a folder on a device, or spread over all GPUs ("auto"), every one of its weights from there; UserError
    where that cannot be."""
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with _quiet():
            model, report = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype,
                device_map="auto" if device == "auto" else {"": device},  # no copy of the weights in the CPU's memory
                trust_remote_code=False,
                use_safetensors=weight_files(folder)[0].suffix == ".safetensors",
                weights_only=True,
                output_loading_info=True,
            )
    except torch.OutOfMemoryError:
        raise UserError(f"{folder}: too little memory on {device} for its weights in {dtype}; {_SPREAD}") from None
    except pickle.UnpicklingError:
        raise UserError(
            f"{folder}: a .bin file is damaged or holds more than plain tensors; it was not loaded, {_AGAIN}"
        ) from None
    except Exception as error:  # see check_files
        reason = _other_shape(folder) or f"cannot load the model ({_reason(error)})"
        raise UserError(f"{folder}: {reason}; {_AGAIN}") from None
    missing = sorted(report["missing_keys"])
    if missing:  # transformers would make them up at random
        raise UserError(f"{folder}: {len(missing)} weights are missing, {missing[0]} the first; {_AGAIN}")
    placed = set((getattr(model, "hf_device_map", None) or {}).values())
    if torch.cuda.is_available() and placed & {"cpu", "disk"}:  # accelerate would move layers to and fro
        raise UserError(f"{folder}: {torch.cuda.device_count()} GPUs are too few for its weights in {dtype}; {_SPREAD}")
    check_leftovers(folder, model, report["unexpected_keys"], _tensor_shapes(folder))
    check_tied(folder, model)
    return model


def _tensor_shapes(folder: Path) -> dict[str, list[int]]:
    """The tensors in a folder's safetensors files; of .bin files nothing is known without reading them whole."""
    from safetensors import safe_open

    shapes = {}
    for path in weight_files(folder):
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                shapes |= {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 - no mapping
    return shapes


def _other_shape(folder: Path) -> str | None:
    """What is said of the first tensor that has another shape than config.json asks for; None where none has."""
    import torch
    from safetensors import safe_open
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        with torch.device("meta"), _quiet():
            wanted = AutoModelForCausalLM.from_config(config, trust_remote_code=False).state_dict()
        for path in weight_files(folder):
            with safe_open(path, "pt") as file:
                for name in file.keys():  # noqa: SIM118 - no mapping
                    shape = file.get_slice(name).get_shape()
                    if name in wanted and shape != list(wanted[name].shape):
                        return f"{name} has the shape {shape}, by config.json {list(wanted[name].shape)}"
    except Exception:  # this is an attempt to say more about another error
        return None
    return None


def check_vocabulary(model, tokenizer, folder: Path) -> None:
    """UserError where the tokenizer has ids beyond the embedding. Ids that only the embedding has are never produced."""
    rows = model.get_input_embeddings().weight.shape[0]
    added = tokenizer.added_tokens_decoder  # a padding token put on top is never used
    used = {index for index in tokenizer.get_vocab().values() if index not in added}
    used |= {index for index in (tokenizer.bos_token_id, tokenizer.eos_token_id) if index is not None}
    if used and max(used) >= rows:
        raise UserError(
            f"{folder}: the tokenizer has ids up to {max(used)}, the embedding {rows} rows; "
            "they are of different models, fetch both again"
        )


def check_prompts(model, tokenizer, prompts: Sequence[str], folder: Path) -> None:
    """UserError where a prompt has an id beyond the embedding: of an added token that check_vocabulary took for unused."""
    rows = model.get_input_embeddings().weight.shape[0]
    if max(tokenizer.get_vocab().values()) < rows:
        return
    highest = max((index for ids in encode_prompts(tokenizer, prompts) for index in ids), default=0)
    if highest >= rows:
        raise UserError(
            f"{folder}: prompts have the token {tokenizer.convert_ids_to_tokens(highest)!r} with the id {highest}, "
            f"the embedding {rows} rows; they are of different models, fetch both again"
        )


def check_finite(model, folder: Path) -> None:
    """UserError where a weight is infinite or no number. One pass over the weights, on the device they lie on."""
    import torch

    named = [(name, weight) for name, weight in model.named_parameters() if weight.numel()]
    extremes = torch.stack([torch.stack(torch.aminmax(weight.detach())).float() for _, weight in named])
    bad = (~torch.isfinite(extremes).all(dim=1)).nonzero().flatten().tolist()
    if bad:
        narrow = "give --dtype float32 or bfloat16, or " if model.dtype == torch.float16 else ""  # it ends at 65504
        raise UserError(
            f"{folder}: values that are not finite as {str(model.dtype).removeprefix('torch.')} in {len(bad)} of "
            f"{len(named)} weights, {named[bad[0]][0]} the first; {narrow}{_AGAIN}"
        )


def read_tokenizer(folder: Path):
    """The tokenizer of a folder, as its files are written (tokenizer.py)."""
    if not any((folder / name).exists() for name in _TOKENIZER_FILES):
        raise UserError(f"{folder}: no tokenizer (none of {', '.join(_TOKENIZER_FILES)}); {_AGAIN}")
    try:
        with _quiet():
            return open_tokenizer(folder)
    except UserError:
        raise
    except Exception as error:  # see check_files
        raise UserError(f"{folder}: cannot load the tokenizer ({_reason(error)}); {_AGAIN}") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """No tables and warnings of transformers beside our own line."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _reason(error: BaseException) -> str:
    """An error of another library on one line of bearable length."""
    text = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(":")
    return text if len(text) <= _REASON else f"{text[:_REASON]}…"
