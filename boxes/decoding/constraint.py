"""Regular expression + tokenizer -> an automaton over token ids. Nothing here knows about boxes.

The vocabulary is keyed by the bytes a token stands for, so SentencePiece-style and byte-level
tokenizers take one path and no decoder's treatment of leading spaces gets in the way.
"""

import hashlib
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import partial
from importlib.metadata import version
from itertools import chain, count
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from outlines_core import Index, Vocabulary

from boxes.decoding.automaton import Automaton
from boxes.decoding.expression import literal_beginning, named
from boxes.records import UserError, write_bytes

_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
WIDE = 50_000  # tokens; fewer compile in a moment
FREE_STATE = 0  # the one state of free decoding that goes on


def _byte_of_character() -> dict[str, int]:
    """The printable stand-in of each byte in byte-level BPE (GPT-2's table)."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(256) if byte not in printable]
    characters = [*map(chr, printable), *map(chr, range(256, 256 + len(others)))]
    return dict(zip(characters, [*printable, *others], strict=True))


def _types(part: object) -> set[str]:
    """The types of all components of a tokenizer's decoder or pre-tokenizer."""
    if isinstance(part, list):
        return set().union(*map(_types, part))
    if isinstance(part, dict):
        return {part.get("type")}.union(*map(_types, part.values()))
    return set()


def is_byte_level(tokenizer) -> bool:
    """Whether a tokenizer writes bytes as GPT-2's stand-ins, not as SentencePiece does."""
    if not tokenizer.is_fast:
        return False
    # Not the whole tokenizer: writing out a wide vocabulary takes seconds.
    decoder = tokenizer.backend_tokenizer.decoder
    return decoder is not None and "ByteLevel" in _types(json.loads(decoder.__getstate__()))


def token_bytes(tokenizer) -> dict[int, bytes]:
    """The bytes each ordinary token stands for; special ones and those for nothing are left out."""
    added = tokenizer.added_tokens_decoder
    special = {*tokenizer.all_special_ids, *(index for index, token in added.items() if token.special)}
    byte_level = is_byte_level(tokenizer)
    bytes_of = partial(_byte_level_bytes, _byte_of_character()) if byte_level else _sentencepiece_bytes
    found = {index: bytes_of(piece) for piece, index in tokenizer.get_vocab().items()}
    if byte_level:  # tokens that were added are written as they are
        found |= {index: token.content.encode() for index, token in added.items()}
    return {index: content for index, content in found.items() if content and index not in special}


def _byte_level_bytes(stand_in: dict[str, int], piece: str) -> bytes:
    """Of "ĠBox"."""
    return bytes([stand_in[character] for character in piece if character in stand_in])


def _sentencepiece_bytes(piece: str) -> bytes:
    """Of "<0x0A>" (byte fallback) and of "▁Box"."""
    byte = piece.startswith("<0x") and _BYTE_PIECE.fullmatch(piece)
    return bytes([int(byte[1], 16)]) if byte else piece.replace("▁", " ").encode()


def _name(tokenizer) -> str:
    return tokenizer.name_or_path or "tokenizer"


def _check_spelling(characters: set[str], spelled: dict[int, bytes], name: str) -> None:
    known = set().union(*spelled.values())
    missing = sorted(character for character in characters if not known.issuperset(character.encode()))
    if missing:
        wrong = f"the vocabulary cannot spell {' '.join(map(repr, missing))} of the regular expression"
        raise UserError(f"{name}: {wrong}")


def end_ids_of(tokenizer) -> tuple[int, ...]:
    """The ids that end a text: the tokenizer's own. Those of a generation_config do not leak in."""
    if tokenizer.eos_token_id is None:
        wrong = "the tokenizer has no end-of-sequence token"
        mend = "name its eos_token in tokenizer_config.json"
        raise UserError(f"{tokenizer.name_or_path}: {wrong}; {mend}")
    return (tokenizer.eos_token_id,)


def build_index(regex: str, tokenizer, spelled: dict[int, bytes]) -> Index:
    """outlines_core's index of an expression over byte-keyed tokens (`spelled`, of token_bytes). UserError names the
    characters that the vocabulary cannot spell."""
    fitting = _fitting(regex, tokenizer, spelled)
    return _index(regex, tokenizer, ((content, index) for index, content in fitting), end_ids_of(tokenizer)[0])


def _fitting(regex: str, tokenizer, spelled: dict[int, bytes]) -> Iterator[tuple[int, bytes]]:
    """Those tokens that may stand in a match by their characters: half of a wide vocabulary does not."""
    expression = named(regex)
    _check_spelling(expression.characters, spelled, _name(tokenizer))
    alphabet = expression.alphabet
    return ((index, content) for index, content in spelled.items() if not content.translate(None, alphabet))


def _index(regex: str, tokenizer, spellings: Iterable[tuple[bytes, int]], end: int) -> Index:
    vocabulary = Vocabulary(end, {})
    for content, token in spellings:
        vocabulary.insert(content, token)
    try:
        return Index(regex, vocabulary)
    except ValueError as error:
        raise UserError(f"{_name(tokenizer)}: {' '.join(str(error).split())}") from None


@dataclass(frozen=True)
class Edges:
    """An automaton as its E edges. What is kept: a few million numbers, where the dense tensors of
    a wide vocabulary have fifty times as many.

    sources, tokens, targets: (E,); done: (S,) bool; starts: the state behind each beginning of the
    expression.
    """

    sources: np.ndarray
    tokens: np.ndarray
    targets: np.ndarray
    done: np.ndarray
    starts: np.ndarray


def compile_regex(regex: str, tokenizer, width: int, kept: Path | None = None) -> Automaton:
    """The automaton of an expression for logits (..., width); only the tokenizer's ids are allowed.

    `kept`: a folder to keep what a wide vocabulary compiles to, seconds of work, by a hash of all that it depends on.
    """
    spelled, ends = token_bytes(tokenizer), end_ids_of(tokenizer)
    in_order = _bytes_list(spelled, width)
    literal = literal_beginning(regex)
    heads = tuple(literal[:length] for length in range(len(literal) + 1))
    make = partial(_edges, regex, tokenizer, spelled, heads, width)
    if kept is None or len(spelled) < WIDE:
        edges = make()
    else:
        made_of = _digest(in_order, version("outlines_core"), regex, ends)
        edges = _remembered(kept / f"{made_of[:32]}.npz", make)
    allowed = np.zeros((len(edges.done), width), dtype=bool)
    allowed[edges.sources, edges.tokens] = True
    next_state = np.zeros((len(edges.done), width), dtype=np.int32)
    next_state[edges.sources, edges.tokens] = edges.targets
    tensors = map(torch.from_numpy, (allowed, next_state, edges.done))
    starts = dict(zip(heads, edges.starts.tolist(), strict=True))
    return Automaton(*tensors, starts, in_order, ends)


def _digest(spelled: list[bytes], *more) -> str:
    """The SHA-256 of a vocabulary and of what else decides what it compiles to."""
    digest = hashlib.sha256(repr(more).encode())
    digest.update(np.fromiter(map(len, spelled), np.int64))
    digest.update(b"".join(spelled))
    return digest.hexdigest()


def _remembered(path: Path, make: Callable[[], Edges]) -> Edges:
    """Those of a file; made and written where it cannot be read (zip has a checksum)."""
    with suppress(OSError, ValueError, KeyError, EOFError, BadZipFile), np.load(path) as file:
        return Edges(*(file[field.name] for field in fields(Edges)))
    edges, content = make(), io.BytesIO()
    np.savez(content, **vars(edges))
    with suppress(UserError):  # where nothing can be written, it is made again next time
        write_bytes(path, content.getvalue())
    return edges


@dataclass(frozen=True)
class Groups:
    """K groups of tokens that an expression never tells apart, so that an index need know only one of each, and behind
    them the end of a text as one more.

    spellings: K, with all characters folded; ids: the tokens of one group behind those of the other; begins: (K + 2,)
    where each group's ids begin, and where the last ones end.
    """

    spellings: list[bytes]
    ids: np.ndarray
    begins: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """How many tokens each has, (K + 1,)."""
        return np.diff(self.begins)

    def tokens(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All tokens of groups (N,), one group's behind the other's, and how many each of the N has."""
        sizes = self.sizes[numbers]
        shifts = self.begins[numbers] - (np.cumsum(sizes) - sizes)
        return self.ids[np.arange(sizes.sum()) + np.repeat(shifts, sizes)], sizes


def _groups(regex: str, tokenizer, spelled: dict[int, bytes], width: int) -> Groups:
    """Those of all tokens, in which are the ids that the model has (fewer than `width`): perhaps none."""
    folds, number_of, ids, numbers = named(regex).folds, {}, [], []
    for index, content in _fitting(regex, tokenizer, spelled):
        ids.append(index)
        numbers.append(number_of.setdefault(content.translate(folds), len(number_of)))
    ids.extend(end_ids_of(tokenizer))
    numbers.append(len(number_of))
    ids, numbers = np.array(ids, np.int32), np.array(numbers)
    numbers, there = numbers[ids < width], ids[ids < width]
    sizes = np.bincount(numbers, minlength=len(number_of) + 1)
    return Groups(list(number_of), there[np.argsort(numbers, kind="stable")], np.cumsum([0, *sizes]))


def _edges(
    regex: str,
    tokenizer,
    spelled: dict[int, bytes],
    heads: tuple[str, ...],
    width: int,
) -> Edges:
    """Those of outlines_core's index, without those to where the expression cannot be finished."""
    groups = _groups(regex, tokenizer, spelled, width)
    # The index knows a group by its number; behind them are the end, and a pseudo-token for each of the heads.
    end = len(groups.spellings)
    begun = ((head.encode(), end + rank) for rank, head in enumerate(heads[1:], 1))
    index = _index(regex, tokenizer, chain(zip(groups.spellings, count()), begun), end)
    transitions, finals, initial = index.get_transitions(), index.get_final_states(), index.get_initial_state()
    states = np.array(sorted({*transitions, *finals, initial}))
    starts = [initial, *(transitions[initial][end + rank] for rank in range(1, len(heads)))]
    sources, numbers, targets = _flat(transitions)
    # The model has some of their tokens; a pseudo-token it has not.
    real = np.append(groups.sizes > 0, False)[np.minimum(numbers, end + 1)]
    sources, targets = (np.searchsorted(states, some[real]).astype(np.int16) for some in (sources, targets))
    ending = numbers[real] == end
    done = np.zeros(len(states), dtype=bool)
    done[np.searchsorted(states, list(finals))] = True
    done[sources[~ending]] = False
    alive = done.copy()
    alive[sources[ending]] = True
    alive = _alive(sources, targets, alive)
    starts = np.searchsorted(states, starts)
    if not alive[starts].all():
        raise UserError("the vocabulary cannot spell any text that matches the regular expression")
    kept = alive[targets] | ending
    tokens, sizes = groups.tokens(numbers[real][kept])
    return Edges(np.repeat(sources[kept], sizes), tokens, np.repeat(targets[kept], sizes), done, starts)


def _flat(transitions: dict[int, dict[int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sources, tokens and targets of all edges."""
    sizes = [len(edges) for edges in transitions.values()]
    tokens = np.fromiter(chain.from_iterable(transitions.values()), np.int32, sum(sizes))
    targets = np.fromiter(chain.from_iterable(map(dict.values, transitions.values())), np.int64, sum(sizes))
    return np.repeat(list(transitions), sizes), tokens, targets


def _alive(sources: np.ndarray, targets: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """(S,) bool: the states from which one of those alive can be reached, on the graph (S, S)."""
    leads = np.zeros((len(alive), len(alive)), dtype=bool)
    leads[sources, targets] = True
    while True:
        grown = alive | leads[:, alive].any(axis=1)
        if np.array_equal(grown, alive):
            return alive
        alive = grown


def _bytes_list(spelled: dict[int, bytes], width: int) -> list[bytes]:
    return [spelled.get(index, b"") for index in range(width)]


def free_automaton(tokenizer, width: int, head: str) -> Automaton:
    """Unconstrained decoding (A.2) in the same shape: every token, until a period or an end.

    Everything behind the first period is dropped in scoring, so nothing is lost by stopping there.
    A prompt that ends in `head` has begun the text.
    """
    spelled = token_bytes(tokenizer)
    ends = end_ids_of(tokenizer)
    allowed = torch.zeros(2, width, dtype=torch.bool)
    allowed[FREE_STATE, : min(width, len(tokenizer))] = True
    next_state = torch.zeros(2, width, dtype=torch.int32)
    stops = [index for index, content in spelled.items() if b"." in content and index < width]
    next_state[FREE_STATE, [*stops, *ends]] = 1
    done = torch.tensor([False, True])
    starts = {"": FREE_STATE, head: FREE_STATE}
    return Automaton(allowed, next_state, done, starts, _bytes_list(spelled, width), ends)
