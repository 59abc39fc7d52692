"""What is decoded with a model: its own run, and those beside it that Appendix A compares it with,
each in a folder of its own.

dev-plain, dev-chat: both prompt formats on a subset of the development set (A.1, experiment 03);
free: without the regular expression (A.2, experiment 09). All are made while the model is loaded.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from boxes.models.table import ModelSpec
from boxes.prompting import PROMPT_FORMATS
from boxes.runs.task import Settings, Task

OWN = "own"  # the run of Table 6
FREE = "free"
FREELY_REPORTED = "Llama-2-70b-hf"  # the paper gives free decoding for this one alone
DEV_QUERIES_PER_BUCKET = 20  # about 140 descriptions, an interval of some 3 points for a model's accuracy


@dataclass(frozen=True)
class PlannedRun:
    """A run to be made: its name, where it lies, what is decoded and how."""

    name: str
    folder: Path
    task: Task
    settings: Settings


def dev_folder(prompt_format: str) -> str:
    """The folder of a prompt format's run on the development set."""
    return f"dev-{prompt_format}"


def compares_formats(spec: ModelSpec) -> bool:
    """Whether a model is decoded in both prompt formats: the alignment-tuned ones are that are decoded
    here."""
    return spec.added == "alignment" and not spec.elsewhere


def decodes_freely(spec: ModelSpec) -> bool:
    """Whether a model is decoded freely, too: the one that the paper reports, and all of the tiny
    profile."""
    if spec.elsewhere:
        return False
    return spec.profile == "tiny" or spec.name == FREELY_REPORTED


def folders_beside(spec: ModelSpec) -> list[str]:
    """The folders of a model's other runs, in the order in which they are made."""
    folders = [FREE] if decodes_freely(spec) else []
    if compares_formats(spec):
        folders += [dev_folder(name) for name in PROMPT_FORMATS]
    return folders


def own_run(folder: Path, task: Task, settings: Settings) -> PlannedRun:
    """The run of Table 6."""
    return PlannedRun(OWN, folder, task, settings)


def free_run(spec: ModelSpec, own: PlannedRun) -> list[PlannedRun]:
    """The own run without the expression, for a model that is decoded so. Mostly it writes the
    same, which one forward then verifies."""
    if not decodes_freely(spec):
        return []
    settings = replace(own.settings, constrained=False, drafts_from=own.folder)
    return [PlannedRun(FREE, own.folder / FREE, own.task, settings)]


def dev_runs(spec: ModelSpec, own: PlannedRun, dev: Task) -> list[PlannedRun]:
    """Both prompt formats on the development set, otherwise as the own run, for a model whose
    formats are compared."""
    if not compares_formats(spec):
        return []
    runs = []
    for prompt_format in PROMPT_FORMATS:
        name = dev_folder(prompt_format)
        settings = replace(own.settings, prompt_format=prompt_format)
        runs.append(PlannedRun(name, own.folder / name, dev, settings))
    return runs
