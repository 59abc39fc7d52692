"""Reading a checkpoint: the model and the tokenizer of a folder, held against each other.

Code in a checkpoint is never run, and a pickle is never opened but as plain tensors (weights_only).
What is damaged, incomplete or of another model is a UserError of one line: a wrong weight would
only make the answers worse.
"""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from boxes.models.files import AGAIN, VOCABULARIES, tensor_shapes, weight_files
from boxes.models.leftovers import check_leftovers, check_tied
from boxes.models.quiet import quiet, reason
from boxes.models.tokenizer import open_tokenizer
from boxes.prompting import encode_prompts
from boxes.records import UserError

if TYPE_CHECKING:
    import torch

_SPREAD = "let it see more GPUs (CUDA_VISIBLE_DEVICES) and give --device auto"
_OTHER_MODEL = "they are of different models, fetch both again"


def read_model(folder: Path, dtype: "torch.dtype", device: "torch.device | str" = "cpu"):
    """The model of a folder on a device, or spread over all GPUs ("auto"), every one of its weights
    from there; UserError where that cannot be."""
    import torch

    try:
        with quiet():
            model, report = _from_pretrained(folder, dtype, device)
    except torch.OutOfMemoryError:
        wrong = f"too little memory on {device} for its weights in {dtype}"
        raise UserError(f"{folder}: {wrong}; {_SPREAD}") from None
    except pickle.UnpicklingError:
        wrong = "a .bin file is damaged or holds more than plain tensors; it was not loaded"
        raise UserError(f"{folder}: {wrong}, {AGAIN}") from None
    except Exception as error:  # see check_files
        wrong = _other_shape(folder) or f"cannot load the model ({reason(error)})"
        raise UserError(f"{folder}: {wrong}; {AGAIN}") from None
    missing = sorted(report["missing_keys"])
    if missing:  # transformers would make them up at random
        wrong = f"{len(missing)} weights are missing, {missing[0]} the first"
        raise UserError(f"{folder}: {wrong}; {AGAIN}")
    placed = set((getattr(model, "hf_device_map", None) or {}).values())
    if torch.cuda.is_available() and placed & {"cpu", "disk"}:  # accelerate moves layers to and fro
        wrong = f"{torch.cuda.device_count()} GPUs are too few for its weights in {dtype}"
        raise UserError(f"{folder}: {wrong}; {_SPREAD}")
    check_leftovers(folder, model, report["unexpected_keys"], tensor_shapes(folder))
    check_tied(folder, model)
    return model


def _from_pretrained(folder: Path, dtype: "torch.dtype", device: "torch.device | str"):
    """The model, and what transformers says of loading it."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        device_map="auto" if device == "auto" else {"": device},  # no copy in the CPU's memory
        trust_remote_code=False,
        use_safetensors=weight_files(folder)[0].suffix == ".safetensors",
        weights_only=True,
        output_loading_info=True,
    )


def _other_shape(folder: Path) -> str | None:
    """Of the first tensor that has another shape than config.json asks for; None without one."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        with torch.device("meta"), quiet():
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        wanted = model.state_dict()
        for name, shape in tensor_shapes(folder).items():
            if name in wanted and shape != list(wanted[name].shape):
                return f"{name} has the shape {shape}, by config.json {list(wanted[name].shape)}"
    except Exception:  # this is an attempt to say more about another error
        return None
    return None


def check_vocabulary(model, tokenizer, folder: Path) -> None:
    """UserError where the tokenizer has ids beyond the embedding. Ids that only the embedding has
    are never produced."""
    rows = model.get_input_embeddings().weight.shape[0]
    used = set(tokenizer.get_vocab().values())
    used -= set(tokenizer.added_tokens_decoder)  # a padding token put on top is never used
    used |= {tokenizer.bos_token_id, tokenizer.eos_token_id} - {None}
    if used and max(used) >= rows:
        wrong = f"the tokenizer has ids up to {max(used)}, the embedding {rows} rows"
        raise UserError(f"{folder}: {wrong}; {_OTHER_MODEL}")


def check_prompts(model, tokenizer, prompts: Sequence[str], folder: Path) -> None:
    """UserError where a prompt has an id beyond the embedding: of an added token that
    check_vocabulary took for unused."""
    rows = model.get_input_embeddings().weight.shape[0]
    if max(tokenizer.get_vocab().values()) < rows:
        return
    highest = max((max(ids, default=0) for ids in encode_prompts(tokenizer, prompts)), default=0)
    if highest >= rows:
        token = tokenizer.convert_ids_to_tokens(highest)
        wrong = f"prompts have the token {token!r} with the id {highest}, the embedding {rows} rows"
        raise UserError(f"{folder}: {wrong}; {_OTHER_MODEL}")


def check_finite(model, folder: Path) -> None:
    """UserError where a weight is infinite or no number. One pass over the weights, on the device
    they lie on."""
    import torch

    weights = {name: weight for name, weight in model.named_parameters() if weight.numel()}
    extremes = []
    for weight in weights.values():
        extremes.append(torch.stack(torch.aminmax(weight.detach())).float())
    finite = torch.isfinite(torch.stack(extremes)).all(dim=1)  # (weights,)
    bad = (~finite).nonzero().flatten().tolist()
    if not bad:
        return
    mend = AGAIN
    if model.dtype == torch.float16:  # it ends at 65504
        mend = f"give --dtype float32 or bfloat16, or {AGAIN}"
    dtype = str(model.dtype).removeprefix("torch.")
    wrong = f"values that are not finite as {dtype} in {len(bad)} of {len(weights)} weights"
    raise UserError(f"{folder}: {wrong}, {list(weights)[bad[0]]} the first; {mend}")


def read_tokenizer(folder: Path):
    """The tokenizer of a folder, as its files are written (tokenizer.py)."""
    if not any((folder / name).exists() for name in VOCABULARIES):
        raise UserError(f"{folder}: no tokenizer (none of {', '.join(VOCABULARIES)}); {AGAIN}")
    try:
        with quiet():
            return open_tokenizer(folder)
    except UserError:
        raise
    except Exception as error:  # see check_files
        raise UserError(f"{folder}: cannot load the tokenizer ({reason(error)}); {AGAIN}") from None
