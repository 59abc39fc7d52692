"""A miniature GGUF file of Llama's shape, written by the package `gguf` itself, and the same weights as a checkpoint."""

from pathlib import Path

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, quants
from miniatures import byte_level_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

HIDDEN, LAYERS, HEADS, KV_HEADS, FFN = 64, 2, 4, 2, 96
# Hugging Face's name of a matrix of a layer -> the file's
MATRICES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}  # fmt: skip
NORMS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
TYPES = {
    "F32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "F16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "Q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "Q4_0": (GGMLQuantizationType.Q4_0, LlamaFileType.MOSTLY_Q4_0),
}


def vocabulary() -> tuple[list[str], list[str]]:
    """Pieces in the order of their ids, and merges, of a small byte-level tokenizer."""
    import json

    model = json.loads(byte_level_tokenizer().backend_tokenizer.to_str())["model"]
    pieces = sorted(model["vocab"], key=model["vocab"].get)
    return pieces, [" ".join(merge) for merge in model["merges"]]


def model(tied: bool = True) -> LlamaForCausalLM:
    """Random weights; those that a file with 16 bits can hold."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary()[0]), hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS, intermediate_size=FFN, tie_word_embeddings=tied, initializer_range=0.3,
        bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    made = LlamaForCausalLM(config).eval()
    for weight in made.parameters():
        weight.data = weight.data.half().float()
    return made


def as_llama_cpp(name: str, weight: np.ndarray, heads: int) -> np.ndarray:
    """A matrix with the rows of each head in llama.cpp's order, which rotates neighbours."""
    if name not in ("attn_q", "attn_k"):
        return weight
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def tensors(made: LlamaForCausalLM) -> dict[str, np.ndarray]:
    """All weights under the file's names."""
    state = {name: weight.numpy() for name, weight in made.state_dict().items()}
    found = {
        "token_embd.weight": state["model.embed_tokens.weight"],
        "output_norm.weight": state["model.norm.weight"],
    }
    for layer in range(LAYERS):
        for ours, theirs in MATRICES.items():
            heads = KV_HEADS if theirs == "attn_k" else HEADS
            weight = as_llama_cpp(theirs, state[f"model.layers.{layer}.{ours}.weight"], heads)
            found[f"blk.{layer}.{theirs}.weight"] = weight
        for ours, theirs in NORMS.items():
            found[f"blk.{layer}.{theirs}.weight"] = state[f"model.layers.{layer}.{ours}.weight"]
    if not made.config.tie_word_embeddings:
        found["output.weight"] = state["lm_head.weight"]
    return found


def write_gguf(
    path: Path, kind: str = "F32", more: dict | None = None, weights: dict | None = None, arch: str = "llama"
) -> dict[str, np.ndarray]:
    """Write a file of a type; the weights as its blocks hold them, by the file's names. `more`: settings
    added or, with None, left out; `weights`: tensors in place of model()'s."""
    stored, file_type = TYPES[kind]
    pieces, merges = vocabulary()
    settings = {
        "general.file_type": int(file_type), "general.name": "miniature",
        f"{arch}.block_count": LAYERS, f"{arch}.context_length": 2048, f"{arch}.embedding_length": HIDDEN,
        f"{arch}.feed_forward_length": FFN, f"{arch}.attention.head_count": HEADS,
        f"{arch}.attention.head_count_kv": KV_HEADS, f"{arch}.rope.dimension_count": HIDDEN // HEADS,
        f"{arch}.rope.freq_base": 10000.0, f"{arch}.attention.layer_norm_rms_epsilon": 1e-6,
        f"{arch}.vocab_size": len(pieces), "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": pieces, "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.token_type": [3 if index < 2 else 1 for index in range(len(pieces))],
        "tokenizer.ggml.bos_token_id": 0, "tokenizer.ggml.eos_token_id": 1, "tokenizer.ggml.add_bos_token": True,
    } | (more or {})  # fmt: skip
    writer = GGUFWriter(path, arch)
    for name, value in settings.items():
        add_setting(writer, name, value)
    held = {}
    for name, weight in (weights or tensors(model())).items():
        weight = np.ascontiguousarray(weight, dtype=np.float32)
        dtype = stored if weight.ndim == 2 else GGMLQuantizationType.F32
        blocks = quants.quantize(weight, dtype)
        held[name] = quants.dequantize(blocks, dtype)
        writer.add_tensor(name, blocks, raw_dtype=dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return held


def add_setting(writer: GGUFWriter, name: str, value: object) -> None:
    """Add a setting in the file's type for it."""
    adders = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string,
              list: writer.add_array}  # fmt: skip
    if value is not None:
        adders[type(value)](name, value)
