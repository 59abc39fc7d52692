"""Inflated checkpoints: a tiny Llama embedded, function-preserving, in the shape of a real model.

    python experiments/bench/inflate.py --model tiny-base --shape 100m --out data/runs/tiny-100m

Speed at a real shape can then be measured, and the answers checked, with nothing downloaded. After
Net2Net (Chen, Goodfellow & Shlens 2016, arXiv:1511.05641). They copy units and divide what the
copies send on, so that the wider model can learn; here it is only run, and units are padded.

A hidden state x of d dimensions becomes x' = (x, r) of D dimensions, |r_i| about 1e-8: noise far
below RMSNorm's epsilon and not zeros, on which a GPU is faster than on real activations.

    RMSNorm     w' = sqrt(d/D) w and e' = e d/D:  x'/sqrt(|x'|^2/D + e') w' = x/sqrt(|x|^2/d + e) w
    reading     W' = [W 0]: what reads the state sees the tiny's dimensions alone
    writing     W' = [W; noise]: what writes to it writes there, and noise beyond
    attention   q' = sqrt(H/h) q:  q'.k'/sqrt(H) = q.k/sqrt(h), for heads of size h in size H
    RoPE        pair j of h lies at pair i = j H/h of H:  theta^(-2i/H) = theta^(-2j/h)
    groups      tiny head j is the first head of KV group j; other heads write noise
    depth       a layer too many writes noise alone

Where the output matrix is the embedding (Gemma), `tie` says what is done.
"""

import shutil
import sys
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import GemmaConfig, GemmaForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout before others

from boxes.commandline import argument_parser, command, out_folder
from boxes.decoding.memory import free_bytes
from boxes.models import load
from boxes.models.shapes import SHAPES, Shape
from boxes.records import UserError
from experiments.bench.measure import add_model

NOISE = 2.0**-20  # of the ordinary initial weights: what is written beside the tiny's dimensions
# Of the output matrix, where it is tied to the embedding and so enters the hidden state.
SMALL = 2.0**-24
# The gate that moves the state to the output matrix's dimensions: against it nothing else there
# counts.
LARGE = 2.0**24
SPARE = 2**30  # bytes beside the weights, without which a shape is not tried


@dataclass(frozen=True)
class Architecture:
    """A model of transformers, whose norms multiply by norm_offset + w.

    Norms get `lift` times the weights, and what reads them a `lift`th: with an offset, rounding w
    would else cost too much.
    """

    config: type
    model: type
    settings: dict
    norm_offset: float = 0.0
    lift: float = 1.0


ARCHITECTURES = {
    "llama": Architecture(LlamaConfig, LlamaForCausalLM, {}),
    "mistral": Architecture(MistralConfig, MistralForCausalLM, {"sliding_window": 4096}),
    "gemma": Architecture(GemmaConfig, GemmaForCausalLM, {}, norm_offset=1.0, lift=64.0),
}


def kind_of(shape: Shape) -> Architecture:
    """A shape's row of ARCHITECTURES."""
    return ARCHITECTURES[shape.architecture]


def check(tiny, shape: Shape) -> None:
    """UserError where the tiny model (its configuration) cannot be embedded in a shape."""
    more = tiny.tie_word_embeddings or tiny.attention_bias or tiny.mlp_bias
    plain = tiny.model_type == "llama" and tiny.hidden_act == "silu" and not more
    if not plain or tiny.num_key_value_heads != tiny.num_attention_heads:
        wanted = "a Llama with untied embeddings, no biases and as many KV heads as heads"
        raise UserError(f"only {wanted} can be inflated")
    if shape.head_size % tiny.head_dim or shape.heads % shape.kv_heads:
        wrong = f"head size {shape.head_size} is no multiple of {tiny.head_dim}"
        raise UserError(f"{wrong}, or KV groups are unequal")
    for name, there, needed in (
        ("hidden size", shape.hidden, reserved_dimensions(tiny, shape)),
        ("layers", shape.layers, tiny.num_hidden_layers + shape.tied),
        ("KV heads", shape.kv_heads, tiny.num_attention_heads),
        ("ffn", shape.ffn, tiny.intermediate_size),
        ("vocabulary", shape.vocabulary, tiny.vocab_size),
    ):
        if there < needed:
            raise UserError(f"{name}: {there} in the shape, but this model needs {needed}")


def reserved_dimensions(tiny, shape: Shape) -> int:
    """How many dimensions of the wide hidden state are the tiny's, those of `tie` included."""
    return 2 * tiny.hidden_size + 1 if shape.tied else tiny.hidden_size


def too_large(shape: Shape, device: torch.device, dtype: torch.dtype) -> str:
    """Why a shape does not fit the device's memory; "" where it may."""
    needed, there = shape.parameters * dtype.itemsize, free_bytes(device)
    if needed + SPARE <= there:
        return ""
    return f"its weights have {needed / 1e9:.1f} GB, {there / 1e9:.1f} GB are free"


def random_model(tiny, shape: Shape, device, dtype: torch.dtype):
    """A model of a shape with ordinary initial weights, made on the device; all else as in the
    tiny's configuration."""
    kind = kind_of(shape)
    epsilon = tiny.rms_norm_eps * tiny.hidden_size / shape.hidden
    if shape.tied:
        epsilon /= 2  # its other half is the square of a constant in the embedding (`tie`)
    config = kind.config(
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_size,
        intermediate_size=shape.ffn,
        vocab_size=shape.vocabulary,
        rms_norm_eps=epsilon,
        rope_parameters=dict(tiny.rope_parameters),
        max_position_embeddings=tiny.max_position_embeddings,
        hidden_act=tiny.hidden_act,
        bos_token_id=tiny.bos_token_id,
        eos_token_id=tiny.eos_token_id,
        pad_token_id=None,
        tie_word_embeddings=shape.tied,
        **kind.settings,
    )
    with torch.device(device):
        return kind.model._from_config(config, dtype=dtype).eval().requires_grad_(False)


def reads(weight: torch.Tensor, values: torch.Tensor, rows: torch.Tensor | None = None) -> None:
    """A matrix (n, D) that reads the hidden state: these rows see the tiny's dimensions alone; the
    others stay random."""
    if rows is None:
        rows = torch.arange(len(values), device=weight.device)
    weight[rows] = 0
    weight[rows, : values.shape[1]] = values.to(weight)


def writes(weight: torch.Tensor, reserved: int, values=None, columns=None) -> None:
    """A matrix (D, n) that writes to the hidden state: the tiny's values, in these columns, and
    noise beyond `reserved`."""
    weight.mul_(NOISE)
    weight[:reserved] = 0
    if values is not None:
        if columns is None:
            columns = torch.arange(values.shape[1], device=weight.device)
        weight[: len(values), columns] = values.to(weight)


def head_rows(tiny, shape: Shape, device) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the rows of the tiny's heads, in their order, lie among query rows and among key and
    value rows."""
    size, wide, group = tiny.head_dim, shape.head_size, shape.heads // shape.kv_heads
    # Rotary pair j is dimensions j and j + size / 2.
    pairs = torch.arange(0, wide // 2, wide // size, device=device)
    inside = torch.cat([pairs, pairs + wide // 2])
    starts = torch.arange(0, tiny.num_attention_heads * wide, wide, device=device)[:, None]
    return (starts * group + inside).flatten(), (starts + inside).flatten()


def embed_layer(wide, tiny, config, shape: Shape, reserved: int) -> None:
    """Write one layer of the tiny's into one of the wide model's."""
    kind = kind_of(shape)
    query, key = head_rows(config, shape, wide.self_attn.q_proj.weight.device)
    mine, theirs = wide.self_attn, tiny.self_attn
    # Beside the tiny's dimensions a head's keys are random: its queries must be zero there.
    group = shape.heads // shape.kv_heads
    heads = mine.q_proj.weight.view(shape.heads, shape.head_size, -1)
    heads[: config.num_attention_heads * group : group] = 0
    scale = sqrt(shape.head_size / config.head_dim)
    reads(mine.q_proj.weight, theirs.q_proj.weight * scale / kind.lift, query)
    reads(mine.k_proj.weight, theirs.k_proj.weight / kind.lift, key)
    reads(mine.v_proj.weight, theirs.v_proj.weight / kind.lift, key)
    writes(mine.o_proj.weight, reserved, theirs.o_proj.weight, query)
    reads(wide.mlp.gate_proj.weight, tiny.mlp.gate_proj.weight / kind.lift)
    reads(wide.mlp.up_proj.weight, tiny.mlp.up_proj.weight / kind.lift)
    writes(wide.mlp.down_proj.weight, reserved, tiny.mlp.down_proj.weight)
    for name in ("input_layernorm", "post_attention_layernorm"):
        rescale(getattr(wide, name).weight, getattr(tiny, name).weight, shape, kind.lift)


def rescale(weight, tiny: torch.Tensor, shape: Shape, factor: float, first: int = 0) -> None:
    """A norm's weights for the tiny's, from dimension `first` on."""
    scaled = tiny.float() * (sqrt(len(tiny) / shape.hidden) * factor)
    weight[first : first + len(tiny)] = (scaled - kind_of(shape).norm_offset).to(weight)


def tie(model, tiny, shape: Shape) -> None:
    """Where the output matrix is the embedding, it lies, small, in dimensions d..2d-1; the last
    layer moves the state there.

    Dimension 2d holds a constant. The last MLP computes silu(LARGE * constant / rms) * state / rms,
    so in the final norm the moved state outweighs all else, and its length cancels. The final norm
    is zero elsewhere.
    """
    width, constant = tiny.config.hidden_size, 2 * tiny.config.hidden_size
    embedding, norm, last = model.model.embed_tokens, model.model.norm, model.model.layers[-1]
    here = torch.arange(width, device=embedding.weight.device)
    rows, scale = slice(tiny.config.vocab_size), embedding.embed_scale.float()
    embedding.weight[rows, width:constant] = (tiny.lm_head.weight * SMALL).to(embedding.weight)
    embedding.weight[rows, constant] = sqrt(tiny.config.rms_norm_eps * width / 2) / scale
    last.mlp.gate_proj.weight[:width] = 0
    last.mlp.gate_proj.weight[:width, constant] = LARGE
    reads(last.mlp.up_proj.weight, torch.eye(width))
    last.mlp.down_proj.weight[here + width, here] = 1
    norm.weight.fill_(-1)
    rescale(norm.weight, tiny.model.norm.weight, shape, 1 / SMALL, first=width)


@torch.no_grad()
def inflate(tiny, shape: Shape, device="cpu", dtype: torch.dtype = torch.float32, seed: int = 0):
    """A model of a shape, on a device, whose logits over the tiny's vocabulary are the tiny's;
    float32 or bfloat16.

    It is made on the device: no copy of it is ever in the CPU's memory. UserError where the tiny
    does not fit the shape.
    """
    check(tiny.config, shape)
    device = torch.device(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model = random_model(tiny.config, shape, device, dtype)
    width = tiny.config.hidden_size
    reserved = 2 * width + 1 if shape.tied else width
    embedding = model.model.embed_tokens
    # Gemma multiplies embeddings by sqrt(D).
    scale = embedding.embed_scale.float().item() if shape.tied else 1.0
    writes(embedding.weight.T, reserved, tiny.model.embed_tokens.weight.T / scale)
    depth = len(tiny.model.layers)
    for wide, layer in zip(model.model.layers, tiny.model.layers, strict=False):
        embed_layer(wide, layer, tiny.config, shape, reserved)
    for wide in model.model.layers[depth:]:
        writes(wide.self_attn.o_proj.weight, reserved)
        writes(wide.mlp.down_proj.weight, reserved)
    if shape.tied:
        tie(model, tiny, shape)
    else:
        reads(model.lm_head.weight, tiny.lm_head.weight)
        rescale(model.model.norm.weight, tiny.model.norm.weight, shape, 1.0)
    return model


def save(model, tokenizer, folder: Path) -> None:
    """Write a checkpoint that boxes.models.load takes: the whole folder, or nothing."""
    if folder.exists():
        raise UserError(f"{folder}: exists already; name another folder, or delete it")
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        temporary.rename(folder)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder}: cannot write ({error}); nothing was changed") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@command
def main() -> None:
    parser = argument_parser(__doc__)
    add_model(parser)
    add, default = parser.add_argument, "default: %(default)s"
    add("--shape", choices=SHAPES, default="100m", help=default)
    add("--out", type=out_folder, required=True, help="the folder to write")
    add("--dtype", choices=("float32", "bfloat16"), default="float32", help=default)
    arguments = parser.parse_args()
    tiny, dtype = load(arguments.model, "cpu"), getattr(torch, arguments.dtype)
    shape = SHAPES[arguments.shape]
    if reason := too_large(shape, tiny.model.device, dtype):
        raise UserError(f"{arguments.shape}: too little memory, {reason}; choose a smaller shape")
    save(inflate(tiny.model, shape, "cpu", dtype), tiny.tokenizer, arguments.out)
    print(f"{arguments.out}: {tiny.spec.name} in {shape.parameters:,} parameters")


if __name__ == "__main__":
    main()
