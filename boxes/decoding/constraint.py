"""Regular expression + tokenizer -> an automaton over token ids. Nothing here knows about boxes.

The vocabulary is keyed by the bytes a token stands for, so SentencePiece-style and byte-level
tokenizers take one path and no decoder's treatment of leading spaces gets in the way.
"""

import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import partial
from importlib.metadata import version
from pathlib import Path
from re import _constants as sre
from re import _parser
from zipfile import BadZipFile

import numpy as np
import torch
from outlines_core import Index, Vocabulary

from boxes.decoding.automaton import Automaton
from boxes.records import UserError, sha256_text, write_bytes

_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
# They stand for characters that are not named.
_OPEN = (sre.ANY, sre.NOT_LITERAL, sre.NEGATE, sre.CATEGORY)
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
    added, special = tokenizer.added_tokens_decoder, set(tokenizer.all_special_ids)
    byte_level, stand_in = is_byte_level(tokenizer), _byte_of_character()
    found = {}
    for piece, index in tokenizer.get_vocab().items():
        if index in special or (index in added and added[index].special):
            continue
        if not byte_level:
            content = _sentencepiece_bytes(piece)
        elif index in added:
            content = added[index].content.encode()
        else:
            content = bytes(stand_in[character] for character in piece if character in stand_in)
        if content:
            found[index] = content
    return found


def _sentencepiece_bytes(piece: str) -> bytes:
    """Of "<0x0A>" (byte fallback) and of "▁Box"."""
    byte = piece.startswith("<0x") and _BYTE_PIECE.fullmatch(piece)
    if byte:
        return bytes([int(byte[1], 16)])
    return piece.replace("▁", " ").encode()


def literal_beginning(regex: str) -> str:
    """The text every match begins with: "Statement: Box 0 contains" for Figure 4."""
    literal = []
    for kind, value in _parser.parse(regex):
        if kind is not sre.LITERAL:
            break
        literal.append(chr(value))
    return "".join(literal)


def _parts(parsed) -> Iterator[tuple[object, object]]:
    """Every (kind, value) of a parsed expression, those inside of others too."""
    if isinstance(parsed, _parser.SubPattern) or (isinstance(parsed, list) and parsed):
        for part in parsed:
            yield from _parts(part)
    elif isinstance(parsed, tuple):
        if len(parsed) == 2:
            yield parsed
        for part in parsed:
            yield from _parts(part)


def _characters(regex: str) -> tuple[set[str], bool]:
    """The characters an expression names, also in a range, and whether a match has no others."""
    found, parsed = set(), _parser.parse(regex)
    closed = parsed.state.flags == re.UNICODE.value  # not, say, in upper case as well
    for kind, value in _parts(parsed):
        if kind is sre.LITERAL:
            found.add(chr(value))
        elif kind is sre.RANGE:
            found.update(map(chr, range(value[0], value[1] + 1)))
        elif kind in _OPEN:
            closed = False
    return found, closed


def _check_spelling(regex: str, spelled: dict[int, bytes], name: str) -> None:
    known = set().union(*spelled.values())
    missing = sorted(char for char in _characters(regex)[0] if not known.issuperset(char.encode()))
    if missing:
        characters = " ".join(map(repr, missing))
        wrong = f"the vocabulary cannot spell {characters} of the regular expression"
        raise UserError(f"{name}: {wrong}")


def end_ids_of(tokenizer) -> tuple[int, ...]:
    """The ids that end a text: the tokenizer's own. Those of a generation_config do not leak in."""
    if tokenizer.eos_token_id is None:
        wrong = "the tokenizer has no end-of-sequence token"
        mend = "name its eos_token in tokenizer_config.json"
        raise UserError(f"{tokenizer.name_or_path}: {wrong}; {mend}")
    return (tokenizer.eos_token_id,)


def build_index(
    regex: str,
    tokenizer,
    spelled: dict[int, bytes],
    heads: tuple[str, ...] = (),
) -> tuple[Index, int]:
    """outlines_core's index of an expression over byte-keyed tokens (`spelled`, of token_bytes),
    and the number of the first pseudo-token: each of `heads` is one. UserError names the characters
    that the vocabulary cannot spell."""
    name = tokenizer.name_or_path or "tokenizer"
    _check_spelling(regex, spelled, name)
    first_pseudo = max(*spelled, *end_ids_of(tokenizer)) + 1
    characters, closed = _characters(regex)
    alphabet = set("".join(characters).encode()) if closed else set(range(256))
    by_bytes: dict[bytes, list[int]] = {}
    for index, content in spelled.items():
        if alphabet.issuperset(content):  # half of a wide vocabulary stands in no match
            by_bytes.setdefault(content, []).append(index)
    for rank, head in enumerate(heads):
        by_bytes.setdefault(head.encode(), []).append(first_pseudo + rank)
    try:
        return Index(regex, Vocabulary(end_ids_of(tokenizer)[0], by_bytes)), first_pseudo
    except ValueError as error:
        raise UserError(f"{name}: {' '.join(str(error).split())}") from None


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

    `kept`: a folder to keep what a wide vocabulary compiles to, some seconds of work, by a hash of
    all that it depends on.
    """
    spelled, ends = token_bytes(tokenizer), end_ids_of(tokenizer)
    literal = literal_beginning(regex)
    heads = tuple(literal[:length] for length in range(len(literal) + 1))
    make = partial(_edges, regex, tokenizer, spelled, heads, width)
    if kept is None or len(spelled) < WIDE:
        edges = make()
    else:
        made_of = (version("outlines_core"), regex, heads, ends, width, sorted(spelled.items()))
        edges = _remembered(kept / f"{sha256_text(repr(made_of))[:32]}.npz", make)
    allowed = np.zeros((len(edges.done), width), dtype=bool)
    allowed[edges.sources, edges.tokens] = True
    next_state = np.zeros((len(edges.done), width), dtype=np.int32)
    next_state[edges.sources, edges.tokens] = edges.targets
    tensors = map(torch.from_numpy, (allowed, next_state, edges.done))
    starts = dict(zip(heads, edges.starts.tolist(), strict=True))
    return Automaton(*tensors, starts, _bytes_list(spelled, width), ends)


def _remembered(path: Path, make: Callable[[], Edges]) -> Edges:
    """Those of a file; made and written where it cannot be read (zip has a checksum)."""
    with suppress(OSError, ValueError, KeyError, EOFError, BadZipFile), np.load(path) as file:
        return Edges(*(file[field.name] for field in fields(Edges)))
    edges, content = make(), io.BytesIO()
    np.savez(content, **vars(edges))
    with suppress(UserError):  # where nothing can be written, it is made again next time
        write_bytes(path, content.getvalue())
    return edges


def _edges(
    regex: str,
    tokenizer,
    spelled: dict[int, bytes],
    heads: tuple[str, ...],
    width: int,
) -> Edges:
    """Those of outlines_core's index, without those to where the expression cannot be finished."""
    ends = end_ids_of(tokenizer)
    index, first_pseudo = build_index(regex, tokenizer, spelled, heads[1:])
    transitions, finals = index.get_transitions(), index.get_final_states()
    initial = index.get_initial_state()
    states = np.array(sorted({*transitions, *finals, initial}))
    starts = [initial]
    for rank in range(len(heads) - 1):
        starts.append(transitions[initial][first_pseudo + rank])
    sources, tokens, targets = [], [], []
    numbers = np.searchsorted(states, list(transitions))
    for number, edges in zip(numbers, transitions.values(), strict=True):
        sources.append(np.full(len(edges), number, np.int16))
        tokens.append(np.fromiter(edges, np.int32, len(edges)))
        targets.append(np.fromiter(edges.values(), np.int64, len(edges)))
    sources, tokens, targets = map(np.concatenate, (sources, tokens, targets))
    targets = np.searchsorted(states, targets).astype(np.int16)
    real = tokens < min(width, first_pseudo)  # the model has them, and they are no pseudo-token
    sources, tokens, targets = sources[real], tokens[real], targets[real]

    ending = np.isin(tokens, ends)
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
    return Edges(sources[kept], tokens[kept], targets[kept], done, starts)


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
