"""What is decoded, and how: a dataset with its checksum, and the settings of a run."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from boxes.dataset import SUBSET, Example, read_examples
from boxes.generation import stratified_states
from boxes.records import sha256_file
from boxes.runs.folder import WHOLE
from boxes.runs.progress import Progress
from boxes.world import BASE, Wording

LOOK = "look{}-" + SUBSET  # the file of a quick look (experiments/tools/look.py): so many queries a bucket


@dataclass(frozen=True)
class Settings:
    """How a run is decoded; None leaves the default of the model's row, the device or the
    engine."""

    constrained: bool = True
    prompt_format: str | None = None
    prompt_style: str = "table2"
    max_new_tokens: int | None = None
    batch_size: int | None = None
    device: str | None = None
    dtype: str | None = None
    drafts_from: Path | None = None  # a complete run, whose statements are proposed to the model (drafting.py)
    progress: Progress | None = field(
        default=None, compare=False
    )  # told of every statement; the same for all runs of a model


@dataclass(frozen=True)
class Task:
    """What is decoded: a dataset file, its checksum, and the examples chosen from it."""

    data: Path
    checksum: str
    examples: list[Example]
    selection: str

    @property
    def wording(self) -> Wording:
        """The one that its descriptions are asked about in."""
        return self.examples[0].wording if self.examples else BASE

    @property
    def by_key(self) -> dict[tuple[int, int], Example]:
        """The examples by (sample_id, num_operations)."""
        return {(example.sample_id, example.num_operations): example for example in self.examples}


def read_task(data: Path, per_bucket: int | None = None) -> Task:
    """A dataset file, or its stratified subset with `per_bucket` queries a bucket (its draw is
    fixed)."""
    examples = read_examples(data)
    selection = WHOLE
    if per_bucket:
        num_ops = np.array([example.num_ops for example in examples])
        examples = [examples[index] for index in stratified_states(num_ops, np.random.default_rng(0), per_bucket)]
        selection = f"{per_bucket} queries a bucket"
    return Task(data, sha256_file(data), examples, selection)


def dataset_note(name: str) -> str:
    """What is said wherever results of a dataset file are shown: nothing of the evaluated subset,
    of which results are; of any other what it is."""
    if name in ("", SUBSET):
        return ""
    queries = looked_at(name)
    if queries:
        return f"Quick look at {queries} queries a bucket, not the test set: no result."
    return f"Not the test set: {name}."


def looked_at(name: str) -> str | None:
    """How many queries a bucket a quick look has; None where a file is none."""
    queries = name.removeprefix("look").partition("-")[0]
    return queries if name == LOOK.format(queries) else None
