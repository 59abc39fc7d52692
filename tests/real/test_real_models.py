"""Two small pretrained models, rebuilt by fetch.py: they load, pass doctor, and the engine decodes as the paper's way does."""

import os
import re
from functools import cache
from pathlib import Path

import pytest
from scenarios_fixture import prompts

from boxes.decoding.engine import Decoder
from boxes.models import find, load
from boxes.models.tokenizer import tokens_by_files
from boxes.prompting import STATEMENT_HEAD, STATEMENT_REGEX
from boxes.reference import reference_decode
from experiments.tools.checkup import Checkup, check_tokenizer

pytestmark = pytest.mark.real
NAMES = ("smollm2-135m-instruct-q4", "gemma-3-270m-q4")
LIMIT = 48  # tokens: half a statement, and the first look at each box


@cache
def loaded(name: str):
    return load(Path(os.environ["REAL"]) / "models" / name, "cpu", "float32")


@pytest.mark.parametrize("name", NAMES)
def test_doctor_passes_the_tokenizer(name):
    row = Checkup()
    check_tokenizer(find(Path(os.environ["REAL"]) / "models" / name), row)
    assert (row.tokenizer, row.faults) == ("ok", [])


def test_smollm2_has_no_bos_and_gemma_has_one():
    for name, first in zip(NAMES, ("Given", "<bos>"), strict=True):
        tokenizer = loaded(name).tokenizer
        by_files = tokens_by_files(Path(tokenizer.name_or_path), tokenizer.bos_token_id)
        [prompt] = prompts(1)
        assert tokenizer.convert_ids_to_tokens(by_files(prompt)[:1]) == [first]


@pytest.mark.parametrize("name", NAMES)
def test_the_engine_decodes_as_the_reference_does(name):
    model, tokenizer = loaded(name).model, loaded(name).tokenizer
    asked = prompts(2)
    found = Decoder(model, tokenizer, max_new_tokens=LIMIT).decode(asked)
    assert found == reference_decode(model, tokenizer, asked, max_new_tokens=LIMIT)
    for completion in found:
        assert completion.text.startswith(STATEMENT_HEAD)
        assert completion.status.value == "truncated" or re.fullmatch(STATEMENT_REGEX, completion.text)
