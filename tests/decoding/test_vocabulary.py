"""The bytes that tokens stand for, in vocabularies of both kinds."""

import pytest
from miniatures import KINDS, small_tokenizer, tokenizer_of
from tokenizers import AddedToken

from boxes.decoding.constraint import (
    is_byte_level,
    token_bytes,
)
from boxes.prompting import statement_prompt

PLAIN = statement_prompt("Box 0 contains nothing.")


def test_sentencepiece_vocabulary():
    pieces = ["▁", "▁Box", "Box", "<0x0A>", "<0xC3>", "<0x0>", "é", "▁▁a", "\u2580"]
    added = ["<mask>", "▁▁", AddedToken("<|turn|>", special=True)]
    tokenizer = small_tokenizer(pieces, added)
    assert not is_byte_level(tokenizer)
    assert token_bytes(tokenizer) == {
        3: b" ", 4: b" Box", 5: b"Box", 6: b"\n", 7: b"\xc3", 8: b"<0x0>", 9: b"\xc3\xa9",
        10: b"  a", 11: b"\xe2\x96\x80", 12: b"<mask>", 13: b"  ",
    }  # fmt: skip


def test_byte_level_vocabulary():
    pieces = ["Ġ", "ĠBox", "Ċ", "Ã", "Ã©", "Ń", "!", "▁", "<0x0A>", "ĠĊ"]
    added = ["é", "<mask> ", AddedToken("<|turn|>", special=True)]
    tokenizer = small_tokenizer(pieces, added, byte_level=True)
    assert is_byte_level(tokenizer)
    # U+2581 is no stand-in of a byte, "<0x0A>" is spelled out, an added token stands for its own
    # text.
    assert token_bytes(tokenizer) == {
        3: b" ", 4: b" Box", 5: b"\n", 6: b"\xc3", 7: b"\xc3\xa9", 8: b"\xad", 9: b"!",
        11: b"<0x0A>", 12: b" \n", 13: b"\xc3\xa9", 14: b"<mask> ",
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", [PLAIN, "Box 0 — naïve café,\n\ttwo  spaces ☃ 𝄞 <0x0A>"])
def test_the_bytes_of_a_text_are_those_of_its_tokens(kind, text):
    tokenizer = tokenizer_of(kind)
    spelled = token_bytes(tokenizer)
    ids = tokenizer(text, add_special_tokens=False).input_ids
    lead = "" if kind == "byte-level" else " "  # the Llama kind puts a space before a text
    assert b"".join(spelled[index] for index in ids).decode() == lead + text
    assert not set(tokenizer.all_special_ids) & set(spelled)
