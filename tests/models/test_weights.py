"""Where weights are found and how they are loaded. No network; test_hub.py fetches them."""

import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from miniatures import TOKENIZERS, miniature
from safetensors.torch import load_file

from boxes.models import WeightsMissing, find, find_row, hub, load, table
from boxes.models.loading import load_tokenizer
from boxes.models.table import MODELS, TINY_FOLDER
from boxes.records import UserError

TINY = TINY_FOLDER / "tiny-base"
SMALL_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
CODE_LLAMA, FLOAT, LLAMA = (MODELS[name] for name in ("CodeLlama-7b-hf", "float-7b", "llama-7b"))


@pytest.fixture(autouse=True)
def no_hub(tmp_path, monkeypatch):
    """An empty cache, no MODELS_DIR, and a hub that cannot be reached."""
    monkeypatch.delenv("MODELS_DIR", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "REVISIONS", tmp_path / "revisions.json")


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def checkpoint(folder: Path) -> Path:
    """A tiny checkpoint without its weights."""
    folder.mkdir(parents=True)
    for name in SMALL_FILES:
        shutil.copy(TINY / name, folder)
    return folder


@pytest.fixture(scope="module")
def tensors():
    return load_file(TINY / "model.safetensors")


# --- finding ---


def test_a_tiny_model_lies_in_the_repository():
    assert find_row(MODELS["tiny-base"]).folder == TINY


@pytest.mark.parametrize("folder", ["CodeLlama-7b-hf", "codellama/CodeLlama-7b-hf"])
def test_models_dir_has_a_folder_a_model(folder, tmp_path, monkeypatch):
    touch(tmp_path / folder / "model.safetensors")
    monkeypatch.setenv("MODELS_DIR", str(tmp_path))
    assert find_row(CODE_LLAMA).folder == tmp_path / folder


def cached_snapshot(tmp_path: Path, spec, commit: str) -> Path:
    repository = tmp_path / "cache" / f"models--{spec.hub_id.replace('/', '--')}"
    touch(repository / "snapshots" / commit / "model.safetensors")
    return repository


def test_the_cache_counts_at_the_pinned_commit_alone(tmp_path):
    cached_snapshot(tmp_path, CODE_LLAMA, "0" * 40)
    with pytest.raises(WeightsMissing):
        find_row(CODE_LLAMA)
    repository = cached_snapshot(tmp_path, CODE_LLAMA, CODE_LLAMA.revision)
    assert find_row(CODE_LLAMA).folder == repository / "snapshots" / CODE_LLAMA.revision


def test_what_is_missing_comes_with_the_command_that_fetches_it(tmp_path, monkeypatch):
    for _ in range(2):  # without MODELS_DIR, and with one that has another model
        with pytest.raises(WeightsMissing) as caught:
            find_row(CODE_LLAMA)
        assert str(caught.value) == (
            "CodeLlama-7b-hf: weights not found; "
            '`make weights PROFILE=paper MODELS="CodeLlama-7b-hf"` fetches them, '
            "or name a folder that has them with MODELS_DIR=..."
        )
        touch(tmp_path / "models" / LLAMA.name / "model.safetensors")
        monkeypatch.setenv("MODELS_DIR", str(tmp_path / "models"))


def test_a_tiny_model_that_is_missing_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "TINY_FOLDER", tmp_path)
    said = r"tiny-base: no weights here; `make train-tiny` trains them$"
    with pytest.raises(WeightsMissing, match=said):
        find_row(MODELS["tiny-base"])


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_shards_count_when_all_are_there(name, tmp_path, monkeypatch):
    """A fetch that was interrupted is not taken for a model."""
    folder = tmp_path / CODE_LLAMA.name
    shards = [name.replace(".", f"-0000{number}-of-00002.") for number in (1, 2)]
    touch(folder / shards[0])
    monkeypatch.setenv("MODELS_DIR", str(tmp_path))
    with pytest.raises(WeightsMissing):
        find_row(CODE_LLAMA)
    index = {"weight_map": dict(zip("ab", shards, strict=True))}
    (folder / f"{name}.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsMissing):
        find_row(CODE_LLAMA)
    touch(folder / shards[1])
    assert find_row(CODE_LLAMA).folder == folder


def test_names_and_folders_are_found(tmp_path):
    named = find("tiny-code")
    assert (named.spec, named.folder) == (MODELS["tiny-code"], TINY_FOLDER / "tiny-code")
    local = find(str(checkpoint(tmp_path / "my-model")))
    spec = local.spec
    assert (spec.name, spec.profile, spec.hub_id) == ("my-model", "local", None)
    assert local.folder == local.tokenizer_folder == tmp_path / "my-model"
    with pytest.raises(UserError, match="unknown model 'no-such-folder'"):
        find("no-such-folder")


# --- loading ---


def test_load_by_name_and_by_folder():
    named, local = load("tiny-base", "cpu", "float32"), load(TINY, "cpu", torch.float32)
    assert named.spec == MODELS["tiny-base"]
    assert local.spec.name == "tiny-base"
    assert (named.model.device.type, named.model.dtype) == ("cpu", torch.float32)
    assert not named.model.training
    ids = torch.tensor([[1, 5, 9]])
    assert torch.equal(named.model(ids).logits, local.model(ids).logits)
    assert load("tiny-base", "cpu", "bfloat16").model.dtype == torch.bfloat16


def test_a_checkpoint_of_plain_tensors_loads_as_the_same_model(tmp_path, tensors):
    folder = checkpoint(tmp_path / "pickled")
    torch.save(tensors, folder / "pytorch_model.bin")
    ids = torch.tensor([[1, 5, 9]])
    assert torch.equal(load(folder, "cpu").model(ids).logits, load(TINY, "cpu").model(ids).logits)


def test_weights_that_are_tied_are_not_missing(tmp_path):
    """Gemma's output is its embedding: the file has it once."""
    gemma = miniature("gemma", 1024)
    gemma.save_pretrained(tmp_path / "gemma")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TINY / name, tmp_path / "gemma")
    ids = torch.tensor([[1, 5, 9]])
    assert torch.equal(load(tmp_path / "gemma", "cpu").model(ids).logits, gemma(ids).logits)


@pytest.mark.parametrize(
    ("device", "dtype", "message"),
    [
        ("gpu", None, "^device 'gpu': .*; choose cpu, cuda, cuda:0 or auto$"),
        ("cuda:99", None, "^device 'cuda:99': .*; choose cpu, cuda, cuda:0 or auto$"),
        ("cpu", "float99", "^unknown dtype 'float99'; choose float32, bfloat16 or float16$"),
        ("cpu", "int8", "^unknown dtype 'torch.int8'; choose float32, bfloat16 or float16$"),
        ("cpu", "nn", "^unknown dtype"),
    ],
)
def test_a_device_or_dtype_that_is_not_there(device, dtype, message):
    with pytest.raises(UserError, match=message):
        load("tiny-base", device, dtype)


# --- the tokenizer of float-7b ---


def test_float_takes_the_tokenizer_of_llama(tmp_path, monkeypatch):
    monkeypatch.setenv("MODELS_DIR", str(tmp_path))
    touch(tmp_path / "float-7b" / "pytorch_model.bin")
    with pytest.raises(WeightsMissing) as caught:
        find_row(FLOAT)
    said = "float-7b: its tokenizer, huggyllama/llama-7b, not found; `make weights"
    assert str(caught.value).startswith(said)
    with pytest.raises(WeightsMissing, match="its tokenizer, huggyllama/llama-7b, not found"):
        load("float-7b", "cpu")
    TOKENIZERS["sentencepiece"]().save_pretrained(tmp_path / "llama-7b")
    found = find_row(FLOAT)
    assert found.folder == tmp_path / "float-7b"
    assert found.tokenizer_folder == tmp_path / "llama-7b"
    ids = load_tokenizer(found)("Box 0 contains").input_ids
    assert ids == TOKENIZERS["sentencepiece"]()("Box 0 contains").input_ids
