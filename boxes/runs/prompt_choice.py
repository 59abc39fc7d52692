"""The choice of the prompt format on the development set (Appendix A.1)."""

from pathlib import Path

from boxes.models.table import ModelSpec
from boxes.prompting import PROMPT_FORMATS
from boxes.runs.agreement import check_dataset
from boxes.runs.folder import read_run, score_run
from boxes.runs.plan import dev_folder
from boxes.runs.task import Task

CHOSEN = "chosen"  # what is asked for in the place of a format


def dev_answers(spec: ModelSpec, folder: Path, dev: Task) -> dict[str, list[int]]:
    """Prompt format -> every answer on the development set, right (1) or wrong (0), of the formats
    that were decoded into folders of `folder`. UserError for runs of another dataset."""
    found = {}
    for name in PROMPT_FORMATS:
        run = folder / dev_folder(name)
        if read_run(spec, run)["status"] == "complete":
            check_dataset(read_run(spec, run), run, dev.data, dev.checksum, dev.selection)
            found[name] = [row[-1] for row in score_run(spec, run / "predictions.jsonl", dev.by_key)]
    return found


def accuracies_of(answers: dict[str, list[int]]) -> dict[str, float]:
    """Prompt format -> accuracy in per cent."""
    return {name: 100 * sum(correct) / len(correct) for name, correct in answers.items()}


def best_format(accuracies: dict[str, float]) -> str:
    """The format with the highest accuracy; on a tie, and where there is none, the plain one of
    Table 2."""
    decoded = [name for name in PROMPT_FORMATS if name in accuracies]
    return max(decoded, key=accuracies.get, default=PROMPT_FORMATS[0])
