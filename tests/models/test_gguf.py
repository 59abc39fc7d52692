"""GGUF files: the miniature of gguf_fixture.py is written out to the weights and the tokenizer that it has, or refused in
a line."""

import builtins
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf_fixture import HEADS, KV_HEADS, as_llama_cpp, model, tensors, vocabulary, write_gguf
from miniatures import byte_level_tokenizer
from safetensors.torch import load_file

from boxes.models import find, gguf_files, load
from boxes.models.gguf_files import exact_dtype, record_of, written_out
from boxes.models.gguf_tokenizer import begins_with
from boxes.prompting import encode_prompts, statement_prompt
from boxes.records import UserError, sha256_file

PROMPT = statement_prompt("Box 0 contains the car, Box 12 contains nothing.")


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(gguf_files, "GGUF_FOLDER", tmp_path / "written")


@pytest.fixture(scope="module")
def made():
    return model()


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """A file that is as it should be."""
    path = tmp_path_factory.mktemp("gguf") / "plain.gguf"
    write_gguf(path)
    return path


def logits(of, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return of(torch.tensor([ids])).logits


@pytest.mark.parametrize(("kind", "dtype"), [("F32", "float16"), ("F16", "float16")])
def test_exact_weights_give_the_same_logits(kind, dtype, tmp_path, made):
    """Those of the model are of 16 bits; they are stored in no more."""
    write_gguf(tmp_path / "mini.gguf", kind)
    found = load(tmp_path / "mini.gguf", "cpu", "float32")
    ids = encode_prompts(found.tokenizer, [PROMPT])[0]
    assert torch.equal(logits(found.model, ids), logits(made, ids))
    stored = load_file(found.checkpoint.folder / "model.safetensors")
    assert {str(weight.dtype) for weight in stored.values()} == {f"torch.{dtype}"}


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_a_quantised_file_is_what_gguf_dequantises(kind, tmp_path, made):
    held = write_gguf(tmp_path / "mini.gguf", kind)
    folder = written_out(tmp_path / "mini.gguf")
    stored = {name: weight.float().numpy() for name, weight in load_file(folder / "model.safetensors").items()}
    assert np.array_equal(stored["model.embed_tokens.weight"], held["token_embd.weight"])
    assert not np.array_equal(held["token_embd.weight"], tensors(made)["token_embd.weight"])
    for ours, theirs, heads in (("k_proj", "attn_k", KV_HEADS), ("q_proj", "attn_q", HEADS), ("v_proj", "attn_v", 1)):
        weight = as_llama_cpp(theirs, stored[f"model.layers.1.self_attn.{ours}.weight"], heads)
        assert np.array_equal(weight, held[f"blk.1.{theirs}.weight"])
    assert record_of(folder) == {
        "file": "mini.gguf", "quantisation": kind, "sha256": sha256_file(tmp_path / "mini.gguf")
    }  # fmt: skip
    config = load(folder, "cpu").model.config
    assert not hasattr(config, "quantization_config")


def test_an_output_of_its_own_stays_one(tmp_path):
    own = model(tied=False)
    write_gguf(tmp_path / "mini.gguf", weights=tensors(own))
    found = load(tmp_path / "mini.gguf", "cpu", "float32").model
    assert torch.equal(found.lm_head.weight, own.lm_head.weight)


def test_the_narrowest_exact_type():
    third, half, fine = torch.tensor([1 / 3]), torch.tensor([0.5]), torch.tensor([1 + 2**-10])
    found = [exact_dtype(weights) for weights in ([half], [half, fine], [half, third])]
    assert found == [torch.bfloat16, torch.float16, torch.float32]


def test_it_is_written_once_and_whole(plain, monkeypatch):
    folder = written_out(plain)
    assert find(plain).folder == find(folder).folder == folder
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert written_out(plain) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    assert find(plain).gguf["sha256"] == sha256_file(plain)
    shutil.rmtree(folder)
    monkeypatch.setattr(gguf_files, "write_tokenizer", no_space)
    with pytest.raises(UserError, match="No space left on device; check the disk"):
        written_out(plain)
    assert [path.name for path in folder.parent.iterdir()] == [".plain.lock"]


def no_space(*_):
    raise OSError(28, "No space left on device")


def test_another_file_of_the_same_name_is_refused(plain, tmp_path):
    written_out(plain)
    (tmp_path / "plain.gguf").write_bytes(plain.read_bytes() + b"x")
    with pytest.raises(UserError, match=r"is of another file than .*; delete that folder, or rename the file$"):
        written_out(tmp_path / "plain.gguf")


# --- the tokenizer ---


@pytest.mark.parametrize(
    ("settings", "first"),
    [
        ({"model": "gpt2", "pre": "gpt-2"}, []),
        ({"model": "gpt2", "pre": "gpt-2", "add_bos_token": True}, [5]),
        ({"model": "gpt2", "pre": "llama-bpe"}, [5]),
        ({"model": "gpt2", "pre": "llama-bpe", "add_bos_token": False}, []),
        ({"model": "llama", "pre": "default"}, [5]),
        ({"model": "llama", "add_bos_token": False}, []),
    ],
)
def test_a_prompt_begins_as_with_llama_cpp(settings, first):
    named = {f"tokenizer.ggml.{name}": value for name, value in settings.items()}
    assert begins_with(named | {"tokenizer.ggml.bos_token_id": 5}) == first
    assert begins_with(named) == []


@pytest.mark.parametrize("bos", [True, False])
def test_the_tokenizer_is_the_files(bos, tmp_path):
    write_gguf(tmp_path / "mini.gguf", more={"tokenizer.ggml.add_bos_token": bos})
    tokenizer = load(tmp_path / "mini.gguf", "cpu").tokenizer
    expected = byte_level_tokenizer()(PROMPT, add_special_tokens=False).input_ids
    assert encode_prompts(tokenizer, [PROMPT])[0] == [0] * bos + expected


def test_digits_are_split_off_where_the_file_says_so(tmp_path):
    """With GPT-2's way "12" is one piece here, with SmolLM's it cannot be."""
    pieces, merges = vocabulary()
    more = {"tokenizer.ggml.tokens": [*pieces, "12"], "tokenizer.ggml.merges": [*merges, "1 2"],
            "tokenizer.ggml.token_type": [3, 3] + [1] * (len(pieces) - 1), "llama.vocab_size": len(pieces) + 1}  # fmt: skip
    weights = tensors(model())
    weights["token_embd.weight"] = np.concatenate([weights["token_embd.weight"], np.ones((1, 64))])
    said = {}
    for split in ("gpt-2", "smollm"):
        path = tmp_path / f"{split}.gguf"
        write_gguf(path, more=more | {"tokenizer.ggml.pre": split}, weights=weights)
        said[split] = load(path, "cpu").tokenizer.tokenize("12")
    assert said == {"gpt-2": ["12"], "smollm": ["1", "2"]}


# --- what is refused ---


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        written_out(path)
    assert not [path for path in gguf_files.GGUF_FOLDER.iterdir() if not path.name.endswith(".lock")]
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


ROPE = "llama.rope.scaling."
SETTINGS = [
    ({"split.count": 3}, "one of 3 parts of a model; join them with llama.cpp's `llama-gguf-split --merge`"),
    ({"general.type": "adapter"}, "not a model but of type adapter; give another file"),
    ({ROPE + "type": "yarn"}, "says llama.rope.scaling.type = yarn, which would not be heeded"),
    ({"llama.logit_scale": 0.5}, "says llama.logit_scale = 0.5, which would not be heeded"),
    ({"llama.attention.key_length": 32}, "says llama.attention.key_length = 32, which would not"),
    ({"tokenizer.ggml.pre": "default"}, "a text is split as default, which is not known; give the folder"),
    ({"tokenizer.ggml.model": "rwkv"}, "a tokenizer of kind rwkv, which is not known"),
]


@pytest.mark.parametrize(("more", "said"), SETTINGS)
def test_what_would_be_passed_over_is_refused(more, said, tmp_path):
    write_gguf(tmp_path / "odd.gguf", more=more)
    assert refused(tmp_path / "odd.gguf").startswith(said)


def test_a_neutral_setting_is_none(tmp_path):
    write_gguf(tmp_path / "mini.gguf", more={ROPE + "type": "none", ROPE + "factor": 1.0})
    assert written_out(tmp_path / "mini.gguf").is_dir()


def test_a_tensor_that_is_not_read_is_refused(tmp_path):
    """Llama 3.1's frequencies, which transformers' reader leaves out."""
    write_gguf(tmp_path / "odd.gguf", weights=tensors(model()) | {"rope_freqs.weight": np.ones(8)})
    assert "(rope_freqs.weight among them); give another file" in refused(tmp_path / "odd.gguf")


def test_a_tensor_that_lacks_is_refused(tmp_path):
    weights = tensors(model())
    del weights["blk.1.attn_k.weight"]
    write_gguf(tmp_path / "odd.gguf", weights=weights)
    said = "1 weights are missing, model.layers.1.self_attn.k_proj.weight the first; give another file"
    assert refused(tmp_path / "odd.gguf").startswith(said)


def test_an_architecture_that_transformers_does_not_read(tmp_path):
    write_gguf(tmp_path / "odd.gguf", arch="rwkv7")
    said = refused(tmp_path / "odd.gguf")
    assert said.startswith("cannot be read as a model (")
    assert "rwkv7" in said


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda whole: whole[:-1000], "damaged or cut off ("),
        (lambda whole: whole[:300], "damaged or cut off ("),
        (lambda whole: b"version https://git-lfs.github.com/spec/v1\n", "not a GGUF file; fetch the file again"),
        (lambda whole: b"", "not a GGUF file; fetch the file again"),
        (lambda whole: whole[:4] + b"\xff" * 4 + whole[8:], "damaged or cut off ("),
    ],
    ids=["cut", "cut in its head", "a pointer", "empty", "another version"],
)
def test_a_damaged_file_is_refused(spoil, said, plain, tmp_path):
    (tmp_path / "odd.gguf").write_bytes(spoil(plain.read_bytes()))
    assert refused(tmp_path / "odd.gguf").startswith(said)


def test_a_file_that_is_not_there():
    with pytest.raises(UserError, match=r"^nowhere\.gguf: no such file$"):
        load("nowhere.gguf")


def test_without_the_package(plain, monkeypatch):
    real = builtins.__import__

    def without(name, *more):
        if name == "gguf":
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    assert refused(plain) == "needs the package gguf; make setup installs it"


def test_no_room(plain, monkeypatch):
    monkeypatch.setattr(gguf_files.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10**6}))
    assert refused(plain).startswith("0.0 GB to write, 0.0 GB free in ")
