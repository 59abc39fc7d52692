"""Judge what stands on make's command line; print a line where it cannot be meant.

python experiments/tools/command_line.py --goals "table6" --given "profile" --makefile Makefile --
profile=paper ...

The names --given stand on the command line; the last words are variables and their values, those of
the environment, too. What is on the command line is read by somebody, or it is a slip (profile for
PROFILE, MODEL for MODELS) and named. Variables of the environment are not judged but for what they
say. Standard library only: it runs before set-up.
"""

import argparse
import difflib
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout, whatever is installed

from boxes.models.table import ALL, PROFILES, models_of
from boxes.records import UserError

# What make hands on to the programs below it.
PROGRAMS = re.compile(
    r"(PIP|UV|HF|CUDA|OMP|MKL|NVIDIA|PYTEST|BUILDAH|LC|SSL_CERT|XDG|RAY|SBATCH)_.*|TORCH.*|PYTHON.*|MAKE.*|.*_(PROXY|proxy)|"
    r"GIT_COMMIT|MODELS_RECORDS|HOME|TMPDIR|PATH|LANG|IMAGE|CACHE|SHELL"
)
PATHS = ("DATASET", "VENV", "DATA_DIR", "MODELS_DIR", "RELEASE_ZIP", "FROM")
OTHER_DATASETS = ("LIMIT", "DATASET")
FORMS = ("long", "contents", "empty", "containers")  # of experiments/tools/forms.py
ONLY_FOR = {  # variable -> the targets that read it
    "MODEL": ("model", "prompts", "container-run"),
    "BASE": ("model", "score", "container-run"),
    "REVISION": ("model", "container-run"),
    "ADDED": ("model", "score", "container-run"),
    "FORM": ("data",),
    "PREDICTIONS": ("score",),
    "NAME": ("score",),
    "OUT": ("prompts",),
    "BATCH": ("prompts",),
    **dict.fromkeys(OTHER_DATASETS, ("all", "table6", "tables", "figures", "prompts", "score", "help")),
    "REMOVE": ("model", "container-run"),
    "SHAPES": ("bench",),
    "SECONDS": ("fuzz",),
    "UPGRADE": ("lock",),
}
NEEDS = {  # target -> the variables that it does nothing without
    "score": ("PREDICTIONS", "NAME"),
    "prompts": ("OUT",),
}
FROM_TARGETS = ("all", "table6", "tables", "figures", "check")
NOT_FROM = (*OTHER_DATASETS, "PROFILE", "MODELS", "DATA", "SEED", "DECODE", "HARDWARE")
# Targets that need no profile: what is said of one is for others.
WITHOUT_PROFILE = {
    "help",
    "setup",
    "lock",
    "lint",
    "clean",
    "distclean",
    "container",
    "container-run",
    "container-check",
}


def nearest(given: str, known: list[str]) -> str | None:
    """The known name that is most like the given one, whatever its case; None where none is like
    it."""
    close = difflib.get_close_matches(given.upper(), known, n=1, cutoff=0.6)
    return close[0] if close else None


def unknown(given: list[str], known: list[str]) -> str | None:
    """A variable that nobody reads, and the one that was probably meant."""
    for name in given:
        if name not in known and not PROGRAMS.fullmatch(name):
            meant = nearest(name, known)
            mend = f"did you mean {meant}?" if meant else "make help lists those there are"
            return f"unknown variable {name}; {mend}"
    return None


def impossible_path(values: dict[str, str]) -> str | None:
    """A path that make cannot follow."""
    for name in PATHS:
        value = values.get(name, "").strip()
        if re.search(r"[\s%]", value):
            return f"{name}={value}: make cannot follow a path with a space or %; name a link to it"
    return None


def misplaced(given: list[str], values: dict[str, str], goals: list[str]) -> str | None:
    """A variable that is not for these targets."""
    said = [name for name in given if values.get(name)]
    for name, targets in ONLY_FOR.items():
        if name in said and not set(targets) & set(goals):
            mend = '; models of the table are chosen with MODELS="..."' if name == "MODEL" else ""
            return f"{name}= is for make {targets[0]}, not for {' '.join(goals)}{mend}"
    if "model" in goals and "MODELS" in said:
        return "MODELS= chooses models of the table; make model takes one with MODEL=, and its base with BASE="
    if "model" in goals and not (values.get("MODEL") or values.get("REMOVE")):
        return "make model needs MODEL=folder, MODEL=file.gguf or MODEL=org/name, or REMOVE=name"
    for target, names in NEEDS.items():
        lacking = [name for name in names if name not in said]
        if target in goals and lacking:
            return f"make {target} needs {' and '.join(f'{name}=...' for name in lacking)}; make help says what"
    if "score" in goals and "MODELS" in said:
        return "MODELS= chooses models of the table; make score names one with NAME=, and its base with BASE="
    if "prompts" in goals and "FORMAT" in said:
        return (
            "FORMAT= is how aligned rows are decoded here; make prompts writes a batch file with BATCH=vllm or openai"
        )
    if "FORM" in said and values["FORM"].strip() not in FORMS:
        return f"FORM={values['FORM']}: name one of {', '.join(FORMS)}; each has a file of its own"
    if "OUT" in said and len(goals) > 1:
        return "OUT= is for make prompts alone; make the other targets apart"
    if "FROM" in said:
        return from_archive(said, goals)
    return other_dataset(said, values, goals)


def other_dataset(said: list[str], values: dict[str, str], goals: list[str]) -> str | None:
    """What does not go with LIMIT or DATASET, whose results are not those of the test set."""
    chosen = [name for name in OTHER_DATASETS if name in said]
    if len(chosen) > 1:
        return "LIMIT= looks into the test set, DATASET= is another one: name one of them"
    for name in chosen:
        if not set(goals) <= set(ONLY_FOR[name]):
            return f"{name}= is not the whole test set: make the other targets apart"
    limit, dataset = values.get("LIMIT", ""), values.get("DATASET", "")
    if "LIMIT" in said and not re.fullmatch(r"[1-9]\d{0,3}", limit):
        return f"LIMIT={limit}: queries a bucket, a number from 1 to 9999"
    if "DATASET" in said and not Path(dataset).is_file():
        return f"DATASET={dataset}: no such file; name a JSONL with a description a line"
    if "DATASET" in said and not re.fullmatch(r"\w[\w.-]*\.jsonl", Path(dataset).name):
        return f"DATASET={dataset}: a name of letters, digits and . _ - alone, and .jsonl: its folders are called so"
    return None


def from_archive(said: list[str], goals: list[str]) -> str | None:
    """What does not go with FROM."""
    others = [goal for goal in goals if goal not in (*FROM_TARGETS, "container-run", "clean")]
    if others:
        targets = " ".join(FROM_TARGETS)
        return f"FROM= is for {targets}, which need nothing but the archive; not for {' '.join(others)}"
    choices = [name for name in NOT_FROM if name in said]
    if choices and "container-run" not in goals:
        return f"FROM= shows what is in the archive; leave out {' '.join(choices)}"
    return None


def wrong_choice(values: dict[str, str]) -> str | None:
    """A profile, model, kind of data, file or folder that is not there."""
    profile = values.get("PROFILE", "").strip() or "tiny"
    if profile not in PROFILES:
        return f'unknown PROFILE "{profile}"; choose tiny, small, paper, modern or reported'
    known = [spec.name for spec in models_of(profile)]
    models = values.get("MODELS", "").split()
    strangers = [name for name in models if name not in known and models != [ALL]]
    if strangers:
        return f"unknown in MODELS: {' '.join(strangers)}; PROFILE={profile} has {' '.join(known)}"
    data, archive = values.get("DATA", "").strip(), values.get("RELEASE_ZIP", "").strip()
    if data not in ("", "generated", "release"):
        return f'unknown DATA "{data}"; choose generated or release'
    if data == "release" and not archive:
        return "DATA=release needs RELEASE_ZIP=boxes-dataset-v1.zip"
    if data == "release" and not Path(archive).exists():
        return f"RELEASE_ZIP={archive}: no such file; name the authors' boxes-dataset-v1.zip"
    weights = values.get("MODELS_DIR", "").strip()
    if weights and not Path(weights).is_dir():
        return f"MODELS_DIR={weights}: no such folder; name the one that has a folder a model"
    return None


def judge(goals: list[str], known: list[str], given: list[str], values: dict[str, str]) -> str | None:
    """The first thing that is wrong; None where nothing is."""
    wrong = impossible_path(values) or unknown(given, known) or misplaced(given, values, goals)
    if wrong or set(goals) <= WITHOUT_PROFILE:
        return wrong
    return wrong_choice(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--goals", type=str.split, required=True)
    parser.add_argument("--given", type=str.split, required=True)
    parser.add_argument("--makefile", type=Path, required=True, help="whose variables are known")
    parser.add_argument("values", nargs="*", metavar="NAME=value")
    arguments = parser.parse_args()
    values = dict(value.partition("=")[::2] for value in arguments.values)
    known = []
    for path in (arguments.makefile, *sorted(Path(__file__).absolute().parent.glob("*.mk"))):
        known += re.findall(r"^([A-Z_]+) \?=", path.read_text(encoding="utf-8"), re.MULTILINE)
    try:
        wrong = judge(arguments.goals, known, arguments.given, values)
    except UserError as error:  # of the models that were added
        wrong = str(error)
    if wrong:
        print(wrong)


if __name__ == "__main__":
    main()
