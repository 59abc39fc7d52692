"""What the tiny models read: the boxes task in plain and chat format, programs that move items,
arithmetic.

A document is a list of (text, weight): the weight of its tokens in the loss, high where the text
can be known from what stands before it. All scenarios have initial states whose signature lies in
the train split: no test scenario is ever seen.
"""

from collections.abc import Callable

import numpy as np

from boxes.generation import Signature, sample_operations, sample_state, signature
from boxes.prompting import INSTRUCTION, chat_messages
from boxes.world import NUM_BOXES, Move, Remove, State, clauses, describe, replay

ANSWER, REST = 1.0, 0.1
PASSED_OVER = 0.25  # of the plain documents: they pass over the boxes that hold nothing
Document = list[tuple[str, float]]
# A description and its true statement's clauses.
Draw = Callable[[np.random.Generator], tuple[str, str]]


def scenario_source(train_signatures: set[Signature], weights: np.ndarray) -> Draw:
    """Draws (description, true clauses) with k operations with probability weights[k], from train
    signatures alone."""

    def draw(rng: np.random.Generator) -> tuple[str, str]:
        state = _train_state(rng, train_signatures)
        operations = sample_operations(rng, state, int(rng.choice(len(weights), p=weights)))
        return describe(state, operations), clauses(replay(state, operations)[0])

    return draw


def _train_state(rng: np.random.Generator, train_signatures: set[Signature]) -> State:
    while True:
        state = sample_state(rng)
        if signature(state) in train_signatures:
            return state


def plain_document(rng: np.random.Generator, draw: Draw, count: int) -> Document:
    """`count` descriptions, each with its statement, in the format of Table 2 without its two
    examples.

    Some documents name only the boxes that hold something. So the format is not certain to a model
    that read them, as it is not to a pretrained one: decoded freely, some statements are malformed.
    """
    document: Document = [(f"{INSTRUCTION}\n\n", REST)]
    passed_over = rng.random() < PASSED_OVER
    for _ in range(count):
        description, answer = draw(rng)
        if passed_over:
            answer = without_empty(answer)
        document += [(f"Description: {description}\nStatement:", REST), (f" {answer}\n\n", ANSWER)]
    return document


def without_empty(answer: str) -> str:
    """The clauses of the boxes that hold something; all of them where none does."""
    stated = [clause for clause in answer.removesuffix(".").split(", ") if not clause.endswith(" nothing")]
    return f"{', '.join(stated)}." if stated else answer


def chat_document(rng: np.random.Generator, draw: Draw, tokenizer, count: int) -> Document:
    """`count` descriptions, each with its statement, as turns in the chat format of Table 5."""
    messages: list[dict[str, str]] = []
    document: Document = []
    written = tokenizer.bos_token
    for _ in range(count):
        description, answer = draw(rng)
        turns = chat_messages(description)
        messages += turns[-1:] if messages else turns
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        document.append((text.removeprefix(written), REST))
        document.append((f"Statement: {answer}{tokenizer.eos_token}", ANSWER))
        messages.append({"role": "assistant", "content": f"Statement: {answer}"})
        written = text + document[-1][0]
    return document


def code_document(rng: np.random.Generator, train_signatures: set[Signature]) -> Document:
    """A program that fills lists, moves items between them and prints them, followed by what it
    prints."""
    state = _train_state(rng, train_signatures)
    operations = sample_operations(rng, state, int(rng.integers(0, 7)))
    lines = [f"b{box} = {list(objects)}" for box, objects in enumerate(state)]
    for operation in operations:
        for noun in operation.objects:
            if isinstance(operation, Move):
                lines.append(f"b{operation.source}.remove('{noun}')")
                lines.append(f"b{operation.target}.append('{noun}')")
            elif isinstance(operation, Remove):
                lines.append(f"b{operation.box}.remove('{noun}')")
            else:
                lines.append(f"b{operation.box}.append('{noun}')")
    final = replay(state, operations)[0]
    document: Document = [("\n".join(lines) + "\n", REST)]
    for box in range(NUM_BOXES):
        document += [(f"print(sorted(b{box}))\n", REST), (f"{list(final[box])}\n", ANSWER)]
    return [*document, ("\n", REST)]


def math_document(rng: np.random.Generator) -> Document:
    """A dozen sums, differences and products with their results."""
    document: Document = []
    for _ in range(12):
        a, b = (int(value) for value in rng.integers(0, 10 ** rng.integers(1, 5, 2)))
        symbol, result = (("+", a + b), ("-", a - b), ("*", a * (b % 10)))[int(rng.integers(3))]
        if symbol == "*":
            b %= 10
        document += [(f"{a} {symbol} {b} =", REST), (f" {result}\n", ANSWER)]
    return [*document, ("\n", REST)]
