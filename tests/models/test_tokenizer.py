"""Tokens as a checkpoint's files say, for every way to write a tokenizer; what would be sent
otherwise is refused."""

import json
import random
import re
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from miniatures import TOKENIZERS
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from tokenizer_fixture import BOS, BOS_CHAT, KINDS, LLAMA, LLAMA_CHAT, SPECIALS, Kind, write_tokenizer
from tokenizers import normalizers

from boxes.models import Checkpoint, load
from boxes.models.loading import load_tokenizer
from boxes.models.reading import read_tokenizer
from boxes.models.table import TINY_FOLDER, spec_of
from boxes.models.tokenizer import check_tokens
from boxes.prompting import PromptSettings, encode_prompt, encode_prompts, prompt_maker, statement_prompt
from boxes.records import UserError, read_json, write_json
from boxes.world import NOUNS

BOXES = "Box 0 contains the tie and the car, Box 1 contains nothing."
DESCRIPTION = f"{BOXES} Move the car from Box 0 to Box 1."
TINY = spec_of("tiny-base")
FORMATS = (PromptSettings(), PromptSettings("plain", "released"), PromptSettings("chat"))


def tokenizer_of(folder: Path):
    return load_tokenizer(Checkpoint(TINY, folder, folder))


@pytest.mark.parametrize("name", KINDS)
def test_prompts_are_the_tokens_of_the_file_behind_the_prefix(name, tmp_path):
    kind = KINDS[name]
    made = write_tokenizer(kind, tmp_path)
    tokenizer = tokenizer_of(tmp_path)
    for settings in FORMATS if kind.template else FORMATS[:2]:
        prompt = prompt_maker(settings, tokenizer)(DESCRIPTION)
        prefix = kind.prefix if settings.format == "plain" else kind.chat_prefix
        ids = made.encode(prompt, add_special_tokens=False).ids
        expected = [*map(made.token_to_id, prefix), *ids]
        assert encode_prompt(tokenizer, prompt) == expected
        assert encode_prompts(tokenizer, [prompt, "a"])[0] == expected


def test_llama_2_chat_reads_a_space_behind_every_bos(tmp_path):
    """`<s>[INST]` is `<s>` and `▁[`: transformers 5 would read `[`."""
    write_tokenizer(KINDS["llama-chat"], tmp_path)
    tokenizer = tokenizer_of(tmp_path)
    prompt = prompt_maker(FORMATS[2], tokenizer)(DESCRIPTION)
    pieces = tokenizer.convert_ids_to_tokens(encode_prompt(tokenizer, prompt))
    behind = [piece for before, piece in pairwise(pieces) if before == "<s>"]
    assert len(behind) == 4  # the instruction and three descriptions
    assert all(piece.startswith("▁") for piece in behind)


@pytest.mark.parametrize("name", ["llama", "deepseek-chat", "gemma", "glm-chat", "half-in-chat"])
def test_one_bos_whoever_wrote_it(name, tmp_path):
    made = write_tokenizer(KINDS[name], tmp_path)
    tokenizer = tokenizer_of(tmp_path)
    for settings in FORMATS if KINDS[name].template else FORMATS[:2]:
        ids = encode_prompt(tokenizer, prompt_maker(settings, tokenizer)(DESCRIPTION))
        assert ids.count(made.token_to_id("<s>")) == 1


# --- what is refused ---


def spoil_config(folder, **settings):
    path = folder / "tokenizer_config.json"
    write_json(path, read_json(path) | settings)


def test_a_reading_that_is_not_the_files_is_refused(tmp_path):
    """tokenizer_config.json has a token that tokenizer.json has not."""
    write_tokenizer(KINDS["llama"], tmp_path)
    token = {"content": "statement about", "lstrip": False, "normalized": False, "rstrip": False,
             "single_word": False, "special": False}  # fmt: skip
    spoil_config(tmp_path, added_tokens_decoder={"9999": token})
    with pytest.raises(UserError) as refused:
        tokenizer_of(tmp_path)
    said = str(refused.value)
    assert "\n" not in said
    assert re.fullmatch(
        rf"{tmp_path}: token \d+ of a plain prompt would be \d+ \('.+'\), "
        r"by the tokenizer's files it is \d+ \('.+'\); its files disagree; "
        r"mend tokenizer_config.json, or fetch the model again",
        said,
    )


@pytest.mark.parametrize("kind", ["sentencepiece", "byte-level"])
@pytest.mark.parametrize("fault", ["no-bos", "two-bos", "other-space"])
def test_the_judge_finds_each_of_the_old_faults(kind, fault, tmp_path):
    """Tokenizers as an older version of this project, or another class of transformers, would have
    made them."""
    write_tokenizer(Kind(kind, LLAMA, BOS, ("<s>",), BOS_CHAT), tmp_path)
    tokenizer = read_tokenizer(tmp_path)
    check_tokens(tokenizer, tmp_path)
    if fault == "no-bos":
        tokenizer.add_bos_token = False
    elif fault == "two-bos":
        tokenizer.chat_template = "<s>" + BOS_CHAT
    else:
        tokenizer.backend_tokenizer.normalizer = normalizers.Replace("Box", "box")
    said = {"no-bos": "token 0 of a plain prompt would be ", "two-bos": "a chat prompt begins with two BOS",
            "other-space": " of a plain prompt would be "}[fault]  # fmt: skip
    with pytest.raises(UserError, match=re.escape(said)):
        check_tokens(tokenizer, tmp_path)


def test_a_template_that_refuses_table_5_is_no_fault_of_the_tokenizer(tmp_path):
    refusing = "{{ raise_exception('no') }}"
    write_tokenizer(Kind("sentencepiece", LLAMA, BOS, ("<s>",), refusing), tmp_path)
    tokenizer = tokenizer_of(tmp_path)
    said = r"its chat template refuses the messages of Table 5 \(no\); use the plain"
    with pytest.raises(UserError, match=said):
        prompt_maker(FORMATS[2], tokenizer)(DESCRIPTION)


def test_loading_a_model_compares(tmp_path):
    """The engine's own way in: what doctor finds, a run refuses."""
    shutil.copytree(TINY_FOLDER / "tiny-base", tmp_path / "model")
    (tmp_path / "model" / "chat_template.jinja").write_text("{{ '<s><s>' }}" + BOS_CHAT)
    said = r"model: a chat prompt begins with two BOS; mend its chat template$"
    with pytest.raises(UserError, match=said):
        load(tmp_path / "model", "cpu")


# --- tokenizer.model alone ---

TEXTS = [statement_prompt(f"Box 0 contains the {noun} and the {noun}.") for noun in NOUNS]


@pytest.fixture(scope="module")
def sentencepiece_model(tmp_path_factory):
    """A small SentencePiece model with Llama's settings: BPE, bytes for what it lacks, a space
    before every text."""
    folder = tmp_path_factory.mktemp("sentencepiece")
    (folder / "text").write_text("\n".join(TEXTS))
    SentencePieceTrainer.train(
        input=str(folder / "text"), model_prefix=str(folder / "tokenizer"), model_type="bpe",
        vocab_size=600, byte_fallback=True, normalization_rule_name="identity",
        remove_extra_whitespaces=False, add_dummy_prefix=True, allow_whitespace_only_pieces=True,
        unk_id=0, bos_id=1, eos_id=2, pad_id=-1, minloglevel=2, num_threads=1,
    )  # fmt: skip
    return folder / "tokenizer.model"


def write_sentencepiece(folder, model, model_type, settings) -> SentencePieceProcessor:
    shutil.copy(model, folder)
    write_json(folder / "config.json", {"model_type": model_type})
    if settings is not None:
        write_json(folder / "tokenizer_config.json", settings)
    return SentencePieceProcessor(model_file=str(model))


def odd_texts(count: int) -> list[str]:
    """Spaces in a row, first and last; line ends; letters and signs that it has never seen."""
    rng = random.Random(0)
    parts = [" ", "  ", "   ", "a", "Box", "the car", "\n", "\t", "é", "語", "▁", "7", "."]
    return ["".join(rng.choices(parts, k=rng.randint(1, 12))) for _ in range(count)]


SETTINGS = {"none": None, "few": SPECIALS, "new": LLAMA, "old": LLAMA | {"legacy": True}}


@pytest.mark.parametrize("model_type", ["llama", "mistral", "mixtral"])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_tokenizer_model_alone(model_type, settings, sentencepiece_model, tmp_path):
    """It is read as SentencePiece reads it."""
    model = write_sentencepiece(tmp_path, sentencepiece_model, model_type, settings)
    tokenizer = tokenizer_of(tmp_path)
    for prompt in TEXTS[:8]:
        assert encode_prompt(tokenizer, prompt) == [1, *model.encode(prompt)]
    assert model.id_to_piece(model.encode(TEXTS[0])[0]).startswith("▁")
    if (settings or {}).get("legacy") is not False:
        for text in odd_texts(300):
            assert tokenizer(text, add_special_tokens=False).input_ids == model.encode(text), text


def test_tokenizer_model_alone_without_a_bos(sentencepiece_model, tmp_path):
    settings = LLAMA | {"add_bos_token": False}
    model = write_sentencepiece(tmp_path, sentencepiece_model, "llama", settings)
    assert encode_prompt(tokenizer_of(tmp_path), TEXTS[0]) == model.encode(TEXTS[0])


def test_tokenizer_model_alone_in_chat(sentencepiece_model, tmp_path):
    """Every stretch between special tokens is a text to SentencePiece, as version 4 has it."""
    settings = SPECIALS | {"tokenizer_class": "LlamaTokenizer", "chat_template": LLAMA_CHAT}
    model = write_sentencepiece(tmp_path, sentencepiece_model, "mistral", settings)
    tokenizer = tokenizer_of(tmp_path)
    prompt = prompt_maker(FORMATS[2], tokenizer)(DESCRIPTION)
    expected = []
    for stretch in re.split("(</?s>)", prompt):
        ends = {"<s>": [1], "</s>": [2], "": []}
        expected += ends[stretch] if stretch in ends else model.encode(stretch)
    assert encode_prompt(tokenizer, prompt) == expected
    assert expected.count(1) == 4


OTHER_KINDS = {"gemma": "GemmaTokenizer", "bloom": "unknown"}


@pytest.mark.parametrize(("model_type", "kind"), OTHER_KINDS.items())
def test_tokenizer_model_of_another_kind(model_type, kind, sentencepiece_model, tmp_path):
    write_sentencepiece(tmp_path, sentencepiece_model, model_type, None)
    message = (
        f"{tmp_path}: no tokenizer.json, and a tokenizer.model of kind {kind}; "
        "save it as tokenizer.json with the version of transformers that it was made for"
    )
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        tokenizer_of(tmp_path)


def test_a_tokenizer_model_that_is_read_otherwise_is_refused(tmp_path):
    """One that folds spaces, lowers letters or has no bytes is not of Llama's kind, whatever its
    configuration says."""
    (tmp_path / "text").write_text("\n".join(TEXTS))
    SentencePieceTrainer.train(
        input=str(tmp_path / "text"), model_prefix=str(tmp_path / "tokenizer"),
        model_type="unigram", vocab_size=150, normalization_rule_name="nmt_nfkc_cf",
        minloglevel=2, num_threads=1,
    )  # fmt: skip
    write_json(tmp_path / "config.json", {"model_type": "llama"})
    said = r"token \d+ of a plain prompt would be .* its files disagree"
    with pytest.raises(UserError, match=said):
        tokenizer_of(tmp_path)


def test_vocabulary_and_merges_alone_still_load(tmp_path):
    """GPT-2's two files: there is nothing to judge by, and nothing is built anew from a third."""
    backend = json.loads(TOKENIZERS["byte-level"]().backend_tokenizer.to_str())["model"]
    write_json(tmp_path / "vocab.json", backend["vocab"])
    merges = [" ".join(merge) for merge in backend["merges"]]
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    write_json(tmp_path / "config.json", {"model_type": "gpt2"})
    write_json(tmp_path / "tokenizer_config.json", SPECIALS | {"tokenizer_class": "GPT2Tokenizer"})
    ids = encode_prompt(tokenizer_of(tmp_path), TEXTS[0])
    assert ids == TOKENIZERS["byte-level"]()(TEXTS[0], add_special_tokens=False).input_ids


# --- the paper's own tokenizers ---


def test_the_checksums_of_real_prompt_ids_are_of_the_committed_dataset():
    """tests/real compares them; here is only that they are not left behind by another dataset."""
    root = Path(__file__).resolve().parents[1]
    known = read_json(root / "real" / "prompt_ids.json")
    sums = (root.parent / "data" / "checksums.sha256").read_text()
    assert f"{known.pop('dataset_sha256')}  test-subsample-states-t5.jsonl" in sums
    plain = {name: styles["table2"] for name, styles in known.items()}
    assert plain["llama"] == plain["llama-chat"] == plain["codellama"]  # one vocabulary, one BOS
    assert plain["deepseek"] == plain["deepseek-chat"]
    assert len(set(plain.values())) == 4
