"""Checkpoints that are refused, each with its one line; a model that cannot be used ends its own
run and no other."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from scenarios_fixture import write_dataset
from spoilt_fixture import AGAIN, SPOILT, TENSORS, TINY, UP, config, pickled, tensors, with_value

from boxes.models.loading import load
from boxes.records import UserError, read_json
from boxes.runs.decode import decode_run
from boxes.runs.task import Settings, read_task


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A whole checkpoint, to be spoilt."""
    return Path(shutil.copytree(TINY, tmp_path / "model"))


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
    said = filter(None, capfd.readouterr().err.splitlines())
    assert all("Loading weights" in line for line in said)  # no table beside our line


def test_a_weight_that_float16_cannot_hold(folder):
    tensors({UP: with_value(1e6)})(folder)
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
    said = "a .bin file is damaged or holds more than plain tensors; it was not loaded"
    assert_said(caught.value, f"{{}}: {said}, {AGAIN}", folder)
    assert not (tmp_path / "ran").exists()
    torch.load(folder / "pytorch_model.bin", weights_only=False)  # the trap is a real one
    assert (tmp_path / "ran").exists()


def test_more_rows_than_the_tokenizer_has_ids_are_fine(folder):
    """Embeddings are often rounded up; what the tokenizer lacks is never produced."""
    rows = {name: torch.cat([TENSORS[name], torch.zeros(64, 128)])
            for name in ("model.embed_tokens.weight", "lm_head.weight")}  # fmt: skip
    tensors(rows)(folder)
    config(vocab_size=1088)(folder)
    assert load(folder, "cpu").model.get_input_embeddings().num_embeddings == 1088


def fill(loaded) -> int:
    """As many tokens more as the embedding has rows; how many rows that are."""
    rows = loaded.model.get_input_embeddings().num_embeddings
    lacking = range(rows - len(loaded.tokenizer))
    loaded.tokenizer.add_tokens([f"<more{number}>" for number in lacking])
    return rows


def test_a_padding_token_on_top_of_the_embedding_is_fine(folder):
    """Many fine-tuned checkpoints have one; nothing ever uses it."""
    loaded = load(folder, "cpu")
    rows = fill(loaded)
    loaded.tokenizer.add_special_tokens({"pad_token": "<padding>"})
    assert loaded.tokenizer.pad_token_id == rows
    loaded.tokenizer.save_pretrained(folder)
    assert load(folder, "cpu").tokenizer.pad_token_id == rows


# --- a run with such a model ---


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    data = tmp_path_factory.mktemp("data") / "test-t5.jsonl"
    return read_task(write_dataset(data, count=1, operations=1))


@pytest.mark.parametrize("text", ["Box 0 contains", "hopper-hash"])
def test_an_added_token_beyond_the_embedding_that_prompts_have(text, folder, task, tmp_path):
    """Nothing is wrong with such a token unless it occurs."""
    loaded = load(folder, "cpu")
    rows = fill(loaded)
    loaded.tokenizer.add_tokens([text])
    loaded.tokenizer.save_pretrained(folder)
    run = decode_run(str(folder), task, tmp_path / "run", Settings(device="cpu"))
    if text == "hopper-hash":
        assert run["status"] == "complete"
    else:
        token = f"the token '▁Box▁0▁contains' with the id {rows}, the embedding {rows} rows"
        mend = "they are of different models, fetch both again"
        assert run["status"] == "failed"
        assert run["reason"] == f"{folder}: prompts have {token}; {mend}"


@pytest.mark.parametrize("name", ["not-a-number", "half-bin", "no-weights"])
def test_a_run_with_a_spoilt_checkpoint_says_why(name, folder, task, tmp_path, capsys):
    spoil, message = SPOILT[name]
    spoil(folder)
    run = decode_run(str(folder), task, tmp_path / "run", Settings(device="cpu"))
    assert run == read_json(tmp_path / "run" / "run.json")
    assert run["status"] == "failed"
    assert_said(run["reason"], message, folder)
    assert f"model: failed: {run['reason']}\n" in capsys.readouterr().err
    assert os.listdir(tmp_path / "run") == ["run.json"]


def test_a_chat_prompt_without_a_chat_template(folder, task, tmp_path):
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    settings = read_json(folder / "tokenizer_config.json")
    settings.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    chat = Settings(device="cpu", prompt_format="chat")
    run = decode_run(str(folder), task, tmp_path / "run", chat)
    assert run["status"] == "failed"
    mend = "use the plain prompt format (--prompt-format plain)"
    assert_said(run["reason"], f"{{}}: the tokenizer has no chat template; {mend}", folder)
