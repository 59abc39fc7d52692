"""What a wide vocabulary compiles to is kept in a folder, and made anew where it cannot be read."""

import pytest
import torch
from miniatures import tokenizer_of

from boxes.decoding import constraint
from boxes.decoding.constraint import (
    compile_regex,
)
from boxes.prompting import STATEMENT_REGEX


def same_automaton(one, other) -> bool:
    tensors = ("allowed", "done")
    same = all(torch.equal(getattr(one, name), getattr(other, name)) for name in tensors)
    leads = torch.equal(one.next_state[one.allowed], other.next_state[other.allowed])
    return same and leads and one.starts == other.starts and one.token_bytes == other.token_bytes


def test_what_a_wide_vocabulary_compiles_to_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(constraint, "WIDE", 1)
    tokenizer = tokenizer_of("tiny")
    made = compile_regex(STATEMENT_REGEX, tokenizer, 900, tmp_path)
    (kept,) = tmp_path.iterdir()
    monkeypatch.setattr(constraint, "_edges", lambda *_: pytest.fail("made again"))
    assert same_automaton(compile_regex(STATEMENT_REGEX, tokenizer, 900, tmp_path), made)
    monkeypatch.undo()
    assert same_automaton(compile_regex(STATEMENT_REGEX, tokenizer, 900), made)
    monkeypatch.setattr(constraint, "WIDE", 1)
    tokenizer.add_tokens(["▁zyzzyva"])
    for regex, width in (
        (STATEMENT_REGEX, 900),
        (STATEMENT_REGEX, 901),
        (STATEMENT_REGEX[:-2] + "!", 900),
    ):
        compile_regex(regex, tokenizer, width, tmp_path)
    # Another vocabulary, width or expression is another automaton.
    assert len(list(tmp_path.iterdir())) == 4
    assert kept.exists()


DAMAGES = [lambda content: content[: len(content) // 2], lambda content: b"", bytes.swapcase]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_kept_automaton_that_is_damaged_is_made_anew(damage, tmp_path, monkeypatch):
    monkeypatch.setattr(constraint, "WIDE", 1)
    tokenizer = tokenizer_of("tiny")
    made = compile_regex(STATEMENT_REGEX, tokenizer, 900, tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(damage(kept.read_bytes()))
    assert same_automaton(compile_regex(STATEMENT_REGEX, tokenizer, 900, tmp_path), made)
    monkeypatch.setattr(constraint, "_edges", lambda *_: pytest.fail("made a third time"))
    assert same_automaton(compile_regex(STATEMENT_REGEX, tokenizer, 900, tmp_path), made)


def test_where_nothing_can_be_kept_it_is_made_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(constraint, "WIDE", 1)
    (tmp_path / "file").write_text("")
    compile_regex(STATEMENT_REGEX, tokenizer_of("tiny"), 900, tmp_path / "file" / "folder")
