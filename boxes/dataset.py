"""The files of the public release (Kim & Schuster 2023): writing ours in its schema, reading either, checksums, its zip.

One JSON object a query, the seven queries of a state on consecutive lines in box order:
`sentence`, `sentence_masked`, `masked_content`, `sample_id`, `numops`, `numops_by_op`.
"""

import json
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from boxes import world
from boxes.generation import SPLITS, Scenario, generate, stratified_states
from boxes.records import UserError, sha256_file, write_bytes
from boxes.world import NUM_BOXES

MASK = "<extra_id_0>"
SUBSET = "test-subsample-states-t5.jsonl"
FILES = (*(f"{split}-t5.jsonl" for split in SPLITS), SUBSET)
RELEASE_FOLDER = "few_shot_boxes_nso_exp2_max3"
RELEASE_PASSWORD = b"iamnotaLM"  # published by the authors beside the zip; it keeps the text out of training corpora
FIELDS = {
    "sentence": str,
    "sentence_masked": str,
    "masked_content": str,
    "sample_id": int,
    "numops": int,
    "numops_by_op": dict,
}


@dataclass(frozen=True)
class Example:
    """A description and what is true of it: `contents` as text a box ("the car and the map" | "nothing"), `num_ops` a box.

    (sample_id, num_operations) identifies it within a file.
    """

    sample_id: int
    num_operations: int
    description: str
    contents: tuple[str, ...]
    num_ops: tuple[int, ...]


def _scenario_lines(scenario: Scenario) -> Iterator[list[str]]:
    """The seven lines of each state of a scenario."""
    sentences = [world.clauses(scenario.initial), *map(world.sentence, scenario.operations)]
    for number, state, counts in scenario.states():
        description = " ".join(sentences[: number + 1])
        lines = []
        for box, (objects, by_kind) in enumerate(zip(state, counts, strict=True)):
            contents = world.contents_text(objects)
            query = {
                "sentence": f"{description} Box {box} contains {contents}.",
                "sentence_masked": f"{description} Box {box} contains {MASK} .",
                "masked_content": f"{MASK} {contents}",
                "sample_id": scenario.sample_id,
                "numops": sum(by_kind),
                "numops_by_op": dict(zip(("move", "remove", "put"), by_kind, strict=True)),
            }
            lines.append(json.dumps(query) + "\n")
        yield lines


def write_generated(folder: Path | str, seed: int) -> None:
    """Generate the four files of FILES from a seed, each written whole or not at all."""
    try:
        splits = generate(seed)
    except ValueError as error:
        raise UserError(f"seed {seed}: {error}") from None
    for split, scenarios in splits.items():
        _write_states(Path(folder) / f"{split}-t5.jsonl", scenarios)
    num_ops = [
        [sum(by_kind) for by_kind in counts] for scenario in splits["test"] for _, _, counts in scenario.states()
    ]
    kept = stratified_states(np.array(num_ops), np.random.default_rng([seed, 2]))
    _write_states(Path(folder) / SUBSET, splits["test"], set(kept.tolist()))


def _write_states(path: Path, scenarios: list[Scenario], kept: set[int] | None = None) -> None:
    """Write the states of scenarios, or those of them whose index is in `kept`, without holding the text in memory."""
    states = enumerate(lines for scenario in scenarios for lines in _scenario_lines(scenario))
    write_bytes(path, ("".join(lines).encode() for index, lines in states if kept is None or index in kept))


def unpack_release(archive: Path | str, folder: Path | str) -> None:
    """Take the four files of FILES out of the release's password-protected zip instead of generating them."""
    try:
        with zipfile.ZipFile(archive) as release:
            members = {Path(name).name: name for name in release.namelist() if Path(name).parent.name == RELEASE_FOLDER}
            missing = [name for name in FILES if name not in members]
            if missing:
                raise UserError(f"{archive}: no {RELEASE_FOLDER}/{missing[0]} inside; is this boxes-dataset-v1.zip?")
            contents = {name: release.read(members[name], pwd=RELEASE_PASSWORD) for name in FILES}
    except FileNotFoundError:
        raise UserError(f"{archive}: no such file; name the release's zip with RELEASE_ZIP=...") from None
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{archive}: not a readable zip ({error}); download it again") from None
    except RuntimeError as error:  # what zipfile raises for a wrong password
        raise UserError(f"{archive}: {error}; this is not the release of the boxes task") from None
    for name, content in contents.items():
        write_bytes(Path(folder) / name, content)


def _read_query(path: Path, number: int, line: bytes) -> dict:
    try:
        query = json.loads(line)
    except ValueError:
        raise UserError(
            f"{path}: line {number}: not JSON, or a line cut short; make the data again (make data)"
        ) from None
    if not isinstance(query, dict):
        raise UserError(f"{path}: line {number}: expected a JSON object, found {type(query).__name__}")
    for field, kind in FIELDS.items():
        if not isinstance(query.get(field), kind) or isinstance(query[field], bool):
            raise UserError(f"{path}: line {number}: field {field!r} must be of type {kind.__name__}")
    return query


def _check_query(query: dict, box: int) -> tuple[str, str]:
    """The description and the gold contents of a query. ValueError says what contradicts what."""
    tail = f" Box {box} contains {MASK} ."
    if not query["sentence_masked"].endswith(tail):
        raise ValueError(
            f"sentence_masked must end in {tail.strip()!r}: a state has the queries of Box 0 to Box 6 in order"
        )
    description = query["sentence_masked"].removesuffix(tail)
    contents = query["masked_content"].removeprefix(f"{MASK} ")
    if query["sentence"] != f"{description} Box {box} contains {contents}.":
        raise ValueError("sentence, sentence_masked and masked_content do not belong together")
    world.parse_contents(contents)
    return description, contents


def _example(queries: list[dict]) -> tuple[int, Example | str]:
    """The example of seven queries, or (which query is wrong, why)."""
    description, contents = "", []
    for box, query in enumerate(queries):
        try:
            text, content = _check_query(query, box)
            if box and (text, query["sample_id"]) != (description, queries[0]["sample_id"]):
                raise ValueError(f"a state needs seven queries, this one has {box}")
            description = text
            contents.append(content)
        except ValueError as error:
            return box, str(error)
    try:
        _, operations = world.parse(description)
        held = [noun for content in contents for noun in world.parse_contents(content)]
        twice = [noun for noun in held if held.count(noun) > 1]
        if twice:
            raise ValueError(f"the {twice[0]} is in two boxes")
    except ValueError as error:
        return 0, str(error)
    counts = tuple(query["numops"] for query in queries)
    return 0, Example(queries[0]["sample_id"], len(operations), description, tuple(contents), counts)


def read_examples(path: Path | str) -> list[Example]:
    """The states of a file of the schema, in order. UserError names the file and the line of whatever is wrong."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such file; `make data` writes it")
    examples, queries = [], []
    number = 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            queries.append(_read_query(path, number, line))
            if len(queries) == NUM_BOXES:
                box, example = _example(queries)
                if isinstance(example, str):
                    raise UserError(f"{path}: line {number - NUM_BOXES + 1 + box}: {example}")
                examples.append(example)
                queries = []
    if queries:
        raise UserError(f"{path}: line {number}: a state needs seven queries, the last one has {len(queries)}")
    return examples


def checksum_lines(folder: Path | str) -> str:
    """The SHA-256 of the four files, in the format of sha256sum."""
    return "".join(f"{sha256_file(Path(folder) / name)}  {name}\n" for name in FILES)


def verify_checksums(folder: Path | str, checksums: Path | str) -> None:
    """UserError names the first of the four files whose bytes are not those of the committed checksums."""
    if not Path(checksums).exists():
        raise UserError(f"{checksums}: no such file of checksums")
    for line in Path(checksums).read_text().splitlines():
        digest, name = line.split("  ")
        if sha256_file(Path(folder) / name) != digest:
            raise UserError(
                f"{Path(folder) / name}: not the bytes of {checksums}; was SEED changed, or another numpy used?"
            )
