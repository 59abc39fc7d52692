"""The files of a checkpoint's folder: which there are, and whether they are a checkpoint at all."""

from pathlib import Path

from boxes.models.quiet import quiet, reason
from boxes.records import UserError, read_json

AGAIN = "fetch the model again"
# What a tokenizer is read from, but for the chat template, which is in the prompt's own hash.
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "merges.txt", "vocab.txt",
)  # fmt: skip
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")  # one at least
_LFS = b"version https://git-lfs"


class WeightsMissing(UserError):
    """The weights of a row are not on this machine: the row is not run."""


def weight_files(folder: Path) -> list[Path]:
    """The files of a folder's weights, as transformers reads them: safetensors rather than .bin, a
    whole file rather than an index beside it. Empty where some are lacking (a fetch that stopped).
    """
    for name in ("model.safetensors", "pytorch_model.bin"):
        files = [folder / name]
        if not files[0].is_file():
            files = [folder / shard for shard in _shards(folder, name)]
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
        raise WeightsMissing(f"{index}: not an index of shards; {AGAIN}") from None
    for shard in shards:
        if not isinstance(shard, str) or Path(shard).name != shard:
            raise WeightsMissing(f"{index}: {shard!r} is no file of this folder; {AGAIN}")
    return sorted(shards)


def tokenizer_files(folder: Path) -> list[Path]:
    """Those of TOKENIZER_FILES that a folder has."""
    return [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]


def tensor_shapes(folder: Path) -> dict[str, list[int]]:
    """The tensors in a folder's safetensors files; .bin files would have to be read whole."""
    from safetensors import safe_open

    shapes = {}
    for path in weight_files(folder):
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                for name in file.keys():  # noqa: SIM118 - no mapping
                    shapes[name] = file.get_slice(name).get_shape()
    return shapes


def check_files(folder: Path) -> None:
    """UserError where a folder is no checkpoint, as far as can be told in a moment."""
    from transformers import AutoConfig

    config, adapter = folder / "config.json", folder / "adapter_config.json"
    if not config.is_file():
        raise UserError(f"{folder}: no config.json; name the folder of a whole checkpoint")
    read_json(config, AGAIN)
    if adapter.exists():
        raise UserError(
            f"{adapter}: an adapter, which is not applied; merge it into the model first "
            "(merge_and_unload of peft), or delete it to run the model without it"
        )
    try:
        with quiet():
            AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # a file can be wrong in as many ways as lines read it
        wrong = f"not of a model that can be loaded ({reason(error)})"
        raise UserError(f"{config}: {wrong}; {AGAIN}") from None
    files = weight_files(folder)
    if not files:
        lacking = "no model.safetensors or pytorch_model.bin, in one file or all shards"
        raise UserError(f"{folder}: {lacking}; {AGAIN}")
    for path in files:
        _check_pointer(path)


def _check_pointer(path: Path) -> None:
    with open(path, "rb") as file:
        if file.read(len(_LFS)) == _LFS:
            wrong = "a pointer of Git LFS in place of the weights"
            raise UserError(f"{path}: {wrong}; run git lfs pull in that folder")
