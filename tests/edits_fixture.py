"""Good texts and good files, edited as people, programs and crashes edit them: what tests/faults/fuzz.py tries."""

import json
import re

from hypothesis import strategies as st

PHRASES = ["", ",", ".", ". ", "nothing", "the", "the car", " and the map", "Box 3 contains", ", Box 2 contains the tie",
           "Statement: ", "Remove the car from Box 0.", "Put the map into Box 1. ", "<extra_id_0>", "1", "7"]  # fmt: skip
NOISE = [" ", "\n", "\r\n", "\0", '"', "\\", "{", "}", "[" * 2000, "-", "é", "\ud800", "null", "true", "9" * 5000]


@st.composite
def rearranged(draw, parts: list[str]) -> list[str]:
    """A part dropped, doubled elsewhere, or two parts in each other's place."""
    parts, (one, other) = list(parts), draw(st.tuples(*[st.integers(0, len(parts) - 1)] * 2))
    how = draw(st.sampled_from(["swap", "double", "drop"]))
    if how == "swap":
        parts[one], parts[other] = parts[other], parts[one]
    elif how == "double":
        parts.insert(one, parts[other])
    elif len(parts) > 1:
        parts.pop(one)
    return parts


@st.composite
def edited(draw, text: str) -> str:
    """A text changed in up to three places: its clauses rearranged, words put in place of others, noise."""
    for _ in range(draw(st.integers(0, 3))):
        separator = draw(st.sampled_from([", ", ". ", " and ", None]))
        if separator:
            text = separator.join(draw(rearranged(text.split(separator))))
            continue
        places = [match.start() for match in re.finditer(r"\b", text)] or [0]
        rank = draw(st.integers(0, len(places) - 1))
        start = draw(st.just(places[rank]) | st.integers(0, len(text)))
        end = draw(st.sampled_from([start, *(place for place in places[rank + 1 : rank + 4] if place > start)]))
        piece = st.sampled_from(text.split() or [""]) | st.sampled_from(PHRASES) | st.sampled_from(NOISE)
        text = text[:start] + draw(piece | st.text(max_size=3)) + text[end:]
    return text


@st.composite
def edited_lines(draw, lines: list[str]) -> bytes:
    """A file of JSON lines: lines rearranged, their values and their text edited; then cut."""
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(lines) - 1))
        how = draw(st.sampled_from(["lines", "text", "value"]))
        if how == "lines":
            lines = draw(rearranged(lines))
        else:
            line = draw(edited(lines[place]) if how == "text" else edited_object(lines[place]))
            lines = [*lines[:place], line, *lines[place + 1 :]]
    content = "".join(lines).encode("utf-8", "surrogatepass")
    return content[: draw(st.just(len(content)) | st.just(len(content)) | st.integers(0, len(content)))]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.just(2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


@st.composite
def edited_object(draw, line: str) -> str:
    """One value of a line's object edited, or replaced by any other; the line itself where it holds no object."""
    try:
        fields = json.loads(line)
        name = draw(st.sampled_from(sorted(fields)))
    except (ValueError, TypeError, RecursionError, IndexError):
        return line
    value = fields[name]
    if isinstance(value, str):
        near = edited(value)
    elif isinstance(value, int):
        near = st.integers(-1, 1).map(value.__add__)
    else:
        near = st.just(value)
    return json.dumps(fields | {name: draw(near | json_values)}) + "\n"
