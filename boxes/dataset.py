"""The files of the public release (Kim & Schuster 2023): writing ours in its schema, reading
either, its zip.

One JSON object a query, the seven queries of a state on consecutive lines in box order:
`sentence`, `sentence_masked`, `masked_content`, `sample_id`, `numops`, `numops_by_op`.
"""

import json
import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath

import numpy as np

from boxes import world
from boxes.generation import SPLITS, Scenario, generate, stratified_states
from boxes.records import UserError, parse_object, read_lines, unreadable, write_bytes
from boxes.world import BASE, NUM_BOXES, WORDINGS, Wording, shown

MASK = "<extra_id_0>"
SUBSET = "test-subsample-states-t5.jsonl"
FILES = (*(f"{split}-t5.jsonl" for split in SPLITS), SUBSET)
RELEASE_FOLDER = "few_shot_boxes_nso_exp2_max3"
# Published by the authors beside the zip; it keeps the text out of training corpora.
RELEASE_PASSWORD = b"iamnotaLM"
FIELDS = {"sentence": str, "sentence_masked": str, "masked_content": str, "sample_id": int,
          "numops": int, "numops_by_op": dict}  # fmt: skip
KINDS = ("move", "remove", "put")  # the keys of numops_by_op
MAX_MEMBER = 1 << 28  # bytes; the largest of the release's files has 108 million
_PIECE = 1 << 20  # bytes
_BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error)
_WHICH = "name the authors' boxes-dataset-v1.zip with RELEASE_ZIP=..."
_MEND = "correct it, or make the data again (make data)"
_ORDER = "a state has the queries of Box 0 to Box 6 in order"


@dataclass(frozen=True)
class Example:
    """A description and what is true of it: `contents` as text a box ("the car and the map" |
    "nothing", whatever the wording), `num_ops` a box.

    (sample_id, num_operations) identifies it within a file.
    """

    sample_id: int
    num_operations: int
    description: str
    contents: tuple[str, ...]
    num_ops: tuple[int, ...]
    wording: Wording = BASE  # the words that are asked and answered in; one a file


def scenario_lines(scenario: Scenario, wording: Wording = BASE) -> Iterator[list[str]]:
    """The seven lines of each state of a scenario."""
    sentences = world.sentences(scenario.initial, scenario.operations, wording)
    for number, state, counts in scenario.states():
        description = " ".join(sentences[: number + 1])
        lines = []
        for box, (objects, by_kind) in enumerate(zip(state, counts, strict=True)):
            query = _texts(description, box, world.contents_text(objects), wording) | {
                "sample_id": scenario.sample_id,
                "numops": sum(by_kind),
                "numops_by_op": dict(zip(KINDS, by_kind, strict=True)),
            }
            lines.append(json.dumps(query) + "\n")
        yield lines


def _texts(description: str, box: int, contents: str, wording: Wording) -> dict[str, str]:
    """The texts of a query about a box."""
    asked, clause = wording.asked(box), wording.swap(f"Box {box} contains {contents}")
    return {
        "sentence": f"{description} {clause}.",
        "sentence_masked": description + _tail(box, wording),
        "masked_content": f"{MASK} {clause.removeprefix(f'{asked} ')}",
    }


def _tail(box: int, wording: Wording) -> str:
    return f" {wording.asked(box)} {MASK} ."


def write_generated(folder: Path | str, seed: int) -> None:
    """Generate the four files of FILES from a seed, each written whole or not at all."""
    try:
        splits = generate(seed)
    except ValueError as error:
        raise UserError(f"seed {seed}: {error}") from None
    for split, scenarios in splits.items():
        write_states(Path(folder) / f"{split}-t5.jsonl", scenarios)
    changes = []
    for scenario in splits["test"]:
        changes += [counts for _, _, counts in scenario.states()]
    num_ops = np.array(changes).sum(axis=2)
    kept = stratified_states(num_ops, np.random.default_rng([seed, 2]))
    write_states(Path(folder) / SUBSET, splits["test"], set(kept.tolist()))


def write_states(path: Path, scenarios: list[Scenario], kept: set[int] | None = None, wording: Wording = BASE) -> None:
    """Write the states of scenarios, or those whose index is in `kept`, one by one."""

    def pieces() -> Iterator[bytes]:
        states = chain.from_iterable(scenario_lines(scenario, wording) for scenario in scenarios)
        for index, lines in enumerate(states):
            if kept is None or index in kept:
                yield "".join(lines).encode()

    write_bytes(path, pieces())


def unpack_release(archive: Path | str, folder: Path | str) -> None:
    """Take the four files of FILES out of the release's password-protected zip instead of
    generating them.

    All are read before the first is written. Other members are not touched, and no name in the zip
    is used as a path.
    """
    try:
        with zipfile.ZipFile(archive) as release:
            contents = {name: _read_member(release, _member(release, name)) for name in FILES}
    except FileNotFoundError:
        mend = "name the release's zip with RELEASE_ZIP=..."
        raise UserError(f"{archive}: no such file; {mend}") from None
    except RuntimeError as error:  # zipfile's for a wrong password or another encryption
        raise UserError(f"{archive}: {error}; {_WHICH}") from None
    except (PermissionError, IsADirectoryError) as error:
        raise unreadable(archive, error) from None
    except (*_BROKEN_ZIP, OSError, EOFError, ValueError, IndexError) as error:
        raise UserError(f"{archive}: not a readable zip ({error}); download it again") from None
    for name, content in contents.items():
        write_bytes(Path(folder) / name, content)


def _member(release: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """The one plain file of a name in RELEASE_FOLDER, at whatever depth; else a UserError."""
    found = []
    for info in release.infolist():
        if PurePosixPath(info.filename).parts[-2:] == (RELEASE_FOLDER, name):
            found.append(info)
    wrong = f"no {RELEASE_FOLDER}/{name} inside"
    if found:
        wrong = _wrong(found)
    if wrong:
        raise UserError(f"{release.filename}: {wrong}; {_WHICH}")
    return found[0]


def _wrong(found: list[zipfile.ZipInfo]) -> str | None:
    """Why the members of one name are not one file that can be read; None where they are."""
    info, *more = found
    name = repr(info.filename)
    if any((other.CRC, other.file_size) != (info.CRC, info.file_size) for other in more):
        return f"{name} and {more[0].filename!r} differ"
    if info.filename.startswith("/") or ".." in PurePosixPath(info.filename).parts:
        return f"{name} leads out of the folder it is unpacked into"
    if info.is_dir() or stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        return f"{name} is no plain file"
    if info.file_size > MAX_MEMBER:
        return f"{name} would unpack to {info.file_size} bytes, more than {MAX_MEMBER}"
    return None


def _read_member(release: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """The bytes of a member, piece by piece: a false size in the zip cannot make one step unpack
    more than a piece."""
    with release.open(info, pwd=RELEASE_PASSWORD) as member:
        return b"".join(iter(lambda: member.read(_PIECE), b""))


def _query(line: bytes) -> dict:
    """The fields of a line. ValueError names the one that is lacking or of another type."""
    query = parse_object(line)
    if not FIELDS.keys() & query.keys():
        raise ValueError(f"neither a 'description' nor the release's {', '.join(map(repr, FIELDS))}")
    for field, kind in FIELDS.items():
        if type(query.get(field)) is not kind:  # no subtype: true is no number of operations
            raise ValueError(f"field {field!r} must be of type {kind.__name__}")
    if not 0 <= query["sample_id"] < 2**63:
        raise ValueError("field 'sample_id' must lie between 0 and 2**63")
    return query


def _example(query: dict) -> Example:
    """What must be true of a state, from the description in its first query alone. ValueError says
    why there is none."""
    masked = query["sentence_masked"]
    for wording in WORDINGS.values():
        if masked.endswith(_tail(0, wording)):
            return example_of(masked.removesuffix(_tail(0, wording)), query["sample_id"], wording)
    raise ValueError(f"sentence_masked must end in {_tail(0, BASE).strip()!r}: {_ORDER}")


def example_of(description: str, sample_id: int = 0, asked_in: Wording | None = None) -> Example:
    """What is true of a description: it is read and its operations are replayed. `asked_in`: whose
    queries are asked about it, for a few descriptions are the same in several wordings. ValueError
    says what in it cannot be read or cannot be."""
    wording = world.wording_of(description)
    if asked_in and asked_in.asked(0) != wording.asked(0):
        wording = asked_in
    initial, operations = world.parse(description, wording)
    state, counts = world.replay(initial, operations)
    contents = tuple(map(world.contents_text, state))
    return Example(sample_id, len(operations), description, contents, counts, wording)


def examples_of(descriptions: Iterable[str], where: str = "description") -> list[Example]:
    """The examples of descriptions without gold, in their order. Those that go on from one another
    (one beginning, operations added) are states of one scenario and share a sample_id, by which
    intervals take what is independent. UserError counts descriptions from 1, behind `where`."""
    if isinstance(descriptions, str):
        raise UserError("one text, whose letters are no descriptions; give a list")
    found: list[Example] = []
    numbers: dict[str, int] = {}  # description -> its place
    scenarios: dict[str, list[tuple[int, str]]] = {}  # beginning -> (sample_id, longest description)
    count = 0
    for number, description in enumerate(descriptions, 1):
        try:
            if not isinstance(description, str):
                raise ValueError(f"{shown(description)} is no text")
            if numbers.setdefault(description, number) != number:
                raise ValueError(f"the same as in {numbers[description]}")
            known = scenarios.setdefault(description.partition(".")[0], [])
            sample_id = _goes_on_from(description, known, count)
            found.append(example_of(description, sample_id))
            count = max(count, sample_id + 1)
        except ValueError as error:
            raise UserError(f"{where} {number}: {error}; correct it or leave it out") from None
    return _in_one_wording(found, where)


def _in_one_wording(examples: list[Example], where: str) -> list[Example]:
    """Descriptions without gold, all asked about in the words of those that show theirs."""
    wordings = {example.wording.asked(0): example.wording for example in examples}
    if len(wordings) < 2:
        return examples
    asked_in, *_ = (wording for wording in wordings.values() if wording is not BASE)
    same = []
    for number, example in enumerate(examples, 1):
        try:
            same.append(example_of(example.description, example.sample_id, asked_in))
        except ValueError as error:
            wrong = f"not in the wording of others ({asked_in.name}): {error}"
            raise UserError(f"{where} {number}: {wrong}; a dataset has one wording") from None
    return same


def _goes_on_from(description: str, known: list[tuple[int, str]], new: int) -> int:
    """The sample_id of the scenario in `known` that a description is a state of, or a `new` one; it
    is put down there."""
    for place, (sample_id, longest) in enumerate(known):
        if description.startswith(f"{longest} ") or longest.startswith(f"{description} "):
            known[place] = (sample_id, max(description, longest, key=len))
            return sample_id
    known.append((new, description))
    return new


def _check_query(query: dict, box: int, example: Example) -> None:
    """ValueError where a query is not the one about this box of the state, or says another thing
    than the description."""
    description, contents = example.description, example.contents[box]
    tail, texts = _tail(box, example.wording), _texts(description, box, contents, example.wording)
    if not query["sentence_masked"].endswith(tail):
        raise ValueError(f"sentence_masked must end in {tail.strip()!r}: {_ORDER}")
    same_state = query["sample_id"] == example.sample_id
    if not same_state or query["sentence_masked"] != texts["sentence_masked"]:
        raise ValueError(f"a state needs seven queries, this one has {box}")
    if query["masked_content"] != texts["masked_content"]:
        truth = f"{texts['masked_content']!r}, which follows from the description"
        raise ValueError(f"masked_content must be {truth}")
    if query["sentence"] != texts["sentence"]:
        raise ValueError("sentence must be sentence_masked with masked_content in it")
    count = example.num_ops[box]
    if query["numops"] != count:
        raise ValueError(f"numops must be {count}, the operations that changed Box {box}")
    by_kind = query["numops_by_op"]
    if set(by_kind) != set(KINDS) or any(type(n) is not int for n in by_kind.values()):
        raise ValueError(f"numops_by_op must count {', '.join(KINDS)}")
    if sum(by_kind.values()) != count:
        raise ValueError(f"numops_by_op must add up to numops, {count}")


def read_examples(path: Path | str) -> list[Example]:
    """The states of a file of the schema, in order, each line held against what its description
    says; or those of a file of descriptions alone ({"description": ...} a line), whose gold is
    replayed.

    UserError names the file, the line and whatever is wrong. A line may end as on Windows.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such file; `make data` writes it")
    if _has_descriptions(path):
        return examples_of(_descriptions(path), f"{path}: line")
    examples: list[Example] = []
    first: dict[tuple[int, int], int] = {}
    number = 0
    for number, line in read_lines(path, _MEND):
        box = (number - 1) % NUM_BOXES
        try:
            query = _query(line)
            if box == 0:
                examples.append(_example(query))
                key = (examples[-1].sample_id, examples[-1].num_operations)
                if first.setdefault(key, number) != number:
                    again = f"sample {key[0]} after {key[1]} operations a second time"
                    raise ValueError(f"{again}, as in line {first[key]}")
            _check_query(query, box, examples[-1])
        except ValueError as error:
            raise UserError(f"{path}: line {number}: {error}; {_MEND}") from None
    if not examples:
        raise UserError(f"{path}: empty; {_MEND}")
    rest = number % NUM_BOXES
    if rest:
        wrong = f"a state needs seven queries, the last one has {rest}"
        raise UserError(f"{path}: line {number}: {wrong}; {_MEND}")
    return examples


def _has_descriptions(path: Path) -> bool:
    """Whether the first line of a file is a description without gold."""
    _, line = next(read_lines(path, _MEND), (0, b""))
    try:
        query = parse_object(line)
    except ValueError:  # read_examples says so
        return False
    return "description" in query and "sentence_masked" not in query


def _descriptions(path: Path) -> Iterator[str]:
    """The descriptions of a file that has no more than these."""
    for number, line in read_lines(path, _MEND):
        try:
            query = parse_object(line)
            if type(query.get("description")) is not str:
                raise ValueError("field 'description' must be of type str")
            if "sample_id" in query:
                raise ValueError("field 'sample_id' is not read: descriptions are numbered here")
        except ValueError as error:
            raise UserError(f"{path}: line {number}: {error}; correct it or leave it out") from None
        yield query["description"]
