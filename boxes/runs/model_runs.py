"""All runs of one model, made in one process while the model is loaded."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from boxes import models
from boxes.models import Checkpoint, WeightsMissing, find
from boxes.models.table import ModelSpec, spec_of
from boxes.prompting import PROMPT_FORMATS
from boxes.records import UserError
from boxes.runs.decode import decode_run
from boxes.runs.devices import Place
from boxes.runs.log import logged
from boxes.runs.plan import PlannedRun, compares_formats, dev_runs, free_run, own_run
from boxes.runs.progress import Progress
from boxes.runs.prompt_choice import CHOSEN, accuracies_of, best_format, dev_answers
from boxes.runs.task import Settings, Task


@dataclass(frozen=True)
class ModelRuns:
    """A model and what is decoded with it. `dev`: the development set; without it only the model's
    own run is made."""

    name: str  # of a row, or the folder of a local checkpoint
    folder: Path
    task: Task
    dev: Task | None
    settings: Settings

    @property
    def lock(self) -> Path:
        """The file that the process which decodes this model has locked."""
        return self.folder.with_name(f".{self.folder.name}.lock")

    @property
    def log(self) -> Path:
        """The file that what is said of its runs goes to."""
        return self.folder.with_name("logs") / f"{self.folder.name}.log"

    def run(self, place: Place) -> None:
        """Decode on what the process has to itself; what is said goes to the log, too."""
        with logged(self.log):
            decode_model(replace(self, settings=replace(self.settings, device=place.device)))


def decode_model(model: ModelRuns) -> None:
    """Make what is missing of a model's runs; those beside its own only where that is complete.
    UserError where there is no development set to choose a prompt format on."""
    found, spec = find_or_row(model.name)
    load_once = functools.cache(load_quietly)
    own = own_run(model.folder, model.task, model.settings)
    beside = free_run(spec, own) + dev_runs(spec, own, model.dev) if model.dev else []
    statements = sum(len(run.task.examples) for run in [own, *beside])
    own = with_settings(own, progress=Progress(model.name, statements))
    if asks_to_choose(spec, model.settings):
        best = chosen_format(found, own, model.dev, load_once)
        own = with_settings(own, prompt_format=best)
    made = decode_run(found, own.task, own.folder, own.settings, load_once)
    if made["status"] != "complete":
        return
    print(
        f"{made['model']}: {made['examples']} statements, {made['statements_per_second']} a second, "
        f"{made['truncated']} truncated, {made['invalid']} invalid"
    )
    if model.dev:
        for run in free_run(spec, own) + dev_runs(spec, own, model.dev):
            decode_run(found, run.task, run.folder, run.settings, load_once)


def find_or_row(name: str) -> tuple[Checkpoint | str, ModelSpec]:
    """The checkpoint of a name or folder, found once for all runs, and its row; of a row without
    weights here the name, as its run then says."""
    try:
        checkpoint = find(name)
    except WeightsMissing:
        return name, spec_of(name)
    return checkpoint, checkpoint.spec


def with_settings(run: PlannedRun, **changed) -> PlannedRun:
    """The same run, decoded otherwise."""
    return replace(run, settings=replace(run.settings, **changed))


def load_quietly(*which):
    """load of boxes/models/loading.py, without the bar that transformers draws."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    return models.load(*which)


def asks_to_choose(spec: ModelSpec, settings: Settings) -> bool:
    """Whether the format is to be chosen: so the option says, or the row of an added model where
    there is no option."""
    if settings.prompt_format:
        return settings.prompt_format == CHOSEN
    return spec.choose_format


def chosen_format(found: Checkpoint | str, own: PlannedRun, dev: Task | None, load_once: Callable) -> str | None:
    """The prompt format that does best on the development set, decoded here; None, for the row's
    own, where formats are not compared or there are no weights, as the own run then says."""
    if not isinstance(found, Checkpoint) or not compares_formats(found.spec):
        return None
    spec = found.spec
    if dev is None:
        wrong = "its prompt format is chosen on the development set; name that with --dev"
        raise UserError(f"{spec.name}: {wrong}")
    for run in dev_runs(spec, own, dev):
        decode_run(found, run.task, run.folder, run.settings, load_once)
    accuracies = accuracies_of(dev_answers(spec, own.folder, dev))
    best = best_format(accuracies)
    said = []
    for name in PROMPT_FORMATS:
        said.append(f"{name} {accuracies[name]:.2f} %" if name in accuracies else f"{name} failed")
    print(f"{spec.name}: {best} format, chosen on the development set: {', '.join(said)}")
    return best
