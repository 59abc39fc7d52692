"""Ways to spoil a checkpoint, and the one line that each is refused with."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from boxes.models.table import TINY_FOLDER
from boxes.records import read_json

Spoil = Callable[[Path], object]  # what it does to a checkpoint's folder

TINY = TINY_FOLDER / "tiny-base"
TENSORS = load_file(TINY / "model.safetensors")
UP = "model.layers.1.mlp.up_proj.weight"
AGAIN = "fetch the model again"


def write(name: str, content: str) -> Spoil:
    return lambda folder: (folder / name).write_text(content)


def remove(name: str) -> Spoil:
    return lambda folder: (folder / name).unlink()


def a_folder(name: str) -> Spoil:
    return lambda folder: (folder / name).mkdir()


def config(**fields) -> Spoil:
    return write("config.json", json.dumps(read_json(TINY / "config.json") | fields))


def cut(name: str, share: float) -> Spoil:
    def spoil(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(share * len(content))])

    return spoil


def tensors(changed: dict[str, torch.Tensor | None]) -> Spoil:
    """Other tensors in the file; None leaves one out."""

    def spoil(folder: Path) -> None:
        kept = {name: tensor for name, tensor in (TENSORS | changed).items() if tensor is not None}
        save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})

    return spoil


def with_value(value: float) -> torch.Tensor:
    tensor = TENSORS[UP].clone()
    tensor[3, 4] = value
    return tensor


def pickled(content: object) -> Spoil:
    """A .bin in place of safetensors."""

    def spoil(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        torch.save(content, folder / "pytorch_model.bin")

    return spoil


def more(*names: str) -> Spoil:
    """Tensors more in the file, all of them vectors."""
    return tensors({name: torch.zeros(128) for name in names})


def unused(name: str) -> str:
    return (
        f"{{}}: {name} is in the weights, but the model of config.json does not use it: "
        "it would not answer as this checkpoint does; mend config.json, "
        f"merge the adapter where it is of one, or {AGAIN}"
    )


def index(text: str) -> Spoil:
    def spoil(folder: Path) -> None:
        shutil.copy(TINY / "model.safetensors", folder.parent / "other.safetensors")
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors.index.json").write_text(text)

    return spoil


def both(*spoils: Spoil) -> Spoil:
    return lambda folder: [spoil(folder) for spoil in spoils]


SHORT_VOCABULARY = {
    "model.embed_tokens.weight": TENSORS["model.embed_tokens.weight"][:100].clone(),
    "lm_head.weight": TENSORS["lm_head.weight"][:100].clone(),
}
ATTENTION = "model.layers.0.self_attn"
CODE = {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
OUTSIDE = dict.fromkeys(TENSORS, "../other.safetensors")
LORA = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight"
NO_WEIGHTS = f"{{}}: no model.safetensors or pytorch_model.bin, in one file or all shards; {AGAIN}"
CONFIG = f"{{}}/config.json: not of a model that can be loaded (.*); {AGAIN}"
TOKENIZER = f"{{}}: cannot load the tokenizer (.*); {AGAIN}"
MODEL = f"{{}}: cannot load the model (.*); {AGAIN}"
INDEX_FILE = "model.safetensors.index.json"
INDEX = f"{{}}/model.safetensors.index.json: not an index of shards; {AGAIN}"
# What spoils a checkpoint, and what is said; .* stands for another library's words.
SPOILT = {
    "no-config": (remove("config.json"),
        "{}: no config.json; name the folder of a whole checkpoint"),
    "broken-config": (write("config.json", "{"),
        f"{{}}/config.json: not a readable JSON file (.*); {AGAIN}"),
    "list-config": (write("config.json", "[]"),
        f"{{}}/config.json: expected a JSON object, found list; {AGAIN}"),
    "no-model-type": (write("config.json", "{}"), CONFIG),
    "unknown-type": (config(model_type="nonsense"), CONFIG),
    "another-kind": (config(model_type="t5"), MODEL),
    "text-for-a-number": (config(hidden_size="wide"), CONFIG),
    "no-heads": (config(num_attention_heads=0), CONFIG),
    "code": (config(model_type="custom", auto_map=CODE), CONFIG),
    "no-tokenizer": (remove("tokenizer.json"),
        "{}: no tokenizer (none of tokenizer.json, tokenizer.model, vocab.json, vocab.txt); "
        f"{AGAIN}"),
    "broken-tokenizer": (write("tokenizer.json", "{"), TOKENIZER),
    "empty-tokenizer": (write("tokenizer.json", "{}"), TOKENIZER),
    "list-tokenizer-config": (write("tokenizer_config.json", "[1]"), TOKENIZER),
    "no-weights": (remove("model.safetensors"), NO_WEIGHTS),
    "a-folder-for-weights": (both(remove("model.safetensors"), a_folder("model.safetensors")),
        NO_WEIGHTS),
    "half-safetensors": (cut("model.safetensors", 0.5),
        f"{{}}: cannot load the model (SafetensorError: .*, file not fully covered); {AGAIN}"),
    "no-header": (cut("model.safetensors", 0.00001),
        f"{{}}: cannot load the model (SafetensorError: .*); {AGAIN}"),
    "a-web-page": (write("model.safetensors", "<!DOCTYPE html><html>404: not found</html>"), MODEL),
    "a-git-lfs-pointer": (write("model.safetensors", POINTER),
        "{}/model.safetensors: a pointer of Git LFS in place of the weights; "
        "run git lfs pull in that folder"),
    "broken-index": (index("{"), INDEX),
    "list-index": (index('{"weight_map": [1]}'), INDEX),
    "number-index": (index('{"weight_map": {"a": 1}}'),
        f"{{}}/{INDEX_FILE}: 1 is no file of this folder; {AGAIN}"),
    "index-that-leads-out": (index(json.dumps({"weight_map": OUTSIDE})),
        f"{{}}/{INDEX_FILE}: '../other.safetensors' is no file of this folder; {AGAIN}"),
    "half-bin": (both(pickled(TENSORS), cut("pytorch_model.bin", 0.5)), MODEL),
    "empty-bin": (both(pickled(TENSORS), write("pytorch_model.bin", "")),
        f"{{}}: cannot load the model (EOFError); {AGAIN}"),
    "text-bin": (both(pickled(TENSORS), write("pytorch_model.bin", "hello")), MODEL),
    "list-bin": (pickled([1, 2]), MODEL),
    "nested-bin": (pickled({"model": TENSORS}),
        f"{{}}: 39 weights are missing, lm_head.weight the first; {AGAIN}"),
    "without-a-layer": (tensors(dict.fromkeys(name for name in TENSORS if "layers.3" in name)),
        f"{{}}: 9 weights are missing, model.layers.3.input_layernorm.weight the first; {AGAIN}"),
    "more-layers-in-config": (config(num_hidden_layers=5),
        f"{{}}: 9 weights are missing, model.layers.4.input_layernorm.weight the first; {AGAIN}"),
    "fewer-layers-in-config": (config(num_hidden_layers=3),
        "{}: model.layers.3.input_layernorm.weight is of a layer that config.json does not have "
        f"(3); {AGAIN}"),
    "another-width": (config(intermediate_size=512),
        "{}: model.layers.0.mlp.down_proj.weight has the shape [128, 384], "
        f"by config.json [128, 512]; {AGAIN}"),
    "more-rows-in-config": (config(vocab_size=2000),
        f"{{}}: lm_head.weight has the shape [1024, 128], by config.json [2000, 128]; {AGAIN}"),
    "an-absurd-width": (config(hidden_size=10**9),
        "{}: lm_head.weight has the shape [1024, 128], "
        f"by config.json [1024, 1000000000]; {AGAIN}"),
    "not-a-number": (tensors({UP: with_value(float("nan"))}),
        f"{{}}: values that are not finite as float32 in 1 of 39 weights, {UP} the first; {AGAIN}"),
    "infinite": (tensors({UP: with_value(float("-inf"))}),
        f"{{}}: values that are not finite as float32 in 1 of 39 weights, {UP} the first; {AGAIN}"),
    "a-bias": (more(f"{ATTENTION}.q_proj.bias"), unused(f"{ATTENTION}.q_proj.bias")),
    "a-bias-named-as-a-mask": (more(f"{ATTENTION}.bias"), unused(f"{ATTENTION}.bias")),
    "a-bias-of-the-head": (more("lm_head.bias"), unused("lm_head.bias")),
    "a-norm": (more(f"{ATTENTION}.q_norm.weight"), unused(f"{ATTENTION}.q_norm.weight")),
    "an-adapter-in-the-weights": (more(LORA), unused(LORA)),
    "a-head-of-another-kind": (more("model.rotary_emb.inv_freq", "score.weight"),
        unused("score.weight")),
    "an-adapter-beside-the-weights": (write("adapter_config.json", "{}"),
        "{}/adapter_config.json: an adapter, which is not applied; merge it into the model first "
        "(merge_and_unload of peft), or delete it to run the model without it"),
    "tied-to-another": (config(tie_word_embeddings=True),
        "{}: config.json ties the output to the embedding (tie_word_embeddings), but the weights "
        "have two that differ; set it to false where the output is one of its own"),
    "too-few-rows": (both(tensors(SHORT_VOCABULARY), config(vocab_size=100)),
        "{}: the tokenizer has ids up to 822, the embedding 100 rows; "
        "they are of different models, fetch both again"),
}  # fmt: skip
