"""Regular expression + tokenizer -> an automaton over token ids as dense tensors. Nothing here knows about boxes.

The vocabulary is keyed by the bytes a token stands for, so SentencePiece-style and byte-level tokenizers take one path and
no decoder's treatment of leading spaces gets in the way.
"""

import json
import re
from dataclasses import dataclass
from functools import cached_property
from re import _constants as sre
from re import _parser

import torch
from outlines_core import Index, Vocabulary

from boxes.records import UserError

_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
LOGITS_AT_ONCE = 2**26  # numbers
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


def choose(automaton: Automaton, head: torch.nn.Module, hidden: torch.Tensor, states: torch.Tensor):
    """The likeliest allowed token behind each of (B, N) hidden states, whether it ends the text, and the state behind it.

    Where no allowed token has a finite logit the text ends (the model is broken there), which the last of the results says.
    `head` makes logits of hidden states; a few rows at a time, for a wide vocabulary's would fill the memory.
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
    return "ByteLevel" in _types(json.loads(tokenizer.backend_tokenizer.to_str()).get("decoder"))


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
            byte = _BYTE_PIECE.fullmatch(piece)
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


def _characters(parsed) -> set[str]:
    """The characters an expression names, literally or in a range of a class."""
    found = set()
    for kind, value in parsed:
        if kind is sre.LITERAL:
            found.add(chr(value))
        elif kind is sre.RANGE:
            found.update(map(chr, range(value[0], value[1] + 1)))
        elif kind is sre.IN:
            found |= _characters(value)
        elif isinstance(value, tuple):
            for part in value:
                found |= _characters(part) if isinstance(part, _parser.SubPattern) else set()
                found |= set().union(*map(_characters, part)) if isinstance(part, list) else set()
    return found


def _check_spelling(regex: str, spelled: dict[int, bytes], name: str) -> None:
    known = set().union(*spelled.values()) if spelled else set()
    missing = sorted(char for char in _characters(_parser.parse(regex)) if not set(char.encode()) <= known)
    if missing:
        raise UserError(f"{name}: the vocabulary cannot spell {' '.join(map(repr, missing))} of the regular expression")


def end_ids_of(tokenizer) -> tuple[int, ...]:
    """The ids that end a text. Only the tokenizer's own: stop ids of a generation_config must not leak in."""
    if tokenizer.eos_token_id is None:
        wrong = "the tokenizer has no end-of-sequence token; name its eos_token in tokenizer_config.json"
        raise UserError(f"{tokenizer.name_or_path}: {wrong}")
    return (tokenizer.eos_token_id,)


def build_index(regex: str, tokenizer, heads: tuple[str, ...] = ()) -> tuple[Index, dict[int, bytes], int]:
    """outlines_core's index of an expression over byte-keyed tokens. Each of `heads` is a pseudo-token, numbered from the
    third value on. UserError names the characters that the vocabulary cannot spell."""
    spelled = token_bytes(tokenizer)
    _check_spelling(regex, spelled, tokenizer.name_or_path or "tokenizer")
    first_pseudo = max(*spelled, *end_ids_of(tokenizer)) + 1
    by_bytes: dict[bytes, list[int]] = {}
    for index, content in spelled.items():
        by_bytes.setdefault(content, []).append(index)
    for rank, head in enumerate(heads):
        by_bytes.setdefault(head.encode(), []).append(first_pseudo + rank)
    try:
        return Index(regex, Vocabulary(end_ids_of(tokenizer)[0], by_bytes)), spelled, first_pseudo
    except ValueError as error:
        raise UserError(f"{tokenizer.name_or_path or 'tokenizer'}: {' '.join(str(error).split())}") from None


def compile_regex(regex: str, tokenizer, width: int) -> Automaton:
    """The automaton of an expression for logits of `width` entries. Ids the tokenizer does not have are never allowed."""
    literal = literal_beginning(regex)
    heads = tuple(literal[:length] for length in range(1, len(literal) + 1))
    index, spelled, first_pseudo = build_index(regex, tokenizer, heads)
    transitions = index.get_transitions()
    finals, ends = index.get_final_states(), set(end_ids_of(tokenizer))
    number = {state: rank for rank, state in enumerate(sorted({*transitions, *finals, index.get_initial_state()}))}
    allowed = torch.zeros(len(number), width, dtype=torch.bool)
    next_state = torch.zeros(len(number), width, dtype=torch.int32)
    done = torch.zeros(len(number), dtype=torch.bool)
    for state, targets in transitions.items():
        real = {token: number[to] for token, to in targets.items() if token < min(width, first_pseudo)}
        tokens = torch.tensor(list(real), dtype=torch.long)
        allowed[number[state], tokens] = True
        next_state[number[state], tokens] = torch.tensor(list(real.values()), dtype=torch.int32)
    for state in finals:
        goes_on = set(transitions.get(state, ())) - ends
        done[number[state]] = not any(token < first_pseudo for token in goes_on)
    first = transitions[index.get_initial_state()]
    starts = {"": number[index.get_initial_state()]}
    starts |= {head: number[first[first_pseudo + rank]] for rank, head in enumerate(heads)}
    automaton = Automaton(allowed, next_state, done, starts, _bytes_list(spelled, width), end_ids_of(tokenizer))
    return _without_dead_ends(automaton)


def _bytes_list(spelled: dict[int, bytes], width: int) -> list[bytes]:
    return [spelled.get(index, b"") for index in range(width)]


def _without_dead_ends(automaton: Automaton) -> Automaton:
    """Forbid the tokens that lead where the expression can no longer be finished."""
    ends = torch.tensor(automaton.end_ids)
    alive = automaton.done | automaton.allowed[:, ends].any(dim=1)
    while True:
        reaches = automaton.allowed & alive[automaton.next_state.long()]
        grown = alive | reaches.any(dim=1)
        if torch.equal(grown, alive):
            break
        alive = grown
    if not all(alive[state] for state in automaton.starts.values()):
        raise UserError("the vocabulary cannot spell any text that matches the regular expression")
    reaches[:, ends] |= automaton.allowed[:, ends]
    automaton.allowed.copy_(reaches)
    return automaton


def free(tokenizer, width: int, head: str) -> Automaton:
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
