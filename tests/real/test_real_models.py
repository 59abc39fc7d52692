"""Two small pretrained models, rebuilt by fetch.py: they load, pass doctor, and the engine decodes as the paper's way does."""

import os
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import regex as re
import torch
from decoding_fixture import check_free, uncached_logits
from scenarios_fixture import prompts

from boxes.completion import MAX_NEW_TOKENS, Completion, Status
from boxes.decoding.constraint import token_bytes
from boxes.decoding.engine import Decoder
from boxes.models import find, load
from boxes.models.tokenizer import tokens_by_files
from boxes.prompting import STATEMENT_HEAD, STATEMENT_REGEX
from boxes.reference import reference_decode
from experiments.tools.checkup import Checkup, check_tokenizer

pytestmark = pytest.mark.real
SMOL, GEMMA = "smollm2-135m-instruct-q4", "gemma-3-270m-q4"
COUNT = int(os.environ.get("REAL_PROMPTS") or 8)  # prompts


def of(name: str, *more: str):
    """A case of one model: all of them are decoded by one worker, where there are several."""
    return pytest.param(name, *more, marks=pytest.mark.xdist_group(name))


@cache
def loaded(name: str):
    return load(Path(os.environ["REAL"]) / "models" / name, "cpu", "float32")


@pytest.mark.parametrize("name", [of(SMOL), of(GEMMA)])
def test_doctor_passes_the_tokenizer(name):
    row = Checkup()
    check_tokenizer(find(Path(os.environ["REAL"]) / "models" / name), row)
    assert (row.tokenizer, row.faults) == ("ok", [])


@pytest.mark.parametrize(("name", "first"), [of(SMOL, "Given"), of(GEMMA, "<bos>")])
def test_smollm2_has_no_bos_and_gemma_has_one(name, first):
    tokenizer = loaded(name).tokenizer
    by_files = tokens_by_files(Path(tokenizer.name_or_path), tokenizer.bos_token_id)
    [prompt] = prompts(1)
    assert tokenizer.convert_ids_to_tokens(by_files(prompt)[:1]) == [first]


# --- engine = reference = what one forward over the whole text says ---


REST = re.compile(STATEMENT_REGEX.removeprefix(STATEMENT_HEAD))


class Case(NamedTuple):
    """A way of asking."""

    prompt_format: str
    constrained: bool

    @property
    def expression(self) -> str | None:
        return STATEMENT_REGEX if self.constrained else None


CASES = {
    "plain": Case("plain", True),
    "chat": Case("chat", True),
    "free": Case("plain", False),
}
CONSTRAINED = [of(SMOL, "plain"), of(SMOL, "chat"), of(GEMMA, "plain")]  # the base model has no chat template
FREE = [of(SMOL, "free"), of(GEMMA, "free")]


@cache
def asked(name: str, case: str) -> list[str]:
    return prompts(COUNT, loaded(name).tokenizer, format=CASES[case].prompt_format)


@cache
def decoded(name: str, case: str) -> list[Completion]:
    decoder = Decoder(loaded(name).model, loaded(name).tokenizer, CASES[case].expression)
    completions = decoder.decode(asked(name, case))
    assert decoder.work.way == "engine"
    assert decoder.work.counted("accepted") > 0
    return completions


def few(case: str) -> slice:
    """Which prompts are decoded one at a time, too: freely, which takes longest, every eighth."""
    return slice(None) if CASES[case].constrained else slice(None, None, 8)


@pytest.mark.parametrize(("name", "case"), [*CONSTRAINED, *FREE])
def test_one_prompt_at_a_time_gives_the_same(name, case):
    decoder = Decoder(loaded(name).model, loaded(name).tokenizer, CASES[case].expression, batch_size=1)
    chosen = few(case)
    assert decoder.decode(asked(name, case)[chosen]) == decoded(name, case)[chosen]


@pytest.mark.parametrize(("name", "case"), CONSTRAINED)
def test_the_engine_decodes_as_the_reference_does(name, case):
    """The reference knows the expression alone; free decoding is judged below."""
    found = reference_decode(loaded(name).model, loaded(name).tokenizer, asked(name, case))
    assert found == decoded(name, case)


@pytest.mark.parametrize(("name", "case"), FREE)
def test_free_decoding_is_greedy(name, case):
    for prompt, completion in zip(asked(name, case), decoded(name, case), strict=True):
        check_free(loaded(name).model, loaded(name).tokenizer, prompt, completion, MAX_NEW_TOKENS)


@pytest.mark.parametrize(("name", "case"), CONSTRAINED)
def test_every_token_is_the_likeliest_legal_one(name, case):
    """By the model's own forward over prompt and answer at once, and by the regex package: no KV
    cache, no automaton, no draft."""
    model, tokenizer = loaded(name).model, loaded(name).tokenizer
    expression = REST if CASES[case].prompt_format == "plain" else re.compile(STATEMENT_REGEX)
    spelled = token_bytes(tokenizer)
    for prompt, completion in zip(asked(name, case), decoded(name, case), strict=True):
        logits = uncached_logits(model, tokenizer, prompt, completion.tokens)
        written = b""
        for token, scores in zip(completion.tokens, logits[:-1], strict=True):
            assert token == likeliest(scores, written, spelled, expression)
            written += spelled[token]
        whole = expression.fullmatch(written.decode()) is not None
        assert (completion.status == Status.OK) is whole
        assert whole or len(completion.tokens) == MAX_NEW_TOKENS


def likeliest(scores: torch.Tensor, written: bytes, spelled: dict[int, bytes], expression) -> int:
    """The token of the highest score behind which the expression can still be met. It is hardly
    ever beyond the first few: the others are sorted where they are needed."""
    for count in (64, len(scores)):
        for token in scores.topk(count).indices.tolist():
            text = (written + spelled.get(token, b"\xff")).decode("latin-1")
            if spelled.get(token) and expression.fullmatch(text, partial=True):
                return token
    raise AssertionError(f"no token is legal behind {written!r}")
