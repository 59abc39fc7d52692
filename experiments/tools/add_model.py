"""Add a model to the table without touching the code: a row of data/models/added.json, which
boxes/models/table.py reads.

python experiments/tools/add_model.py --model ../my-model --base tiny-base --added code
python experiments/tools/add_model.py --model org/name --base Llama-2-7b-hf --added math
python experiments/tools/add_model.py --model ../my-model.Q4_K_M.gguf --base tiny-base
python experiments/tools/add_model.py --remove my-model

The model is a folder with a checkpoint, a GGUF file, which is written out once, or a repository of
the hub; so is its base, unless it is a row already. The row goes into the profile of its base
(without one, into --profile). A row that was added stays as it is until it is removed. The last line
on stdout is "PROFILE NAME BASE", for make model.
"""

import dataclasses
import math
import re
import shutil
import sys
from argparse import Namespace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout, whatever is installed

from boxes.commandline import argument_parser, command
from boxes.models.files import check_files, tensor_shapes, weight_files
from boxes.models.gguf_files import is_gguf, record_of, sha256_of, written_out
from boxes.models.reading import read_tokenizer
from boxes.models.table import ADDED_ROWS, GGUF_FOLDER, MODELS, NOT_STATED, PROFILES, ModelSpec, read_added, spec_of
from boxes.prompting import PROMPT_FORMATS
from boxes.records import UserError, write_json

PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
SIZE = re.compile(r"\d+(\.\d+)?[BM]")
# A repository's folder in the hub's cache, and its name.
CACHED = re.compile(r"models--(?:.+?--)?(.+)")
# What cannot change while a row has its runs.
FIXED = ("base", "added", "path", "hub_id", "revision", "elsewhere")
OTHER_NAME = 'give another with ARGS="--name NAME"'


def parse_arguments() -> Namespace:
    parser = argument_parser(__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", help="a folder with a checkpoint, a GGUF file, or a repository (org/name)")
    which.add_argument("--remove", metavar="NAME", help="take a row out again; its runs stay")
    option = parser.add_argument
    option("--revision", help="the repository's commit (default: pinned at the first download)")
    option("--base", help="what it was trained from: a name of the table, folder or repository")
    option("--added", choices=("code", "math", "alignment"), default="code",
           help="what it was trained on in that step (default: %(default)s)")  # fmt: skip
    option("--profile", choices=PROFILES, default="tiny", help="for a model without base")
    option("--name", help="of the row and of its runs (default: the folder's or the repository's)")
    option("--label", help="in Table 6 (default: the name)")
    option("--family", help="in panels and Table 1 (default: the name)")
    option("--size", default="", help="7B, 350M, ... (default: that of the base, or counted in a folder)")
    option("--prompt-format", choices=PROMPT_FORMATS,
           help="default: plain; for alignment, the one that does best on the development set")  # fmt: skip
    option("--licence", default="unknown", help="for Table 4 (default: %(default)s)")
    option("--gated", action="store_true", help="the repository asks for an account")
    return parser.parse_args()


def place_of(name_or_path: str, name: str | None = None) -> dict[str, str | None]:
    """hub_id, path and name of a folder, a GGUF file or a repository, and the label of a file. UserError
    for what is neither."""
    folder = Path(name_or_path).expanduser()
    if is_gguf(folder):
        return place_of_file(folder, name)
    if folder.is_dir():
        check_files(folder)
        read_tokenizer(folder)
        folder = folder.resolve()
        return {"name": folder_name(folder), "hub_id": None, "path": str(folder)}
    if not HUB_ID.fullmatch(name_or_path):
        raise UserError(f"{name_or_path}: neither a folder nor a repository of the hub (org/name)")
    return {"name": name_or_path.split("/")[1], "hub_id": name_or_path, "path": None}


def place_of_file(path: Path, name: str | None) -> dict[str, str | None]:
    """That of the folder which a GGUF file is written out to, under the row's name; the label says
    its quantisation."""
    name = name or path.stem
    check_name(name)
    folder = written_out(path, GGUF_FOLDER / name)
    label = f"{name} ({record_of(folder)['quantisation']})"
    return {"name": name, "hub_id": None, "path": str(folder), "label": label}


def row_of_file(path: Path) -> ModelSpec | None:
    """The row of the table that a GGUF file is the checkpoint of, which is then there; None for
    other files, and for what is none."""
    if not is_gguf(path) or not path.is_file():
        return None
    sha256 = sha256_of(path)
    for spec in MODELS.values():
        if spec.packaged and spec.packaged.sha256 == sha256:
            written_out(path, spec.folder)
            return spec
    return None


def check_name(name: str) -> None:
    """UserError for what cannot be the name of a row and of its runs."""
    if not PLAIN_NAME.fullmatch(name):
        raise UserError(f"{name}: a name has letters, digits and . _ - alone; {OTHER_NAME}")
    if name == "status.csv":
        raise UserError(f"{name}: among the runs there is a file of this name; {OTHER_NAME}")


def folder_name(folder: Path) -> str:
    """A folder's name; of a snapshot (models--org--name/snapshots/COMMIT) its repository's."""
    cached = CACHED.fullmatch(folder.parent.parent.name)
    if cached and folder.parent.name == "snapshots":
        return cached[1]
    return folder.name


def counted_size(folder: Path) -> str | None:
    """The weights of a folder's safetensors: "6.7B", "1.1M"; None for other files."""
    if any(path.suffix != ".safetensors" for path in weight_files(folder)):
        return None
    count = sum(map(math.prod, tensor_shapes(folder).values()))
    if count >= 1e9:
        return f"{count / 1e9:.1f}B"
    return f"{count / 1e6:.1f}M"


def new_row(place: dict, base: ModelSpec | None, profile: str, size: str, **more) -> ModelSpec:
    """A row from where a model lies and what it was trained from. UserError where its name or size
    cannot be. An empty `size` is looked for."""
    name = more.get("name") or place["name"]
    check_name(name)
    if name.lower() in map(str.lower, MODELS):
        raise UserError(f"{name}: the table has a row of this name; {OTHER_NAME}")
    fields = {"label": name, "family": name, "base": None, "added": None, "revision": None,
              "licence": "unknown", "profile": profile}  # fmt: skip
    if base:
        fields |= {"base": base.name, "profile": base.profile}
    given = {key: value for key, value in more.items() if value is not None}
    fields |= place | given | {"name": name, "size": known_size(name, size, base, place["path"])}
    return ModelSpec(**fields, extra=True)


def known_size(name: str, size: str, base: ModelSpec | None, path: str | None) -> str:
    """The size that was given, that of the base, or what a folder has. UserError without any."""
    if not size and base:
        size = base.size
    if not size and path:
        size = counted_size(Path(path))
    if size == NOT_STATED:
        return size
    if not size:
        raise UserError(f"{name}: its size is not known; give --size, e.g. 7B or 350M")
    if not SIZE.fullmatch(size):
        raise UserError(f"{name}: its size is {size!r}; give --size, e.g. 7B or 350M")
    return size


def base_of(arguments: Namespace, rows: list[ModelSpec]) -> ModelSpec | None:
    """The row that the model was trained from, of the table or new: that goes into `rows`."""
    if not arguments.base:
        return None
    folder = Path(arguments.base).expanduser()
    for spec in [*rows, *MODELS.values()]:
        known = spec.folder and folder.is_dir() and folder.resolve() == spec.folder.resolve()
        if known or arguments.base in (spec.name, spec.hub_id):
            return spec
    if row := row_of_file(folder):
        return row
    is_place = folder.is_dir() or is_gguf(folder) or HUB_ID.fullmatch(arguments.base)
    if not is_place:
        return spec_of(arguments.base)  # which says what names there are
    place = place_of(arguments.base)
    for spec in rows:
        if place["path"] and spec.path == place["path"]:
            return spec
    base = new_row(place, None, arguments.profile, arguments.size)
    check_same(base, rows)
    rows.append(base)
    return base


def check_same(row: ModelSpec, rows: list[ModelSpec]) -> None:
    """UserError where a row of this name was added that is another model, or has another base."""
    old = next((other for other in rows if other.name == row.name), None)
    for field in FIXED if old else ():
        before, now = getattr(old, field), getattr(row, field)
        if before != now:
            wrong = f"{row.name} was added with {field} {before or 'none'}, not {now or 'none'}"
            mend = f"take it out first with make model REMOVE={row.name}, or {OTHER_NAME}"
            raise UserError(f"{wrong}; {mend}")


def add(arguments: Namespace, rows: list[ModelSpec]) -> ModelSpec:
    """A new row in `rows`, in place of the same model's. UserError where it cannot be."""
    if arguments.revision and not re.fullmatch(r"[0-9a-f]{40}", arguments.revision):
        wrong = f"--revision {arguments.revision}: not a commit of 40 digits"
        raise UserError(f"{wrong}; without one, the newest is pinned when fetched")
    place = place_of(arguments.model, arguments.name)
    if place["path"] and arguments.revision:
        wrong = f"--revision: {arguments.model} is a folder"
        raise UserError(f"{wrong}; only a repository of the hub has commits")
    base = base_of(arguments, rows)
    same = ("name", "label", "family", "revision", "prompt_format", "licence", "gated")
    given = {name: getattr(arguments, name) for name in same}
    if base:
        given["added"] = arguments.added
        if arguments.added == "alignment" and not arguments.prompt_format:
            given["choose_format"] = True
    row = new_row(place, base, arguments.profile, arguments.size, **given)
    if row.profile == "reported":
        wrong = "profile reported has the paper's printed numbers"
        raise UserError(f"{wrong}; add a model to tiny, small, paper or modern")
    check_lineage(row, rows)
    check_same(row, rows)
    rows[:] = [other for other in rows if other.name != row.name]
    rows.append(row)
    return row


def check_lineage(row: ModelSpec, rows: list[ModelSpec]) -> None:
    """UserError where a row would be trained from itself."""
    known = MODELS | {other.name: other for other in rows} | {row.name: row}
    above = row.base
    while above:
        if above == row.name:
            raise UserError(f"{row.name} would be trained from itself; {OTHER_NAME}")
        above = known[above].base


def remove(name: str, rows: list[ModelSpec]) -> ModelSpec:
    """Take a row out of `rows`. UserError where there is none, or where it is another's base."""
    row = next((row for row in rows if row.name == name), None)
    if not row:
        names = ", ".join(row.name for row in rows) or "none"
        raise UserError(f"{name}: no such row was added; those are {names}")
    leaning = [other.name for other in rows if other.base == name]
    if leaning:
        raise UserError(f"{name} is the base of {leaning[0]}; remove that first")
    rows.remove(row)
    if row.path and Path(row.path).parent == GGUF_FOLDER:  # what make model wrote, and can again
        shutil.rmtree(row.path, ignore_errors=True)
    return row


def as_json(row: ModelSpec) -> dict:
    """A row's fields but those that have their default."""
    defaults = {field.name: field.default for field in dataclasses.fields(ModelSpec)}
    defaults["extra"] = row.extra  # all of them are
    stated = dataclasses.asdict(row)
    return {key: value for key, value in stated.items() if value != defaults[key]}


@command
def main() -> None:
    arguments = parse_arguments()
    rows = read_added()
    known = None
    if arguments.model and not arguments.base:
        known = row_of_file(Path(arguments.model).expanduser())
    if known:
        print(f"{known.name} is this file's row of profile {known.profile}", file=sys.stderr)
        print(known.profile, known.name)
        return
    row = remove(arguments.remove, rows) if arguments.remove else add(arguments, rows)
    write_json(ADDED_ROWS, {"models": [as_json(row) for row in rows]})
    change = "is out of" if arguments.remove else "is in"
    print(f"{row.name} {change} the table of profile {row.profile} ({ADDED_ROWS})", file=sys.stderr)
    print(row.profile, row.name, *([row.base] if row.base else []))


if __name__ == "__main__":
    main()
