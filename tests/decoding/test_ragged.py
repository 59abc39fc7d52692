"""Rows of unlike lengths, one behind the other, as a GPU has them: here with plain arithmetic in place of the kernel, so
that a CPU shows that the ids stay those of the reference."""

from dataclasses import replace

import pytest
import torch
from architectures import build
from decoding_fixture import BASE, SHORT_REGEX, engine, tiny_prompts, tiny_reference
from miniatures import byte_level_tokenizer
from scenarios_fixture import prompts

from boxes.decoding import ragged, widths
from boxes.decoding.engine import Decoder
from boxes.decoding.widths import likeliest
from boxes.reference import reference_decode

pytestmark = pytest.mark.usefixtures("one_thread")
LIMIT = 8  # tokens that miniatures write
COUNT = 7  # prompts: plain arithmetic, a row at a time, is slow


def for_few(query, keys, values, bias, new, begins, most_new, most, dropout, mask, with_logsumexp, *, scale, seqlen_k):
    """ragged.FOR_FEW by its definition, a row at a time: an output (1, M, H, D), a log-sum-exp (B, H, T) that is wider
    than it need be."""
    for numbers in (new, begins, seqlen_k):  # what the kernel asks for
        assert numbers is None or (numbers.dtype, numbers.stride()) == (torch.int32, (1,))
    assert (bias, dropout, with_logsumexp) == (None, 0.0, True)
    outputs = []
    logsumexps = torch.full((len(new) - 1, query.shape[2], -(-most_new // 32) * 32), torch.nan)
    for row in range(len(new) - 1):
        mine = query[0, new[row] : new[row + 1]].transpose(0, 1)  # (H, T, D)
        count = int(begins[row + 1] - begins[row] if seqlen_k is None else seqlen_k[row])
        assert mine.shape[1] <= most_new
        assert count <= most
        behind = slice(int(begins[row]), int(begins[row]) + count)
        key, value = (states[0, behind].transpose(0, 1) for states in (keys, values))
        scores = scale * mine @ key.transpose(1, 2)  # (H, T, C)
        if mask == ragged.FROM_BOTTOM_RIGHT:
            hidden = torch.ones(mine.shape[1], count, dtype=torch.bool).triu(count - mine.shape[1] + 1)
            scores = scores.masked_fill(hidden, -torch.inf)
        own = scores.logsumexp(dim=-1)
        outputs.append((scores - own[..., None]).exp() @ value)
        logsumexps[row, :, : mine.shape[1]] = own
    return torch.cat(outputs, dim=1).transpose(0, 1)[None], logsumexps


@pytest.fixture
def on_cpu(monkeypatch) -> list[int]:
    """Rows are taken as they are on a CPU, too; how many tokens each call of the kernel had."""
    tokens: list[int] = []

    def counted(query, *more, **options):
        tokens.append(query.shape[1])
        return for_few(query, *more, **options)

    monkeypatch.setattr(ragged, "KERNEL", {("cpu", torch.float32)})
    monkeypatch.setattr(ragged, "FOR_FEW", counted)
    return tokens


@pytest.mark.parametrize("options", [{}, {"draft": False}, {"batch_size": 3}], ids=str)
def test_the_ids_are_the_references(on_cpu, options):
    decoder = engine(**options)
    assert decoder.decode(tiny_prompts(BASE, COUNT)) == tiny_reference(BASE, COUNT)
    assert decoder.work.way == "engine"
    assert on_cpu


@pytest.mark.parametrize("step_tokens", [6, 14])
def test_a_step_has_as_many_tokens_as_it_may(on_cpu, monkeypatch, step_tokens):
    monkeypatch.setattr(widths, "STEP_TOKENS", step_tokens)
    decoder = engine(batch_size=4)
    assert decoder.decode(tiny_prompts(BASE, COUNT)) == tiny_reference(BASE, COUNT)
    assert step_tokens in on_cpu
    assert decoder.work.counted("accepted") > 0


# Shared heads, none of a head's own; positions in a table; windows and caps, which the kernel does not do.
@pytest.mark.parametrize(
    ("name", "batch_size"),
    [("llama", 1), ("llama", 3), ("gpt2", 3), ("gemma2", 3), ("gemma3-window", 3), ("mistral-window", 3)],
)
def test_architectures(on_cpu, monkeypatch, name, batch_size):
    monkeypatch.setattr(widths, "STEP_TOKENS", 7)
    model, tokenizer, asked = build(name), byte_level_tokenizer(), prompts(5)
    decoder = Decoder(model, tokenizer, SHORT_REGEX, max_new_tokens=LIMIT, batch_size=batch_size)
    assert decoder.decode(asked) == reference_decode(model, tokenizer, asked, SHORT_REGEX, LIMIT)
    assert decoder.work.way == "engine"
    assert bool(on_cpu) is (name not in ("gemma2", "mistral-window"))  # capped, or with a window in every layer


def test_a_layout_that_is_wrong_is_found(on_cpu, monkeypatch, capsys):
    over_own = ragged.over_own

    def one_key_less(query, key, value, stored, layout, of_groups, scale):
        wrong = replace(layout, before=layout.before - 1, counts=layout.counts - 1)
        return over_own(query, key, value, stored, wrong, of_groups, scale)

    monkeypatch.setattr(ragged, "over_own", one_key_less)
    decoder = engine()
    assert decoder.decode(tiny_prompts(BASE, COUNT)) == tiny_reference(BASE, COUNT)
    assert decoder.work.way == "plain"


# --- which tokens a step has ---


def test_the_likeliest_are_chosen_and_none_before_its_row_s_earlier_ones(monkeypatch):
    monkeypatch.setattr(widths, "STEP_TOKENS", 7)
    tokens = torch.tensor([[1, 2, 3], [4, 5, -1], [6, -1, -1]])
    chances = torch.tensor([[0.9, 0.9, 0.2], [0.95, 0.5, 0.4], [0.1, 0.05, 0.01]])
    chosen, packed = likeliest(tokens, chances)
    assert chosen.tolist() == [[1, 2, -1], [4, 5, -1], [-1, -1, -1]]
    assert packed.tolist() == [0, 1, 2, 4, 5, 6, 8]


def test_as_many_as_there_is_room_for_even_if_fewer_pay(monkeypatch):
    monkeypatch.setattr(widths, "STEP_TOKENS", 6)
    tokens = torch.tensor([[1, -1, -1], [-1, -1, -1]])
    chosen, packed = likeliest(tokens, torch.zeros(2, 3))
    assert chosen.tolist() == [[1, -1, -1], [-1, -1, -1]]
    assert len(packed) == 6
    for row in (0, 1):
        mine = [number - 4 * row for number in packed.tolist() if number // 4 == row]
        assert mine == list(range(len(mine)))


def test_more_rows_than_tokens_draft_one_each_in_the_mean(monkeypatch):
    monkeypatch.setattr(widths, "STEP_TOKENS", 2)
    chosen, packed = likeliest(torch.ones(3, 2, dtype=torch.long), torch.tensor([[0.9, 0.8], [0.7, 0.1], [0.2, 0.1]]))
    assert chosen.tolist() == [[1, 1], [1, -1], [-1, -1]]
    assert packed.tolist() == [0, 1, 2, 3, 4, 6]


def test_all_where_there_is_room():
    tokens = torch.ones(3, 2, dtype=torch.long)
    assert likeliest(tokens, torch.ones(3, 2)) == (tokens, None)
