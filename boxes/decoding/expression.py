"""What is read off a regular expression: how every match begins, and the characters it tells apart."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from re import _constants as sre
from re import _parser

# They stand for characters that are not named.
_OPEN = (sre.ANY, sre.NOT_LITERAL, sre.NEGATE, sre.CATEGORY)
# In a set Rust's expressions have sets and operations on them, which Python's read as characters.
_OF_SETS = ("&&", "--", "~~")
_SINGLE = 128  # characters below are one byte in UTF-8, and that byte is no part of another


def literal_beginning(regex: str) -> str:
    """The text every match begins with: "Statement: Box 0 contains" for Figure 4."""
    literal = []
    for kind, value in _parser.parse(regex):
        if kind is not sre.LITERAL:
            break
        literal.append(chr(value))
    return "".join(literal)


@dataclass(frozen=True)
class Named:
    """The characters an expression names: one by one, and by ranges from the first to the last; `closed`: a match has
    no others."""

    alone: set[str]
    ranges: set[tuple[str, str]]
    closed: bool

    @property
    def characters(self) -> set[str]:
        """All of them."""
        return self.alone.union(*(map(chr, range(ord(first), ord(last) + 1)) for first, last in self.ranges))

    @property
    def alphabet(self) -> bytes:
        """The bytes that a match is made of."""
        return "".join(self.characters).encode() if self.closed else bytes(range(256))

    @property
    def folds(self) -> bytes:
        """256 bytes, for bytes.translate: each stands for itself or, where the expression never tells it from others
        because all its ranges have all of them, for the first of those. Texts that become the same are all matched, or none."""
        table = bytearray(range(256))
        if not self.closed:
            return bytes(table)
        firsts: dict[tuple[bool, ...], int] = {}
        for byte in range(_SINGLE):
            character = chr(byte)
            if character not in self.alone:
                inside = tuple(first <= character <= last for first, last in self.ranges)
                table[byte] = firsts.setdefault(inside, byte)
        return bytes(table)


def named(regex: str) -> Named:
    """The characters that an expression names."""
    alone, ranges, parsed = set(), set(), _parser.parse(regex)
    closed = parsed.state.flags == re.UNICODE.value  # not, say, in upper case as well
    for kind, value in _parts(parsed):
        if kind is sre.LITERAL:
            alone.add(chr(value))
        elif kind is sre.RANGE:
            ranges.add((chr(value[0]), chr(value[1])))
        elif kind in _OPEN or (kind is sre.SUBPATTERN and value[1]):  # flags of a part alone: (?i:...)
            closed = False
    closed &= "[" not in alone.union(*ranges) and not any(sign in regex for sign in _OF_SETS)
    return Named(alone, ranges, closed)


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
