"""The runs beside a model's own, each in a folder of the model's: what Appendix A compares with the run of Table 6.

dev-plain, dev-chat: both prompt formats on a subset of the development set (A.1, experiment 03); free: without the regular
expression (A.2, experiment 09). 04_decode.py makes them while the model is loaded.
"""

from boxes.models.table import MODELS, ModelSpec
from boxes.prompting import PROMPT_FORMATS

FREE = "free"
FREELY_REPORTED = "Llama-2-70b-hf"  # the paper gives free decoding for this one alone
DEV_QUERIES_PER_BUCKET = 20  # about 140 descriptions, an interval of some 3 points for a model's accuracy


def dev_folder(prompt_format: str) -> str:
    """The folder of a prompt format's run on the development set."""
    return f"dev-{prompt_format}"


def compares_formats(spec: ModelSpec) -> bool:
    """Whether a model is decoded in both prompt formats: the alignment-tuned ones are."""
    return spec.added == "alignment"


def decodes_freely(spec: ModelSpec) -> bool:
    """Whether a model is decoded freely, too: the one that the paper reports, and all of the tiny profile."""
    return spec.profile == "tiny" or spec.name == FREELY_REPORTED


def folders_beside(spec: ModelSpec) -> list[str]:
    """The folders of a model's other runs."""
    formats = [dev_folder(name) for name in PROMPT_FORMATS] if compares_formats(spec) else []
    return [*formats, *([FREE] if decodes_freely(spec) else [])]


def all_folders_beside() -> dict[str, list[str]]:
    """Model -> the folders of its other runs, for the models that have any."""
    found = {name: folders_beside(spec) for name, spec in MODELS.items()}
    return {name: folders for name, folders in found.items() if folders}
