"""A tokenizer as its files are written, and the tokens that these files say, read without
transformers to judge it.

transformers 5 builds many tokenizers anew from the vocabulary of tokenizer.json and drops what else
the file says (Llama 2 Chat's space behind every `<s>`); it no longer heeds `add_bos_token` of
tokenizer_config.json (all that DeepSeek says of its BOS); and it loses the space before a text
where tokenizer.model is all there is (Mistral).
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from boxes.prompting import (
    EXAMPLES,
    TemplateRefuses,
    chat_prompt,
    encode_prompt,
    special_prefix,
    statement_prompt,
)
from boxes.records import UserError, read_json

# Classes of transformers 4 that wrote the BOS as `add_bos_token` says (where it says nothing they
# did), whatever the post-processor of tokenizer.json. All others left it to the post-processor:
# those of GPT-2 and Qwen2 have the setting and never looked at it, Llama 3's
# PreTrainedTokenizerFast does not know it.
BOS_CLASSES = ("LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer", "CohereTokenizer")
# The classes it took where a checkpoint names none, by model_type.
_CLASS_OF = {
    "llama": "LlamaTokenizer",
    "mistral": "LlamaTokenizer",
    "mixtral": "LlamaTokenizer",
    "code_llama": "CodeLlamaTokenizer",
    "gemma": "GemmaTokenizer",
    "gemma2": "GemmaTokenizer",
    "cohere": "CohereTokenizer",
}
# Whose tokenizer.model is read here.
_SENTENCEPIECE_CLASSES = ("LlamaTokenizer", "CodeLlamaTokenizer")
_CONVERT = "save it as tokenizer.json with the version of transformers that it was made for"
_DISAGREE = "its files disagree; mend tokenizer_config.json, or fetch the model again"
_EXAMPLE = EXAMPLES[1][0].removeprefix("Description: ")


def tokenizer_settings(folder: Path) -> dict:
    """The content of tokenizer_config.json; empty without one."""
    path = folder / "tokenizer_config.json"
    return read_json(path) if path.exists() else {}


def class_of(folder: Path) -> str:
    """The tokenizer's class of transformers 4 without "Fast"; "" where none is named."""
    config = {}
    if (folder / "config.json").exists():
        config = read_json(folder / "config.json")
    named = tokenizer_settings(folder).get("tokenizer_class") or config.get("tokenizer_class")
    return str(named or _CLASS_OF.get(config.get("model_type"), "")).removesuffix("Fast")


def asks_for_bos(folder: Path) -> bool | None:
    """Whether tokenizer_config.json asks for the BOS; None where the post-processor decides."""
    settings = tokenizer_settings(folder)
    written_by_5 = "backend" in settings  # which puts all it knows into tokenizer.json
    if written_by_5 or class_of(folder) not in BOS_CLASSES:
        return None
    return bool(settings.get("add_bos_token", True))


def open_tokenizer(folder: Path):
    """The tokenizer of a folder: tokenizer.json as it is, or tokenizer.model, and the BOS that
    tokenizer_config.json asks for. Whatever error the libraries raise where a file is damaged."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if (folder / "tokenizer.json").exists():
        # The one class that builds nothing anew.
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    elif (folder / "tokenizer.model").exists():
        tokenizer = _open_sentencepiece(folder)
    else:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    asked, bos = asks_for_bos(folder), tokenizer.bos_token_id
    if asked is not None and bos is not None and (bos in special_prefix(tokenizer)) != asked:
        tokenizer.add_bos_token = asked  # the setter does what the setting in the file did
    return tokenizer


def _open_sentencepiece(folder: Path):
    """A tokenizer.model of Llama's kind, with SentencePiece's order of merges and leading space."""
    from sentencepiece import SentencePieceProcessor
    from tokenizers import models, normalizers
    from transformers import LlamaTokenizer
    from transformers.convert_slow_tokenizer import generate_merges

    kind = class_of(folder)
    if kind not in _SENTENCEPIECE_CLASSES:
        wrong = f"no tokenizer.json, and a tokenizer.model of kind {kind or 'unknown'}"
        raise UserError(f"{folder}: {wrong}; {_CONVERT}")
    legacy = tokenizer_settings(folder).get("legacy") is not False
    tokenizer = LlamaTokenizer.from_pretrained(folder, legacy=legacy)
    model = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    pieces = {model.id_to_piece(index): index for index in range(len(model))}
    # Merges go by score. LlamaTokenizer orders them by id, which reads two spaces otherwise.
    scores = {piece: model.get_score(index) for piece, index in pieces.items()}
    merges = generate_merges(pieces, scores)
    unknown = model.id_to_piece(model.unk_id())
    backend = tokenizer.backend_tokenizer
    backend.model = models.BPE(pieces, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True)
    if legacy:  # a space before every stretch between special tokens, one more before a space
        spaces = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        backend.normalizer = normalizers.Sequence(spaces)
        backend.pre_tokenizer = None
    return tokenizer


def check_tokens(tokenizer, folder: Path, system_role: bool | None = None) -> None:
    """UserError where a prompt would not be sent as the tokens that the folder's files say."""
    bos = tokenizer.bos_token_id
    by_files = tokens_by_files(folder, bos)
    if by_files is None:
        return
    for kind, prompt in _samples(tokenizer, folder, system_role).items():
        expected, sent = by_files(prompt), encode_prompt(tokenizer, prompt)
        if bos is not None and expected[:2] == [bos, bos]:
            wrong = f"a {kind} prompt begins with two BOS"
            raise UserError(f"{folder}: {wrong}; mend its chat template")
        if sent != expected:
            place = _first_difference(sent, expected)
            found, right = _token_at(tokenizer, sent, place), _token_at(tokenizer, expected, place)
            raise UserError(
                f"{folder}: token {place} of a {kind} prompt would be {found}, "
                f"by the tokenizer's files it is {right}; {_DISAGREE}"
            )


def tokens_by_files(folder: Path, bos: int | None) -> Callable[[str], list[int]] | None:
    """How tokenizer.json, or tokenizer.model without it, reads a prompt; None without either.

    What a text itself begins with of the prefix, a BOS above all, is not written twice.
    SentencePiece finds no special token in a text.
    """
    if (folder / "tokenizer.json").exists():
        prefix, encode = _read_tokenizer_json(folder / "tokenizer.json")
    elif (folder / "tokenizer.model").exists():
        prefix, encode = [], _read_sentencepiece(folder / "tokenizer.model")
    else:
        return None
    asked = asks_for_bos(folder)
    if asked is False:
        prefix = [index for index in prefix if index != bos]
    elif asked and bos is not None and bos not in prefix:
        prefix = [bos]

    def by_files(text: str) -> list[int]:
        ids = encode(text)
        written = 0  # tokens of the prefix that the text does not begin with itself
        if bos is None or ids[:1] != [bos]:
            while ids[: len(prefix) - written] != prefix[written:]:
                written += 1
        elif bos in prefix:
            written = prefix.index(bos)
        return [*prefix[:written], *ids]

    return by_files


def _read_tokenizer_json(path: Path) -> tuple[list[int], Callable[[str], list[int]]]:
    """What the post-processor writes before every text, and how a text is read."""
    from tokenizers import Tokenizer

    backend = Tokenizer.from_file(str(path))
    backend.no_truncation()  # some files cut at 512
    backend.no_padding()
    encoding = backend.encode("a")
    by_post_processor = encoding.special_tokens_mask
    prefix = encoding.ids[: by_post_processor.index(0)]
    return prefix, lambda text: backend.encode(text, add_special_tokens=False).ids


def _read_sentencepiece(path: Path) -> Callable[[str], list[int]]:
    from sentencepiece import SentencePieceProcessor

    return SentencePieceProcessor(model_file=str(path)).encode


def _samples(tokenizer, folder: Path, system_role: bool | None) -> dict[str, str]:
    """A prompt of each format that the files can read; a template may refuse Table 5."""
    samples = {"plain": statement_prompt(_EXAMPLE)}
    if tokenizer.chat_template and (folder / "tokenizer.json").exists():
        with suppress(TemplateRefuses):
            samples["chat"] = chat_prompt(_EXAMPLE, tokenizer, system_role)
    return samples


def _first_difference(one: list[int], other: list[int]) -> int:
    for place, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return place
    return min(len(one), len(other))


def _token_at(tokenizer, ids: list[int], place: int) -> str:
    if place >= len(ids):
        return "missing"
    return f"{ids[place]} ({tokenizer.convert_ids_to_tokens(ids[place])!r})"
