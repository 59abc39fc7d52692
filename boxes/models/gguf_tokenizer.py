"""The tokenizer of a GGUF file, as llama.cpp reads it, written out as tokenizer.json.

transformers builds one from the file's vocabulary, and looks at less than llama.cpp does: it knows
few ways to split a text (`tokenizer.ggml.pre`), and heeds neither where a space is put before a
text nor that some vocabularies begin with a BOS without saying so. What is not known here is refused.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from boxes.models.quiet import quiet, reason
from boxes.models.reading import read_tokenizer
from boxes.models.tokenizer import check_tokens
from boxes.prompting import special_prefix
from boxes.records import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BYTE_LEVEL, SENTENCEPIECE = "gpt2", "llama"  # tokenizer.ggml.model
_FOLDER = "give the folder of its safetensors and tokenizer.json"
# Ways to split a text before a byte-level vocabulary is applied. GPT-2's is what transformers has
# where it knows no other; some split digits off first.
_GPT2 = ("gpt-2", "phi-2", "olmo")
_DIGITS_FIRST = ("smollm", "starcoder", "refact", "command-r")
# Llama 3's and Mistral's begin with a BOS unless the file says otherwise, and take a piece that is
# a token whole.
_WHOLE_PIECES = ("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "tekken")
_BY_TRANSFORMERS = (*_WHOLE_PIECES, "qwen2", "deepseek-r1-qwen", "megrez", "gpt-4o", "dbrx", "smaug-bpe")
_KNOWN = (*_GPT2, *_DIGITS_FIRST, *_BY_TRANSFORMERS)


def write_tokenizer(path: Path, scratch: Path, settings: dict[str, Any], folder: Path) -> None:
    """Write the tokenizer of the file that `scratch` has under the name of `path` into a folder with
    its config.json. UserError where it would read a prompt otherwise than the file says."""
    from transformers import AutoTokenizer

    kind, split = settings.get("tokenizer.ggml.model"), settings.get("tokenizer.ggml.pre")
    if kind not in (BYTE_LEVEL, SENTENCEPIECE):
        raise UserError(f"{path}: a tokenizer of kind {kind}, which is not known; {_FOLDER}")
    if kind == BYTE_LEVEL and split not in _KNOWN:
        raise UserError(f"{path}: a text is split as {split}, which is not known; {_FOLDER}")
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(scratch, gguf_file=path.name)
    except Exception as error:  # a file can be wrong in as many ways as lines read it
        raise UserError(f"{path}: its tokenizer cannot be read ({reason(error)}); {_FOLDER}") from None
    backend = tokenizer.backend_tokenizer
    if kind == BYTE_LEVEL:
        _split_as(split, backend)
    else:
        _put_space(settings.get("tokenizer.ggml.add_space_prefix", True), backend)
    bos = begins_with(settings)
    _write_bos(bos, backend)
    with quiet():
        tokenizer.save_pretrained(folder)
    written = read_tokenizer(folder)
    check_tokens(written, folder)
    if special_prefix(written) != bos:
        wrong = f"its prompts would begin with {special_prefix(written)}, by the file with {bos}"
        raise UserError(f"{path}: {wrong}; {_FOLDER}")


def begins_with(settings: dict[str, Any]) -> list[int]:
    """The ids that llama.cpp puts before a prompt: the BOS, or none."""
    by_kind = settings.get("tokenizer.ggml.model") == SENTENCEPIECE
    by_split = settings.get("tokenizer.ggml.pre") in _WHOLE_PIECES
    bos = settings.get("tokenizer.ggml.bos_token_id")
    if bos is None or not settings.get("tokenizer.ggml.add_bos_token", by_kind or by_split):
        return []
    return [int(bos)]


def _split_as(split: str, backend: "Tokenizer") -> None:
    """What transformers does not know of ways to split."""
    from tokenizers import pre_tokenizers

    if split in _DIGITS_FIRST:
        digits = pre_tokenizers.Digits(individual_digits=True)
        level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        backend.pre_tokenizer = pre_tokenizers.Sequence([digits, level])
    if split in _WHOLE_PIECES:
        backend.model.ignore_merges = True


def _put_space(first: bool, backend: "Tokenizer") -> None:
    """A space before every stretch of text between special tokens, or nowhere."""
    from tokenizers import normalizers

    replace = normalizers.Replace(" ", "▁")
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace]) if first else replace
    backend.pre_tokenizer = None


def _write_bos(bos: list[int], backend: "Tokenizer") -> None:
    """What stands before every text."""
    from tokenizers import processors

    name = backend.id_to_token(bos[0]) if bos else ""
    before = f"{name} " if bos else ""
    specials = [(name, index) for index in bos]
    backend.post_processor = processors.TemplateProcessing(f"{before}$A", f"{before}$A {before}$B", specials)
