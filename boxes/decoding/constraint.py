"""Regular expression + tokenizer -> an automaton over token ids as dense tensors. Nothing here knows about boxes.

The vocabulary is keyed by the bytes a token stands for, so SentencePiece-style and byte-level tokenizers take one path and
no decoder's treatment of leading spaces gets in the way.
"""

import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from re import _constants as sre
from re import _parser
from zipfile import BadZipFile

import numpy as np
import torch
from outlines_core import Index, Vocabulary

from boxes.records import UserError, sha256_text, write_bytes

_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
_OPEN = (sre.ANY, sre.NOT_LITERAL, sre.NEGATE, sre.CATEGORY)  # stand for characters that are not named
LOGITS_AT_ONCE = 2**26  # numbers
WIDE = 50_000  # tokens; fewer compile in a moment
FREE = 0  # the one state of free decoding that goes on


@dataclass(frozen=True)
class Automaton:
    """States 0..S-1 over token ids 0..V-1 (V: width of the model's logits).

    allowed: (S, V) bool; next_state: (S, V) int32, meaningful where allowed; done: (S,) bool, nothing but the end follows;
    starts: the state behind each literal beginning of the expression, "" included; token_bytes: what each id stands for.
    """

    allowed: torch.Tensor
    next_state: torch.Tensor
    done: torch.Tensor
    starts: dict[str, int]
    token_bytes: list[bytes]
    end_ids: tuple[int, ...]

    @cached_property
    def forbidden(self) -> torch.Tensor:
        """(S, V) bool, what is not allowed: the mask of every step."""
        return ~self.allowed

    def start(self, prompt: str) -> tuple[int, str]:
        """The state a prompt leaves the automaton in, and the literal beginning of the expression that the prompt ends in."""
        for head in sorted(self.starts, key=len, reverse=True):
            before = prompt.removesuffix(head)[-1:] if head else ""
            if prompt.endswith(head) and (not before or before.isspace()):
                return self.starts[head], head
        return self.starts[""], ""

    def text(self, ids: list[int]) -> str:
        """The text of token ids, the ends dropped."""
        return b"".join(self.token_bytes[i] for i in ids if i not in self.end_ids).decode("utf-8", errors="replace")

    def to(self, device: torch.device | str) -> "Automaton":
        """The same automaton with its tensors on a device."""
        tensors = (self.allowed.to(device), self.next_state.to(device), self.done.to(device))
        return Automaton(*tensors, self.starts, self.token_bytes, self.end_ids)


def masked_argmax(
    automaton: Automaton,
    head: Callable[[torch.Tensor], torch.Tensor],  # makes logits (..., V) of hidden states
    hidden: torch.Tensor,  # (B, N, hidden)
    states: torch.Tensor,  # (B, N)
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The likeliest allowed token behind each hidden state, whether it ends the text, and the state behind it, (B, N) each.

    Where no allowed token has a finite logit the text ends (the model is broken there), which the last of the results says.
    Logits are made of a few rows at a time, for a wide vocabulary's would fill the memory.
    """
    at_once = max(1, LOGITS_AT_ONCE // (states.shape[1] * automaton.allowed.shape[1]))
    best, choice = [], []
    for some, where in zip(hidden.split(at_once), states.split(at_once), strict=True):
        value, token = head(some).masked_fill_(automaton.forbidden[where], -torch.inf).max(dim=-1)
        best.append(value)
        choice.append(token)
    broken = ~torch.cat(best).isfinite()
    choice = torch.cat(choice).masked_fill(broken, automaton.end_ids[0])
    after = automaton.next_state[states, choice].long()
    ends = automaton.done[after]
    for end in automaton.end_ids:
        ends = ends | (choice == end)
    return choice, ends, after, broken


def _byte_of_character() -> dict[str, int]:
    """The printable stand-in of each byte in byte-level BPE (GPT-2's table)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + rank): byte for rank, byte in enumerate(others)}


def _types(part: object) -> set[str]:
    """The types of all components of a tokenizer's decoder or pre-tokenizer."""
    if isinstance(part, list):
        return set().union(*map(_types, part))
    if not isinstance(part, dict):
        return set()
    return {part.get("type")}.union(*(_types(value) for value in part.values() if isinstance(value, (list, dict))))


def is_byte_level(tokenizer) -> bool:
    """Whether a tokenizer writes bytes as GPT-2's stand-in characters; otherwise it is of the SentencePiece kind."""
    if not tokenizer.is_fast:
        return False
    # Not the whole tokenizer: writing out a wide vocabulary takes seconds.
    decoder = tokenizer.backend_tokenizer.decoder
    return decoder is not None and "ByteLevel" in _types(json.loads(decoder.__getstate__()))


def token_bytes(tokenizer) -> dict[int, bytes]:
    """The bytes each ordinary token stands for; special tokens and tokens that stand for nothing are left out."""
    added = tokenizer.added_tokens_decoder
    special = set(tokenizer.all_special_ids) | {index for index, token in added.items() if token.special}
    stand_in = _byte_of_character() if is_byte_level(tokenizer) else None
    found = {}
    for piece, index in tokenizer.get_vocab().items():
        if index in special:
            continue
        if index in added and stand_in is not None:
            content = added[index].content.encode()
        elif stand_in is not None:
            content = bytes(stand_in[character] for character in piece if character in stand_in)
        else:
            byte = piece.startswith("<0x") and _BYTE_PIECE.fullmatch(piece)
            content = bytes([int(byte[1], 16)]) if byte else piece.replace("▁", " ").encode()
        if content:
            found[index] = content
    return found


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
    """The characters an expression names, literally or in a range of a class, and whether a match has no others."""
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
    known = set().union(*spelled.values()) if spelled else set()
    missing = sorted(char for char in _characters(regex)[0] if not set(char.encode()) <= known)
    if missing:
        raise UserError(f"{name}: the vocabulary cannot spell {' '.join(map(repr, missing))} of the regular expression")


def end_ids_of(tokenizer) -> tuple[int, ...]:
    """The ids that end a text. Only the tokenizer's own: stop ids of a generation_config must not leak in."""
    if tokenizer.eos_token_id is None:
        wrong = "the tokenizer has no end-of-sequence token; name its eos_token in tokenizer_config.json"
        raise UserError(f"{tokenizer.name_or_path}: {wrong}")
    return (tokenizer.eos_token_id,)


def build_index(regex: str, tokenizer, spelled: dict[int, bytes], heads: tuple[str, ...] = ()) -> tuple[Index, int]:
    """outlines_core's index of an expression over byte-keyed tokens (`spelled`, of token_bytes), and the number of the first
    pseudo-token: each of `heads` is one. UserError names the characters that the vocabulary cannot spell."""
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
    """An automaton as its E edges. What is kept: a few million numbers, where the dense tensors of a wide vocabulary have
    fifty times as many.

    sources, tokens, targets: (E,); done: (S,) bool; starts: the state behind each beginning of the expression.
    """

    sources: np.ndarray
    tokens: np.ndarray
    targets: np.ndarray
    done: np.ndarray
    starts: np.ndarray


def compile_regex(regex: str, tokenizer, width: int, kept: Path | None = None) -> Automaton:
    """The automaton of an expression for logits of `width` entries. Ids the tokenizer does not have are never allowed.

    `kept`: a folder to keep what a wide vocabulary compiles to, some seconds of work, by a hash of all that it depends on.
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
    """The edges of a file; made and written there where it cannot be read (zip's checksum tells of one cut short)."""
    with suppress(OSError, ValueError, KeyError, EOFError, BadZipFile), np.load(path) as file:
        return Edges(*(file[field.name] for field in fields(Edges)))
    edges, content = make(), io.BytesIO()
    np.savez(content, **vars(edges))
    with suppress(UserError):  # where nothing can be written, it is made again next time
        write_bytes(path, content.getvalue())
    return edges


def _edges(regex: str, tokenizer, spelled: dict[int, bytes], heads: tuple[str, ...], width: int) -> Edges:
    """The edges of outlines_core's index, without those that lead where the expression can no longer be finished."""
    ends = end_ids_of(tokenizer)
    index, first_pseudo = build_index(regex, tokenizer, spelled, heads[1:])
    transitions, initial, finals = index.get_transitions(), index.get_initial_state(), index.get_final_states()
    states = np.array(sorted({*transitions, *finals, initial}))
    starts = [initial, *(transitions[initial][first_pseudo + rank] for rank in range(len(heads) - 1))]
    counts = [len(edges) for edges in transitions.values()]
    tokens = np.concatenate([np.fromiter(edges, np.int32, len(edges)) for edges in transitions.values()])
    targets = np.concatenate([np.fromiter(edges.values(), np.int64, len(edges)) for edges in transitions.values()])
    targets = np.searchsorted(states, targets).astype(np.int16)
    sources = np.repeat(np.searchsorted(states, list(transitions)), counts).astype(np.int16)
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
    """(S,) bool: the states from which one of those alive can be reached, found on the graph of states, (S, S), which is small
    however wide the vocabulary is."""
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
    """Unconstrained decoding (A.2) in the same shape: every token of the tokenizer, until a period or an end.

    Everything behind the first period is dropped in scoring, so nothing is lost by stopping there. A prompt that ends in
    `head` has begun the text.
    """
    spelled = token_bytes(tokenizer)
    ends = end_ids_of(tokenizer)
    allowed = torch.zeros(2, width, dtype=torch.bool)
    allowed[FREE, : min(width, len(tokenizer))] = True
    next_state = torch.zeros(2, width, dtype=torch.int32)
    stops = [index for index, content in spelled.items() if b"." in content and index < width]
    next_state[FREE, [*stops, *ends]] = 1
    done = torch.tensor([False, True])
    return Automaton(allowed, next_state, done, {"": FREE, head: FREE}, _bytes_list(spelled, width), ends)
