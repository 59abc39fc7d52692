"""Descriptions, prompts and small dataset files, sampled on the spot from a seed."""

from pathlib import Path

import numpy as np

from boxes.dataset import write_states
from boxes.generation import Scenario, sample_operations, sample_state
from boxes.prompting import PromptSettings, prompt_maker
from boxes.world import State, describe, replay


def scenarios(count: int, seed: int = 0, operations: int = 5) -> list[Scenario]:
    """Sampled scenarios, numbered from 0."""
    found = []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        state = sample_state(rng)
        found.append(Scenario(index, state, sample_operations(rng, state, operations)))
    return found


def descriptions(count: int, seed: int = 0) -> list[str]:
    """Descriptions with 0, 1, ..., 7, 0, ... operations, so that prompts differ in length."""
    return [describe(s.initial, s.operations[: s.sample_id % 8]) for s in scenarios(count, seed, 7)]


def final_states(count: int, seed: int = 0) -> list[State]:
    """States behind a few operations, empty and full boxes among them."""
    return [replay(s.initial, s.operations)[0] for s in scenarios(count, seed)]


def prompts(count: int, tokenizer=None, seed: int = 0, **settings) -> list[str]:
    """Prompts of sampled descriptions; the settings are those of PromptSettings."""
    return [prompt_maker(PromptSettings(**settings), tokenizer)(text) for text in descriptions(count, seed)]


def write_dataset(path: Path, count: int = 2, operations: int = 2, seed: int = 0) -> Path:
    """A dataset file of `count` scenarios, each with the states after 0, 1, ... operations."""
    write_states(path, scenarios(count, seed, operations))
    return path
