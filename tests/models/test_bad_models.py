"""Checkpoints that are refused, each with its one line; a model that cannot be used ends its own run and no other."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from scenarios_fixture import write_dataset

from boxes.models.loading import load
from boxes.models.table import TINY_FOLDER
from boxes.records import UserError, read_json
from boxes.runs.decode import decode_run
from boxes.runs.task import Settings, read_task

TINY = TINY_FOLDER / "tiny-base"
TENSORS = load_file(TINY / "model.safetensors")
UP = "model.layers.1.mlp.up_proj.weight"
AGAIN = "fetch the model again"
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def folder(tmp_path) -> Path:
    """A whole checkpoint, to be spoilt."""
    return Path(shutil.copytree(TINY, tmp_path / "model"))


def write(name: str, content: str | bytes):
    return lambda folder: (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def remove(name: str):
    return lambda folder: (folder / name).unlink()


def config(**fields):
    return lambda folder: (folder / "config.json").write_text(json.dumps(read_json(TINY / "config.json") | fields))


def cut(name: str, share: float):
    def spoil(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(share * len(content))])

    return spoil


def tensors(**changed):
    """Other tensors in the file; None leaves one out."""

    def spoil(folder: Path) -> None:
        changes = {name.replace("__", "."): tensor for name, tensor in changed.items()}
        kept = {name: tensor for name, tensor in (TENSORS | changes).items() if tensor is not None}
        save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})

    return spoil


def with_value(value: float) -> torch.Tensor:
    tensor = TENSORS[UP].clone()
    tensor[3, 4] = value
    return tensor


def pickled(content: object):
    """A .bin in place of safetensors."""

    def spoil(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        torch.save(content, folder / "pytorch_model.bin")

    return spoil


def more(*names: str):
    """Tensors more in the file, all of them vectors."""
    return tensors(**{name.replace(".", "__"): torch.zeros(128) for name in names})


def unused(name: str) -> str:
    return (
        f"{{}}: {name} is in the weights, but the model of config.json does not use it: it would not answer as this checkpoint "
        f"does; mend config.json, merge the adapter where it is of one, or {AGAIN}"
    )


def index(text: str):
    def spoil(folder: Path) -> None:
        shutil.copy(TINY / "model.safetensors", folder.parent / "other.safetensors")
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors.index.json").write_text(text)

    return spoil


def both(*spoils):
    return lambda folder: [spoil(folder) for spoil in spoils]


SHORT_VOCABULARY = {
    "model__embed_tokens__weight": TENSORS["model.embed_tokens.weight"][:100].clone(),
    "lm_head__weight": TENSORS["lm_head.weight"][:100].clone(),
}
LORA = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight"
NO_WEIGHTS = f"{{}}: no model.safetensors or pytorch_model.bin, in one file or all shards; {AGAIN}"
CONFIG = f"{{}}/config.json: not of a model that can be loaded (.*); {AGAIN}"
TOKENIZER = f"{{}}: cannot load the tokenizer (.*); {AGAIN}"
MODEL = f"{{}}: cannot load the model (.*); {AGAIN}"
INDEX = f"{{}}/model.safetensors.index.json: not an index of shards; {AGAIN}"
# What spoils a checkpoint, and what is said; .* stands for another library's words.
SPOILT = {
    "no-config": (remove("config.json"), "{}: no config.json; name the folder of a whole checkpoint"),
    "broken-config": (write("config.json", "{"), f"{{}}/config.json: not a readable JSON file (.*); {AGAIN}"),
    "list-config": (write("config.json", "[]"), f"{{}}/config.json: expected a JSON object, found list; {AGAIN}"),
    "no-model-type": (write("config.json", "{}"), CONFIG),
    "unknown-type": (config(model_type="nonsense"), CONFIG),
    "another-kind": (config(model_type="t5"), MODEL),
    "text-for-a-number": (config(hidden_size="wide"), CONFIG),
    "no-heads": (config(num_attention_heads=0), CONFIG),
    "code": (config(model_type="custom", auto_map={"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}),
             CONFIG),
    "no-tokenizer": (remove("tokenizer.json"),
                     f"{{}}: no tokenizer (none of tokenizer.json, tokenizer.model, vocab.json, vocab.txt); {AGAIN}"),
    "broken-tokenizer": (write("tokenizer.json", "{"), TOKENIZER),
    "empty-tokenizer": (write("tokenizer.json", "{}"), TOKENIZER),
    "list-tokenizer-config": (write("tokenizer_config.json", "[1]"), TOKENIZER),
    "no-weights": (remove("model.safetensors"), NO_WEIGHTS),
    "a-folder-for-weights": (both(remove("model.safetensors"), lambda folder: (folder / "model.safetensors").mkdir()),
                             NO_WEIGHTS),
    "half-safetensors": (cut("model.safetensors", 0.5),
        f"{{}}: cannot load the model (SafetensorError: .*, file not fully covered); {AGAIN}"),
    "no-header": (cut("model.safetensors", 0.00001),
        f"{{}}: cannot load the model (SafetensorError: .*); {AGAIN}"),
    "a-web-page": (write("model.safetensors", "<!DOCTYPE html><html>404: not found</html>"), MODEL),
    "a-git-lfs-pointer": (write("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "{}/model.safetensors: a pointer of Git LFS in place of the weights; run git lfs pull in that folder"),
    "broken-index": (index("{"), INDEX),
    "list-index": (index('{"weight_map": [1]}'), INDEX),
    "number-index": (index('{"weight_map": {"a": 1}}'),
        f"{{}}/model.safetensors.index.json: 1 is no file of this folder; {AGAIN}"),
    "index-that-leads-out": (index(json.dumps({"weight_map": dict.fromkeys(TENSORS, "../other.safetensors")})),
        f"{{}}/model.safetensors.index.json: '../other.safetensors' is no file of this folder; {AGAIN}"),
    "half-bin": (both(pickled(TENSORS), cut("pytorch_model.bin", 0.5)), MODEL),
    "empty-bin": (both(pickled(TENSORS), write("pytorch_model.bin", b"")),
        f"{{}}: cannot load the model (EOFError); {AGAIN}"),
    "text-bin": (both(pickled(TENSORS), write("pytorch_model.bin", "hello")), MODEL),
    "list-bin": (pickled([1, 2]), MODEL),
    "nested-bin": (pickled({"model": TENSORS}), f"{{}}: 39 weights are missing, lm_head.weight the first; {AGAIN}"),
    "without-a-layer": (tensors(**{name.replace(".", "__"): None for name in TENSORS if "layers.3" in name}),
        f"{{}}: 9 weights are missing, model.layers.3.input_layernorm.weight the first; {AGAIN}"),
    "more-layers-in-config": (config(num_hidden_layers=5),
        f"{{}}: 9 weights are missing, model.layers.4.input_layernorm.weight the first; {AGAIN}"),
    "fewer-layers-in-config": (config(num_hidden_layers=3),
        f"{{}}: model.layers.3.input_layernorm.weight is of a layer that config.json does not have (3); {AGAIN}"),
    "another-width": (config(intermediate_size=512),
        f"{{}}: model.layers.0.mlp.down_proj.weight has the shape [128, 384], by config.json [128, 512]; {AGAIN}"),
    "more-rows-in-config": (config(vocab_size=2000),
        f"{{}}: lm_head.weight has the shape [1024, 128], by config.json [2000, 128]; {AGAIN}"),
    "an-absurd-width": (config(hidden_size=10**9),
        f"{{}}: lm_head.weight has the shape [1024, 128], by config.json [1024, 1000000000]; {AGAIN}"),
    "not-a-number": (tensors(**{UP.replace(".", "__"): with_value(float("nan"))}),
        f"{{}}: values that are not finite as float32 in 1 of 39 weights, {UP} the first; {AGAIN}"),
    "infinite": (tensors(**{UP.replace(".", "__"): with_value(float("-inf"))}),
        f"{{}}: values that are not finite as float32 in 1 of 39 weights, {UP} the first; {AGAIN}"),
    "a-bias": (more("model.layers.0.self_attn.q_proj.bias"), unused("model.layers.0.self_attn.q_proj.bias")),
    "a-bias-named-as-a-mask": (more("model.layers.0.self_attn.bias"), unused("model.layers.0.self_attn.bias")),
    "a-bias-of-the-head": (more("lm_head.bias"), unused("lm_head.bias")),
    "a-norm": (more("model.layers.0.self_attn.q_norm.weight"), unused("model.layers.0.self_attn.q_norm.weight")),
    "an-adapter-in-the-weights": (more(LORA), unused(LORA)),
    "a-head-of-another-kind": (more("model.rotary_emb.inv_freq", "score.weight"), unused("score.weight")),
    "an-adapter-beside-the-weights": (write("adapter_config.json", "{}"),
        "{}/adapter_config.json: an adapter, which is not applied; merge it into the model first (merge_and_unload of peft), or "
        "delete it to run the model without it"),
    "tied-to-another": (config(tie_word_embeddings=True),
        "{}: config.json ties the output to the embedding (tie_word_embeddings), but the weights have two that differ; set it to "
        "false where the output is one of its own"),
    "too-few-rows": (both(tensors(**SHORT_VOCABULARY), config(vocab_size=100)),
        "{}: the tokenizer has ids up to 822, the embedding 100 rows; they are of different models, fetch both again"),
}  # fmt: skip


def assert_said(error: BaseException | str, message: str, folder: Path) -> None:
    expected = re.escape(message.replace("{}", str(folder))).replace(re.escape(".*"), ".*")
    assert re.fullmatch(expected, str(error)), str(error)


@pytest.mark.parametrize(("spoil", "message"), SPOILT.values(), ids=SPOILT)
def test_a_spoilt_checkpoint_is_an_error_of_one_line(spoil, message, folder, capfd):
    (folder / "code.py").write_text(f"import os\nos.mkdir({str(folder / 'ran')!r})\n")
    spoil(folder)
    with pytest.raises(UserError) as caught:
        load(folder, "cpu")
    assert_said(caught.value, message, folder)
    assert not (folder / "ran").exists()
    said = [line for line in capfd.readouterr().err.splitlines() if line and "Loading weights" not in line]
    assert said == []  # no table of transformers beside our line


def test_a_weight_that_float16_cannot_hold(folder):
    tensors(**{UP.replace(".", "__"): with_value(1e6)})(folder)
    assert load(folder, "cpu").model.dtype == torch.float32
    with pytest.raises(UserError) as caught:
        load(folder, "cpu", "float16")
    said = f"values that are not finite as float16 in 1 of 39 weights, {UP} the first"
    assert_said(caught.value, f"{{}}: {said}; give --dtype float32 or bfloat16, or {AGAIN}", folder)


class Payload:
    """What a pickle can do to whoever opens it."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_would_run_code_is_refused_and_not_run(folder, tmp_path):
    pickled({**TENSORS, "more": Payload(tmp_path / "ran")})(folder)
    with pytest.raises(UserError) as caught:
        load(folder, "cpu")
    said = f"{{}}: a .bin file is damaged or holds more than plain tensors; it was not loaded, {AGAIN}"
    assert_said(caught.value, said, folder)
    assert not (tmp_path / "ran").exists()
    torch.load(folder / "pytorch_model.bin", weights_only=False)  # the trap is a real one
    assert (tmp_path / "ran").exists()


def test_more_rows_than_the_tokenizer_has_ids_are_fine(folder):
    """Embeddings are often rounded up; what the tokenizer lacks is never produced (tests of the engine)."""
    rows = {name: torch.cat([TENSORS[name], torch.zeros(64, 128)])
            for name in ("model.embed_tokens.weight", "lm_head.weight")}  # fmt: skip
    tensors(**{name.replace(".", "__"): tensor for name, tensor in rows.items()})(folder)
    config(vocab_size=1088)(folder)
    assert load(folder, "cpu").model.get_input_embeddings().num_embeddings == 1088


def test_a_padding_token_on_top_of_the_embedding_is_fine(folder):
    """Many fine-tuned checkpoints have one; nothing ever uses it."""
    loaded = load(folder, "cpu")
    rows = loaded.model.get_input_embeddings().num_embeddings
    loaded.tokenizer.add_tokens([f"<more{number}>" for number in range(rows - len(loaded.tokenizer))])
    loaded.tokenizer.add_special_tokens({"pad_token": "<padding>"})
    assert loaded.tokenizer.pad_token_id == rows
    loaded.tokenizer.save_pretrained(folder)
    assert load(folder, "cpu").tokenizer.pad_token_id == rows


# --- a run with such a model ---


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return read_task(write_dataset(tmp_path_factory.mktemp("data") / "test-t5.jsonl", count=1, operations=1))


@pytest.mark.parametrize("text", ["Box 0 contains", "hopper-hash"])
def test_an_added_token_beyond_the_embedding_that_prompts_have(text, folder, task, tmp_path):
    """Nothing is wrong with such a token unless it occurs."""
    loaded = load(folder, "cpu")
    rows = loaded.model.get_input_embeddings().num_embeddings
    loaded.tokenizer.add_tokens([f"<more{number}>" for number in range(rows - len(loaded.tokenizer))])
    loaded.tokenizer.add_tokens([text])
    loaded.tokenizer.save_pretrained(folder)
    run = decode_run(str(folder), task, tmp_path / "run", Settings(device="cpu"))
    if text == "hopper-hash":
        assert run["status"] == "complete"
    else:
        assert (run["status"], run["reason"]) == (
            "failed",
            f"{folder}: prompts have the token '▁Box▁0▁contains' with the id {rows}, the embedding {rows} rows; "
            "they are of different models, fetch both again",
        )


@pytest.mark.parametrize(
    ("name", "status"), [("not-a-number", "failed"), ("half-bin", "failed"), ("no-weights", "failed")]
)
def test_a_run_with_a_spoilt_checkpoint_says_why(name, status, folder, task, tmp_path, capsys):
    spoil, message = SPOILT[name]
    spoil(folder)
    run = decode_run(str(folder), task, tmp_path / "run", Settings(device="cpu"))
    assert run == read_json(tmp_path / "run" / "run.json")
    assert run["status"] == status
    assert_said(run["reason"], message, folder)
    assert f"model: {status}: {run['reason']}\n" in capsys.readouterr().err
    assert os.listdir(tmp_path / "run") == ["run.json"]


def test_a_chat_prompt_without_a_chat_template(folder, task, tmp_path):
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    plain = {key: value for key, value in read_json(folder / "tokenizer_config.json").items() if key != "chat_template"}
    (folder / "tokenizer_config.json").write_text(json.dumps(plain))
    run = decode_run(str(folder), task, tmp_path / "run", Settings(device="cpu", prompt_format="chat"))
    assert run["status"] == "failed"
    said = "{}: the tokenizer has no chat template; use the plain prompt format (--prompt-format plain)"
    assert_said(run["reason"], said, folder)
