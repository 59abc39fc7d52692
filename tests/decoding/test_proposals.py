"""Which tokens are drafted: copies of a row's own text, what pays, what is learnt of acceptance."""

import pytest
import torch

from boxes.decoding import automaton as automata
from boxes.decoding.automaton import Automaton
from boxes.decoding.drafting import COPIED, FIXED, KINDS, REPEATED, WAITING
from boxes.decoding.proposals import (
    SHARED,
    Acceptance,
    choose,
    from_statement,
    from_text,
)
from boxes.decoding.rows import Rows

DEVICE = torch.device("cpu")


def rows_of(texts: list[list[int]], drafted: list[list[int]] | None = None) -> Rows:
    """Rows that have these texts and drafts, and 20 tokens of room behind them."""
    count, length = len(texts), max(map(len, texts)) + 20
    drafted = drafted or [[]] * count
    width = max(map(len, drafted)) + 1
    nothing = torch.zeros(count, dtype=torch.long)
    return Rows(
        prompts=torch.arange(count),
        texts=torch.tensor([text + [-1] * (length - len(text)) for text in texts]),
        begins=torch.tensor([len(text) - 1 for text in texts]),
        counts=nothing + 1,
        lengths=nothing,
        pending=torch.tensor([text[-1] for text in texts]),
        states=nothing,
        ended=nothing.bool(),
        drafted=torch.tensor([draft + [-1] * (width - len(draft)) for draft in drafted]),
        kinds=torch.full((count, width), FIXED),
        restart=torch.full((count, width), width - 1),
        pointer=nothing,
        tried=torch.zeros(count, KINDS),
        confirmed=torch.zeros(count, KINDS),
    )


def automaton(allowed: torch.Tensor) -> Automaton:
    """One state per row of `allowed`, in which every token leads back to the same state."""
    states = torch.arange(len(allowed), dtype=torch.int32)
    after = states[:, None].expand_as(allowed).contiguous()
    return Automaton(allowed, after, torch.zeros(len(allowed), dtype=torch.bool), {}, [], (0,))


@pytest.mark.parametrize(
    ("text", "copied", "kind"),
    [
        ([1, 2, 3, 4, 5, 9, 1, 2, 3], [4, 5, 9, 1, 2, 3], REPEATED),
        ([1, 2, 3, 4, 1, 2, 3, 5, 9, 1, 2, 3], [5, 9, 1, 2, 3, 5], REPEATED),  # the last time
        ([1, 2, 3, 4, 7, 2, 3, 5, 1, 2, 3], [4, 7, 2, 3, 5, 1], REPEATED),  # three before two
        ([7, 2, 3, 4, 5, 8, 2, 3], [4, 5, 8, 2, 3, 4], COPIED),
        ([9, 1, 2, 1, 2, 1, 2], [1, 2, 1, 2, 1, 2], REPEATED),  # a loop goes on
        ([9, 9, 5, 5, 5], [5, 5, 5, 5, 5, 5], COPIED),
        ([1, 2, 3, 4, 5, 6], [-1] * 6, COPIED),
        ([3, 1, 2, 3], [-1] * 6, COPIED),  # one token alone is no reason
        ([5], [-1] * 6, COPIED),
    ],
)
def test_what_followed_the_last_tokens_where_they_stood_before(text, copied, kind):
    found = from_text(rows_of([text]), 6)
    assert found.tokens[0].tolist() == copied
    assert set(found.kinds[0].tolist()) == {kind}


def test_a_text_is_copied_as_a_plain_search_would():
    generator = torch.Generator().manual_seed(0)
    texts = []
    for _ in range(300):
        length = int(torch.randint(1, 40, (1,), generator=generator))
        texts.append(torch.randint(0, 4, (length,), generator=generator).tolist())
    found = from_text(rows_of(texts), 5).tokens.tolist()
    for text, copied in zip(texts, found, strict=True):
        assert copied == plain_search(text, 5)


def plain_search(text: list[int], count: int) -> list[int]:
    """What followed the last three tokens, else two, at their last place before the end."""
    for size in (3, 2):
        for end in range(len(text) - 1, size - 1, -1):
            if text[end - size : end] == text[len(text) - size :]:
                following = text[end:]
                return (following * count)[:count]
    return [-1] * count


def test_a_row_takes_the_source_that_promises_more_as_far_as_it_pays():
    rows = rows_of([[1, 2, 9, 1, 2]] * 3, [[5, 6, 7, 8]] * 3)
    sources = [from_statement(rows, 4), from_text(rows, 4)]
    everything = automaton(torch.ones(1, 10, dtype=torch.bool))
    rates = torch.zeros(3, KINDS)
    rates[:, FIXED] = torch.tensor([0.9, 0.9, 0.1])
    rates[:, COPIED] = torch.tensor([0.8, 0.95, 0.1])
    tokens, kinds, chances = choose(rows, sources, everything, rates, 0.6)
    assert tokens.tolist() == [[5, 6, 7, 8], [9, 1, 2, 9], [-1] * 4]
    assert kinds[0].tolist() == [FIXED] * 4
    assert kinds[1].tolist() == [COPIED] * 4
    assert chances[0].tolist() == pytest.approx([0.9, 0.81, 0.729, 0.6561])
    # 0.9 ** 2 pays, 0.9 ** 3 does not.
    tokens, _, _ = choose(rows, sources[:1], everything, rates, 0.8)
    assert tokens.tolist() == [[5, 6, -1, -1], [5, 6, -1, -1], [-1] * 4]


def test_what_the_automaton_does_not_allow_is_not_drafted():
    rows = rows_of([[1]], [[5, 6, 7]])
    allowed = torch.ones(1, 10, dtype=torch.bool)
    allowed[0, 6] = False
    rates = torch.ones(1, KINDS)
    tokens, _, _ = choose(rows, [from_statement(rows, 3)], automaton(allowed), rates, 0.5)
    assert tokens.tolist() == [[5, -1, -1]]


def test_acceptance_is_learnt_by_row_and_kind():
    rows, acceptance = rows_of([[1], [1]]), Acceptance(DEVICE)
    believed = acceptance.rates()
    kinds = torch.full((2, 10), COPIED)
    compared = torch.ones(2, 10, dtype=torch.bool)
    equal = torch.tensor([[True] * 10, [False] * 10])
    acceptance.learn(rows, kinds, compared, equal)
    found = acceptance.rates_of(rows)
    of_all = float(acceptance.rates()[COPIED])
    assert float(believed[COPIED]) < of_all < 0.5
    assert float(found[0, COPIED]) == pytest.approx((10 + SHARED * of_all) / (10 + SHARED))
    assert float(found[1, COPIED]) == pytest.approx(SHARED * of_all / (10 + SHARED))
    assert torch.equal(found[:, FIXED], believed[FIXED].expand(2))


def test_a_proposal_that_was_not_compared_teaches_nothing():
    rows, acceptance = rows_of([[1]]), Acceptance(DEVICE)
    believed = acceptance.rates()
    kinds, no = torch.full((1, 3), COPIED), torch.zeros(1, 3, dtype=torch.bool)
    acceptance.learn(rows, kinds, no, ~no)
    assert torch.equal(acceptance.rates(), believed)
    assert not rows.tried.any()


def test_a_clause_that_is_waited_for_is_another_kind_than_one_that_follows():
    rows = rows_of([[1, 5], [1, 9], [1, 2]], [[5, 6, 7]] * 3)
    rows.pointer = torch.tensor([1, 1, 0])
    found = from_statement(rows, 2)
    assert found.tokens.tolist() == [[6, 7], [6, 7], [5, 6]]
    assert found.kinds.tolist() == [[FIXED, FIXED], [WAITING, FIXED], [FIXED, FIXED]]


def test_packed_logits_are_made_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr(automata, "LOGITS_AT_ONCE", 40)
    made, everything = [], automaton(torch.ones(1, 10, dtype=torch.bool))

    def head(hidden):
        made.append(len(hidden))
        return hidden

    hidden = torch.randn(1, 50, 10)
    choice, *_ = automata.masked_argmax(everything, head, hidden, torch.zeros(1, 50, dtype=torch.long))
    assert torch.equal(choice, hidden.argmax(dim=-1))
    assert max(made) == 4
