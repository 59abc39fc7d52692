"""Inputs without end for what reads text that others wrote: datasets, predictions, descriptions, statements.

    PYTHONPATH=. python tests/faults/fuzz.py --seconds 60

Each input is a good one, edited, or no good one at all. It must be refused in the documented way, or accepted and mean
what an independent reading of it says. tests/faults/test_fuzz.py tries some hundred of each; this goes on as long as it is told.
"""

import json
import re
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # the fixtures of the tests

from dataset_fixture import replay_text
from edits_fixture import edited, edited_lines
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from scenarios_fixture import scenarios

from boxes.commandline import argument_parser, command, natural, positive
from boxes.dataset import read_examples, scenario_lines
from boxes.records import UserError
from boxes.runs.folder import read_predictions
from boxes.scoring import STATUSES, score_statement
from boxes.world import contents_text, describe, parse, replay, statement

SCENARIOS = scenarios(8, seed=1, operations=3)
STATES = [lines for scenario in SCENARIOS for lines in scenario_lines(scenario)]
DESCRIPTIONS = [describe(scenario.initial, scenario.operations) for scenario in SCENARIOS]
FINAL = [replay(scenario.initial, scenario.operations)[0] for scenario in SCENARIOS]
SCRATCH = tempfile.TemporaryDirectory()  # one for all inputs; gone when the process ends
ONE_LINE = 2000  # characters, at most, of an error


class Property(NamedTuple):
    """What is tried: a strategy, and a check that tells whether the input was accepted, or fails."""

    inputs: st.SearchStrategy
    check: Callable[..., bool]


def refused(error: Exception, begins: str = "") -> bool:
    """False: not accepted. Fails for an error of more than a line, or that does not begin with what it is about."""
    said = str(error)
    assert re.match(begins, said), said
    assert "\n" not in said
    assert len(said) < ONE_LINE, said
    return False


def where(path: Path) -> str:
    """How an error about a file begins."""
    return rf"{re.escape(str(path))}: (line \d+: |empty; )"


# --- datasets ---


def check_dataset(content: bytes) -> bool:
    """What is accepted is a whole number of states that say what an independent reading of their text says."""
    path = Path(SCRATCH.name) / "data.jsonl"
    path.write_bytes(content)
    try:
        examples = read_examples(path)
    except UserError as error:
        return refused(error, where(path))
    queries = [json.loads(line) for line in content.decode("utf-8-sig").strip("\n").split("\n")]
    assert len(queries) == 7 * len(examples)
    assert len({(example.sample_id, example.num_operations) for example in examples}) == len(examples)
    for place, example in enumerate(examples):
        for box, (objects, by_kind) in enumerate(replay_text(example.description)):
            truth = " and ".join(f"the {noun}" for noun in sorted(objects)) or "nothing"
            query, count = queries[7 * place + box], sum(by_kind.values())
            assert (example.contents[box], example.num_ops[box], example.sample_id) == (
                truth,
                count,
                query["sample_id"],
            )
            assert query["sentence"] == f"{example.description} Box {box} contains {truth}."
            assert query["sentence_masked"] == f"{example.description} Box {box} contains <extra_id_0> ."
            assert (query["masked_content"], query["numops"]) == (f"<extra_id_0> {truth}", count)
            assert sum(query["numops_by_op"].values()) == count
    return True


some_states = st.lists(st.sampled_from(STATES), min_size=1, max_size=3).map(lambda states: list(chain(*states)))
datasets = some_states.flatmap(edited_lines) | st.binary(max_size=300)


# --- predictions ---


def predictions_of(number: int) -> list[str]:
    """The lines of a run over the first descriptions."""
    return [
        json.dumps({"sample_id": index, "num_operations": 3, "input": DESCRIPTIONS[index], "status": "ok",
                    "prediction": statement(FINAL[index]), "tokens": [index]}) + "\n"
        for index in range(number)
    ]  # fmt: skip


def known_examples() -> dict:
    """The examples that predictions can belong to, by sample and number of operations."""
    path = Path(SCRATCH.name) / "data.jsonl"
    path.write_text("".join(chain(*STATES)))
    return {(example.sample_id, example.num_operations): example for example in read_examples(path)}


EXAMPLES = known_examples()


def check_predictions(content: bytes) -> bool:
    """What is accepted is a text for descriptions of this dataset, one for each whole line."""
    path = Path(SCRATCH.name) / "predictions.jsonl"
    path.write_bytes(content)
    try:
        found = read_predictions(path, EXAMPLES)
    except UserError as error:
        return refused(error, where(path))
    assert len(found) == content.count(b"\n")
    for key, line in found.items():
        assert (line["sample_id"], line["num_operations"], line["input"]) == (*key, EXAMPLES[key].description)
        assert line["status"] in STATUSES
        assert len(score_statement(line["prediction"], EXAMPLES[key].contents, line["status"])) == 7
    return True


predictions = st.integers(1, 5).map(predictions_of).flatmap(edited_lines) | st.binary(max_size=300)


# --- descriptions ---


def check_description(text: str) -> bool:
    """What is accepted is the one spelling of what was read, and possible from the first operation to the last."""
    try:
        initial, operations = parse(text)
        state, counts = replay(initial, operations)
    except ValueError as error:
        return refused(error)
    assert describe(initial, operations) == text
    assert [(set(objects), count) for objects, count in zip(state, counts, strict=True)] == [
        (objects, sum(by_kind.values())) for objects, by_kind in replay_text(text)
    ]
    return True


descriptions = st.sampled_from(DESCRIPTIONS).flatmap(edited) | st.text()


# --- statements ---


def strictly_right(text: str, box: int, truth: str) -> bool:
    """Read by eye: before the first period the box is named once as a clause, and what follows is the truth."""
    text = text.split(".")[0]
    named = list(re.finditer(rf"(?:, |^\s*(?:Statement:\s*)?)Box {box} contains", text))
    if len(named) != 1:
        return False
    said = re.split(r", Box [0-6]|,\s*$|, B?o?x?\s*$", text[named[0].end() :])[0].split()
    words = [word for word in said if word not in ("the", "and")]
    return set(words) == set(truth.replace("the ", "").split(" and "))


def check_statement(case: tuple[str, list[str], str]) -> bool:
    """No text raises, none is right that does not say so, and what stands behind the first period changes nothing."""
    text, gold, status = case
    scored = score_statement(text, gold, status)
    assert [type(right) for right in scored] == [bool] * 7
    for box, right in enumerate(scored):
        assert not right or strictly_right(text, box, gold[box]), (box, text)
    if "." in text:
        assert score_statement(f"{text} Box 0 contains {gold[0]}, Box 1 contains {gold[1]}.", gold, status) == scored
    if status == "truncated":
        assert sum(scored) <= sum(score_statement(text, gold)) + 1  # the clause before a cut head, if anything
    return any(scored)


fragments = st.one_of(
    st.sampled_from(["Statement: ", "Box 0 contains", " the car", " car", " and", " the map", " nothing", *".,\n "]),
    st.integers(0, 8).map(", Box {} contains".format),
    st.integers(0, 8).map("Box {} contains".format),
    st.text(max_size=4),
)
texts = st.text() | st.lists(fragments, max_size=40).map("".join)
short = st.lists(st.sampled_from(["nothing", "the car", "the car and the map"]), min_size=7, max_size=7)
statements = st.tuples(texts, short, st.sampled_from(STATUSES)) | st.sampled_from(FINAL).flatmap(
    lambda state: st.tuples(
        edited(statement(state)), st.just([contents_text(objects) for objects in state]), st.sampled_from(STATUSES)
    )
)

PROPERTIES = {
    "dataset": Property(datasets, check_dataset),
    "prediction": Property(predictions, check_predictions),
    "description": Property(descriptions, check_description),
    "statement": Property(statements, check_statement),
}


def attempt(name: str, count: int, start: int) -> tuple[int, int]:
    """Try about `count` inputs from a seed: how many there were, and how many were accepted."""
    tried = []
    quiet = settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))

    @seed(start)
    @quiet
    @given(PROPERTIES[name].inputs)
    def holds(value):
        tried.append(False)
        tried[-1] = PROPERTIES[name].check(value)

    holds()
    return len(tried), sum(tried)


@command
def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument(
        "--seconds", type=positive, default=60, help="how long, for all together (default: %(default)s)"
    )
    parser.add_argument("--seed", type=natural, default=int(time.time()), help="where to start (default: the time)")
    arguments = parser.parse_args()
    for rank, name in enumerate(PROPERTIES, 1):
        end = time.monotonic() + arguments.seconds / len(PROPERTIES)
        inputs = accepted = batch = 0
        while not batch or time.monotonic() < end:
            try:
                found = attempt(name, 100, arguments.seed + batch)
            except BaseException:
                print(f"{name}: --seed {arguments.seed + batch} leads to what follows", file=sys.stderr)
                raise
            inputs, accepted, batch = inputs + found[0], accepted + found[1], batch + 1
        print(
            f"{name} ({rank} of {len(PROPERTIES)}): {inputs} inputs, {accepted} accepted, {inputs - accepted} refused"
        )


if __name__ == "__main__":
    main()
