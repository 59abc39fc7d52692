"""Tensors that a model does not use and that change no answer are let pass, and listed; what
transformers hides is seen."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    MllamaConfig,
    MllamaForConditionalGeneration,
)

from boxes.models.files import weight_files
from boxes.models.loading import load
from boxes.models.reading import read_model
from boxes.models.table import TINY_FOLDER
from boxes.records import UserError

TINY = TINY_FOLDER / "tiny-base"
IDS = torch.arange(3, 30)[None]
EYE = "the part that looks at images or hears: there are none in this task"
MASKS = "masks that older versions kept as buffers"
ANGLES = "angles of RoPE, which follow from config.json"
AHEAD = "heads that predict tokens further ahead (MTP), which greedy decoding does not ask"
SMALL = {"vocab_size": 1024, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


@pytest.fixture
def folder(tmp_path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "model"))


def add(folder: Path, **shapes: tuple[int, ...]) -> None:
    """More tensors in the file of a folder."""
    path = folder / "model.safetensors"
    more = {name.replace("__", "."): torch.ones(shape) for name, shape in shapes.items()}
    save_file(load_file(path) | more, path, metadata={"format": "pt"})


def lines(capfd) -> list[str]:
    return [line for line in capfd.readouterr().err.splitlines() if "left out" in line]


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model.eval()(IDS).logits


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({"model__layers__0__self_attn__rotary_emb__inv_freq": (16,)}, ANGLES),
        ({"model__layers__0__self_attn__masked_bias": ()}, MASKS),
        ({"model__layers__0__self_attn__bias": (1, 1, 64, 64)}, MASKS),
        ({"model__vision_tower__patch__weight": (3, 3)}, EYE),
        ({"mtp__layers__0__weight": (3, 3)}, AHEAD),
    ],
)
def test_what_is_harmless_is_listed_and_let_pass(folder, shapes, said, capfd):
    add(folder, **shapes)
    [name] = [name.replace("__", ".") for name in shapes]
    assert torch.equal(logits(load(folder, "cpu").model), logits(load(TINY, "cpu").model))
    assert lines(capfd) == [f"{folder}: {name} left out: {said}"]


def test_many_of_a_kind_are_one_line(folder, capfd):
    for number in range(4):
        add(folder, **{f"model__layers__{number}__self_attn__rotary_emb__inv_freq": (16,)})
    load(folder, "cpu")
    which = "model.layers.0.self_attn.rotary_emb.inv_freq and 3 more"
    assert lines(capfd) == [f"{folder}: {which} left out: {ANGLES}"]


def test_a_checkpoint_of_ours_leaves_nothing_out(capfd):
    load(TINY, "cpu")
    assert lines(capfd) == []


def test_a_head_further_ahead_is_numbered_as_a_layer(tmp_path, capfd):
    config = GPTNeoXConfig(**SMALL, intermediate_size=96, num_nextn_predict_layers=1)
    model = GPTNeoXForCausalLM(config)
    model.save_pretrained(tmp_path)
    add(tmp_path, gpt_neox__layers__2__mlp__weight=(3, 3))
    read_model(tmp_path, torch.float32)
    assert lines(capfd) == [f"{tmp_path}: gpt_neox.layers.2.mlp.weight left out: {AHEAD}"]
    add(tmp_path, gpt_neox__layers__3__mlp__weight=(3, 3))
    said = r"gpt_neox.layers.3.mlp.weight is of a layer that config.json does not have \(2\)"
    with pytest.raises(UserError, match=said):
        read_model(tmp_path, torch.float32)


def test_gpt_neox_of_old(tmp_path, capfd):
    model = GPTNeoXForCausalLM(GPTNeoXConfig(**SMALL, intermediate_size=96))
    model.save_pretrained(tmp_path)
    masks = {"bias": (1, 1, 8, 8), "masked_bias": ()}
    add(tmp_path, **{f"gpt_neox__layers__0__attention__{name}": masks[name] for name in masks})
    assert torch.equal(logits(read_model(tmp_path, torch.float32)), logits(model))
    which = "gpt_neox.layers.0.attention.bias and 1 more"
    assert lines(capfd) == [f"{tmp_path}: {which} left out: {MASKS}"]


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_gpt2_hides_biases_from_the_report(prefix, tmp_path, capfd):
    """Its names have no prefix on the hub; its list of names to ignore, "attn.bias", is wider than
    it was meant."""
    model = GPT2LMHeadModel(GPT2Config(vocab_size=1024, n_embd=64, n_layer=2, n_head=4))
    model.config.save_pretrained(tmp_path)
    tensors = {
        prefix + name.removeprefix("transformer."): tensor.clone()
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"
    }
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    add(tmp_path, **{f"{prefix}h__0__attn__bias": (1, 1, 8, 8)})
    assert torch.equal(logits(read_model(tmp_path, torch.float32)), logits(model))
    assert lines(capfd) == [f"{tmp_path}: {prefix}h.0.attn.bias left out: {MASKS}"]
    add(tmp_path, **{f"{prefix}h__0__attn__q_attn__bias": (64,)})
    with pytest.raises(UserError, match=r"h\.0\.attn\.q_attn\.bias is in the weights, but the model"):
        read_model(tmp_path, torch.float32)


def test_the_text_part_of_a_model_with_eyes(tmp_path, capfd):
    """As Llama-3.2-11B-Vision lies on the hub: a MllamaForConditionalGeneration, its vision tower
    beside the text part."""
    text = {**SMALL, "intermediate_size": 96, "num_hidden_layers": 4, "num_key_value_heads": 2,
            "pad_token_id": 0, "cross_attention_layers": [1, 3], "bos_token_id": 1,
            "eos_token_id": 2, "initializer_range": 0.3}  # fmt: skip
    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
              "num_global_layers": 1, "attention_heads": 2, "image_size": 28, "patch_size": 14,
              "vision_output_dim": 64, "intermediate_layers_indices": [0], "max_num_tiles": 1,
              "supported_aspect_ratios": [[1, 1]]}  # fmt: skip
    torch.manual_seed(0)
    config = MllamaConfig(text_config=text, vision_config=vision)
    whole = MllamaForConditionalGeneration(config).eval()
    whole.save_pretrained(tmp_path)
    names = load_file(tmp_path / "model.safetensors")
    assert any(name.startswith("vision_model.") for name in names)
    read = read_model(tmp_path, torch.float32)
    assert type(read).__name__ == "MllamaForCausalLM"
    assert torch.equal(logits(read), logits(whole))
    [line] = lines(capfd)
    assert line.endswith(f"left out: {EYE}")


def test_a_tied_model_whose_file_has_the_output_too(folder):
    config = (folder / "config.json").read_text()
    tied = config.replace('"tie_word_embeddings": false', '"tie_word_embeddings": true')
    (folder / "config.json").write_text(tied)
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    model = load(folder, "cpu").model
    assert model.config.tie_word_embeddings
    assert torch.equal(model.get_output_embeddings().weight, tensors["model.embed_tokens.weight"])


def test_a_whole_file_beside_a_stale_index(folder):
    """As transformers reads it: a checkpoint that was sharded once, and its index forgotten."""
    index = '{"weight_map": {"a": "model-00001-of-00002.safetensors"}}'
    (folder / "model.safetensors.index.json").write_text(index)
    assert weight_files(folder) == [folder / "model.safetensors"]
    assert torch.equal(logits(load(folder, "cpu").model), logits(load(TINY, "cpu").model))
