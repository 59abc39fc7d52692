"""How many prompts are decoded at a time: as many as memory holds, half as many when it did not."""

import sys

import torch

from boxes.decoding.host_memory import available_bytes
from boxes.records import UserError

# More gain nothing: a forward's matrices are large enough by then.
MOST_ROWS = {"cuda": 256, "cpu": 128}
# What the estimate does not know, pieces between tensors among it: this part of a GPU's memory stays free (of all of it:
# where weights leave little, a part of that would be nothing); on a CPU, of what is free.
SPARE = {"cuda": 0.08, "cpu": 0.2}
_EXHAUSTED = ("out of memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")


def row_capacity(max_new_tokens: int, step_draft: int, longest_draft: int) -> int:
    """Tokens a row may have behind its prompt: drafts are run beyond the last token that counts."""
    return max(max_new_tokens + step_draft, longest_draft) + 2


def stored_bytes(config, itemsize: int) -> int:
    """The keys and values of one token in all layers."""
    heads = _number(config, "num_key_value_heads") or _heads(config)
    return 2 * config.num_hidden_layers * heads * _head_size(config) * itemsize


def passing_bytes(config, itemsize: int) -> int:
    """What one layer's forward holds of one token at a time: its attention, merged in float32, or its inner states."""
    attention = _heads(config) * _head_size(config) * (3 * 4 + 5 * itemsize)
    wide = _number(config, "intermediate_size") or 4 * config.hidden_size  # GPT-2's does not say
    return 4 * config.hidden_size * itemsize + max(attention, 3 * wide * itemsize)


def _heads(config) -> int:
    return _number(config, "num_attention_heads") or 1  # as wide as a model without attention


def _head_size(config) -> int:
    return _number(config, "head_dim") or config.hidden_size // _heads(config)


def _number(config, name: str) -> int | None:
    """A number of a configuration, the largest where layers have their own; None without one."""
    value = getattr(config, name, None)
    if isinstance(value, (list, tuple)):
        return max(value)
    return value


def usable_bytes(device: torch.device) -> float:
    """What may be used of a device."""
    if device.type == "cuda":
        return free_bytes(device) - SPARE["cuda"] * torch.cuda.mem_get_info(device)[1]
    return (1 - SPARE["cpu"]) * free_bytes(device)


def free_bytes(device: torch.device) -> int:
    """What a device has left."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return available_bytes()


def most_rows(kind: str) -> int:
    """How many prompts are decoded at a time at most, whatever the memory."""
    return MOST_ROWS.get(kind, MOST_ROWS["cpu"])


def rows_that_fit(model, tokens: int, run: int, most: int, shared: int = 0, each: int = 0) -> int:
    """How many rows of `tokens` tokens the devices of a model have memory for, beside a forward of
    `run` tokens and a prefix of `shared`: 1 at least, `most` at most. `each`: tokens that a forward has more for each row."""
    devices = {parameter.device for parameter in model.parameters()}
    config, itemsize = model.config.get_text_config(), model.dtype.itemsize
    stored, passing = stored_bytes(config, itemsize), passing_bytes(config, itemsize)
    free = min(map(usable_bytes, devices)) - run * passing
    of_row = tokens * stored / len(devices) + each * passing
    return max(1, min(most, int((free - shared * stored / len(devices)) / of_row)))


def _exhausted(error: Exception) -> bool:
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return any(sign in str(error) for sign in _EXHAUSTED)


def raise_exhausted(error: Exception) -> None:
    """Raise an error again where it says that memory ran out."""
    if _exhausted(error):
        raise error


def halved(rows: int, error: Exception) -> int:
    """Half as many rows, where an error says that memory ran out. Any other error is raised again;
    UserError where not even one row fits."""
    if not _exhausted(error):
        raise error
    if rows == 1:
        mend = "free memory, or spread the model over more GPUs"
        raise UserError(f"out of memory with one prompt at a time; {mend}") from None
    said = f"out of memory with {rows} prompts at a time; going on with {rows // 2}"
    print(said, file=sys.stderr)
    return rows // 2


def release() -> None:
    """Give back memory of the device that nothing uses."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
