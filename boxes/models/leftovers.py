"""Tensors in a checkpoint's files that its model does not use: harmless, or of a model that
config.json does not describe.

transformers leaves them out without an error: biases, norms and adapters that the weights were
trained with.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from boxes.models.files import AGAIN
from boxes.records import UserError

_MASK = "masks that older versions kept as buffers"
_AHEAD = "heads that predict tokens further ahead (MTP), which greedy decoding does not ask"
_EYE = "the part that looks at images or hears: there are none in this task"
_OWN = "transformers' class of this architecture is made to leave them out"
_BUFFERS = {
    r"(^|\.)rotary_emb\.inv_freq$": "angles of RoPE, which follow from config.json",
    r"(^|\.)position_ids$": "a list of the positions",
}
# Names of tensors that change no answer, and why.
HARMLESS = {
    **_BUFFERS,
    r"(^|\.)(attn|attention|self_attn)\.(masked_bias|bias)$": _MASK,
    r"^mtp\.|\.mtp\.|(^|\.)mtp_\w+\.": _AHEAD,
    r"^(model\.)?(vision_model|vision_tower|visual|vision_embed_tokens|image_newline)(\.|$)": _EYE,
    r"^(model\.)?(multi_modal_projector|embed_vision|mm_projector|audio_tower|embed_audio)\.": _EYE,
}
# What no architecture leaves out by design, however widely its list of names to ignore is written
# (GPT-2's: "attn.bias").
_TRAINED = r"\.bias$|lora_"


@dataclass(frozen=True)
class Leftover:
    """A tensor that the model does not use. `ignored`: transformers was told not to report it."""

    name: str
    shape: list[int] | None
    ignored: bool


def leftovers(model, reported: set[str], shapes: dict[str, list[int]]) -> list[Leftover]:
    """Those that transformers reports, and those of `shapes` that it was told not to report."""
    patterns = [*(model._keys_to_ignore_on_load_unexpected or ()), *_BUFFERS]

    def is_ignored(name: str) -> bool:
        return any(re.search(pattern, name) for pattern in patterns)

    prefix = f"{model.base_model_prefix}."  # which a file's names have, or lack
    used = set()
    for name in model.state_dict():
        used |= {name, name.removeprefix(prefix), prefix + name}
    hidden = {name for name in shapes if name not in used and is_ignored(name)}
    names = sorted(reported | hidden)
    return [Leftover(name, shapes.get(name), name not in reported) for name in names]


def check_leftovers(folder: Path, model, reported: set[str], shapes: dict[str, list[int]]) -> None:
    """UserError where an unused tensor may have mattered; the harmless are listed by kind."""
    let_pass: dict[str, list[str]] = {}
    config = model.config.get_text_config()
    for leftover in leftovers(model, reported, shapes):
        reason = why_harmless(leftover, config)
        if reason is None:
            raise UserError(f"{folder}: {_why_refused(leftover.name, config)}")
        let_pass.setdefault(reason, []).append(leftover.name)
    for reason, names in let_pass.items():
        which = names[0]
        if len(names) > 1:
            which += f" and {len(names) - 1} more"
        print(f"{folder}: {which} left out: {reason}", file=sys.stderr)


def why_harmless(leftover: Leftover, config) -> str | None:
    """Why a tensor that the model does not use changes no answer; None where it might."""
    name = leftover.name
    depth, ahead = _depth(config), getattr(config, "num_nextn_predict_layers", None) or 0
    if depth is not None and depth <= _layer(name) < depth + ahead:  # DeepSeek numbers them so
        return _AHEAD
    reason = next((why for pattern, why in HARMLESS.items() if re.search(pattern, name)), None)
    is_vector = leftover.shape is not None and len(leftover.shape) == 1
    if reason == _MASK and is_vector:  # a bias proper
        return None
    if reason is None and leftover.ignored and not re.search(_TRAINED, name):
        return _OWN
    return reason


def _why_refused(name: str, config) -> str:
    depth = _depth(config)
    if depth is not None and _layer(name) >= depth:
        return f"{name} is of a layer that config.json does not have ({depth}); {AGAIN}"
    return (
        f"{name} is in the weights, but the model of config.json does not use it: it would not "
        "answer as this checkpoint does; mend config.json, merge the adapter where it is of one, "
        f"or {AGAIN}"
    )


def _depth(config) -> int | None:
    return getattr(config, "num_hidden_layers", None)


def _layer(name: str) -> int:
    """The number of the layer in a weight's name; -1 without one."""
    number = re.search(r"\.(\d+)\.", name)
    return int(number[1]) if number else -1


def check_tied(folder: Path, model) -> None:
    """UserError where config.json says that the output is the embedding, and the file has another.
    transformers takes the file's since its version 5, and took the embedding before."""
    import torch

    output, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    is_tied = getattr(model.config.get_text_config(), "tie_word_embeddings", False)
    if output is None or not is_tied:
        return
    one, other = output.weight, embedding.weight
    if one is other or one.device != other.device or one.device.type == "meta":
        return
    if one.shape == other.shape and not torch.equal(one, other):
        raise UserError(
            f"{folder}: config.json ties the output to the embedding (tie_word_embeddings), but "
            "the weights have two that differ; set it to false where the output is one of its own"
        )
