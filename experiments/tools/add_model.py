"""Add a model to the table without touching the code: a row of data/models/added.json, read by boxes/models/table.py.

python experiments/tools/add_model.py --model ../my-model --base tiny-base --added code
python experiments/tools/add_model.py --model org/name --revision COMMIT --base Llama-2-7b-hf --added math
python experiments/tools/add_model.py --remove my-model

The model is a folder with a checkpoint, or a repository of the hub; so is its base, unless it is a row already. The row goes
into the profile of its base (without one, into --profile). A row that was added stays as it is until it is removed. The last
line on stdout is "PROFILE NAME BASE", for make model.
"""

import dataclasses
import json
import math
import re
import sys
from argparse import Namespace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout, whatever is installed

from boxes.commandline import argument_parser
from boxes.models.files import check_files, weight_files
from boxes.models.reading import read_tokenizer
from boxes.models.table import ADDED_ROWS, MODELS, PROFILES, ModelSpec, read_added, spec_of
from boxes.prompting import PROMPT_FORMATS
from boxes.records import UserError, command, write_json

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
SIZE = re.compile(r"\d+(\.\d+)?[BM]")
CACHED = re.compile(r"models--(?:.+?--)?(.+)")  # a repository's folder in the hub's cache, and its name
SAME = ("base", "added", "path", "hub_id", "revision")  # what cannot change while a row has its runs
OTHER_NAME = 'give another with ARGS="--name NAME"'


def parse_arguments() -> Namespace:
    parser = argument_parser(__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", help="a folder with a checkpoint, or a repository of the hub (org/name)")
    which.add_argument("--remove", metavar="NAME", help="take a row out again; its runs stay")
    parser.add_argument("--revision", help="the commit of the repository (default: pinned at the first download)")
    parser.add_argument("--base", help="what it was trained from: a name of the table, a folder, or a repository")
    parser.add_argument("--added", choices=("code", "math", "alignment"), default="code",
                        help="what it was trained on in that step (default: %(default)s)")  # fmt: skip
    parser.add_argument("--profile", choices=PROFILES, default="tiny", help="for a model without base")
    parser.add_argument("--name", help="of the row and of its runs (default: the folder's or the repository's)")
    parser.add_argument("--label", help="in Table 6 (default: the name)")
    parser.add_argument("--family", help="in panels and Table 1 (default: the name)")
    parser.add_argument("--size", help="7B, 350M, ... (default: that of the base, or counted in a folder)")
    parser.add_argument("--prompt-format", choices=PROMPT_FORMATS,
                        help="default: plain; for alignment, the one that does best on the development set")  # fmt: skip
    parser.add_argument("--licence", default="unknown", help="for Table 4 (default: %(default)s)")
    parser.add_argument("--gated", action="store_true", help="the repository asks for an account")
    return parser.parse_args()


def place_of(name_or_path: str) -> dict[str, str | None]:
    """hub_id and path of a folder or a repository, and the name that follows from it. UserError for what is neither."""
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        check_files(folder)
        read_tokenizer(folder)
        return {"name": folder_name(folder.resolve()), "hub_id": None, "path": str(folder.resolve())}
    if not HUB_ID.fullmatch(name_or_path):
        raise UserError(f"{name_or_path}: neither a folder nor a repository of the hub (org/name)")
    return {"name": name_or_path.split("/")[1], "hub_id": name_or_path, "path": None}


def folder_name(folder: Path) -> str:
    """What a folder is called; a snapshot in the hub's cache (models--org--name/snapshots/COMMIT) as its repository."""
    cached = CACHED.fullmatch(folder.parent.parent.name) if folder.parent.name == "snapshots" else None
    return cached[1] if cached else folder.name


def counted_size(folder: Path) -> str | None:
    """The weights of a folder's safetensors, counted in their headers: "6.7B", "1.1M"; None for other files."""
    count = 0
    for path in weight_files(folder):
        if path.suffix != ".safetensors":
            return None
        with open(path, "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        for name, tensor in header.items():
            if name != "__metadata__":
                count += math.prod(tensor["shape"])
    return f"{count / 1e9:.1f}B" if count >= 1e9 else f"{count / 1e6:.1f}M"


def new_row(place: dict, base: ModelSpec | None, profile: str, size: str | None, **more) -> ModelSpec:
    """A row from where a model lies and what it was trained from. UserError where its name or size cannot be."""
    name = more.get("name") or place["name"]
    if not NAME.fullmatch(name):
        raise UserError(f"{name}: a name has letters, digits and . _ - alone; {OTHER_NAME}")
    if name.lower() in {spec.name.lower() for spec in MODELS.values() if not spec.extra}:
        raise UserError(f"{name}: the table has a row of this name; {OTHER_NAME}")
    size = size or (base.size if base else None) or (counted_size(Path(place["path"])) if place["path"] else None)
    if not size or not SIZE.fullmatch(size):
        raise UserError(f"{name}: its size is {'not known' if not size else repr(size)}; give --size, e.g. 7B or 350M")
    fields = {"label": name, "family": name, "base": base and base.name, "added": None, "revision": None,
              "licence": "unknown", "profile": base.profile if base else profile}  # fmt: skip
    given = {key: value for key, value in more.items() if value is not None}
    return ModelSpec(**fields | place | given | {"name": name, "size": size}, extra=True)


def base_of(arguments: Namespace, rows: list[ModelSpec]) -> ModelSpec | None:
    """The row that the model was trained from: one of the table, or a new one, which goes into `rows`."""
    if not arguments.base:
        return None
    folder = Path(arguments.base).expanduser()
    for spec in [*rows, *MODELS.values()]:
        known = spec.folder and folder.is_dir() and folder.resolve() == spec.folder.resolve()
        if known or arguments.base in (spec.name, spec.hub_id):
            return spec
    if not folder.is_dir() and not HUB_ID.fullmatch(arguments.base):
        return spec_of(arguments.base)  # which says what names there are
    base = new_row(place_of(arguments.base), None, arguments.profile, arguments.size)
    check_same(base, rows)
    rows.append(base)
    return base


def check_same(row: ModelSpec, rows: list[ModelSpec]) -> None:
    """UserError where a row of this name was added that is another model, or has another base."""
    old = next((other for other in rows if other.name == row.name), None)
    differing = [field for field in SAME if old and getattr(old, field) != getattr(row, field)]
    if differing:
        field = differing[0]
        raise UserError(
            f"{row.name} was added with {field} {getattr(old, field) or 'none'}, not {getattr(row, field) or 'none'}; take it "
            f"out first with make model REMOVE={row.name}, or {OTHER_NAME}"
        )


def add(arguments: Namespace, rows: list[ModelSpec]) -> ModelSpec:
    """A new row in `rows`, in place of the same model's. UserError where it cannot be."""
    if arguments.revision and not re.fullmatch(r"[0-9a-f]{40}", arguments.revision):
        raise UserError(
            f"--revision {arguments.revision}: not a commit of 40 digits; without one, the newest is pinned when fetched"
        )
    place = place_of(arguments.model)
    if place["path"] and arguments.revision:
        raise UserError(f"--revision: {arguments.model} is a folder; only a repository of the hub has commits")
    base = base_of(arguments, rows)
    same = ("name", "label", "family", "revision", "prompt_format", "licence", "gated")
    given = {name: getattr(arguments, name) for name in same} | {"added": arguments.added if base else None}
    if given["added"] == "alignment" and not arguments.prompt_format:
        given["choose_format"] = True
    row = new_row(place, base, arguments.profile, arguments.size, **given)
    if row.profile == "reported":
        raise UserError("profile reported has the paper's printed numbers; add a model to tiny, paper or modern")
    known = MODELS | {other.name: other for other in rows} | {row.name: row}
    above = base
    while above:
        if above.name == row.name:
            raise UserError(f"{row.name} would be trained from itself; {OTHER_NAME}")
        above = known[above.base] if above.base else None
    check_same(row, rows)
    rows[:] = [other for other in rows if other.name != row.name]
    rows.append(row)
    return row


def remove(name: str, rows: list[ModelSpec]) -> ModelSpec:
    """Take a row out of `rows`. UserError where there is none, or where another row has it as its base."""
    row = next((row for row in rows if row.name == name), None)
    if not row:
        raise UserError(f"{name}: no such row was added; those are {', '.join(row.name for row in rows) or 'none'}")
    leaning = [other.name for other in rows if other.base == name]
    if leaning:
        raise UserError(f"{name} is the base of {leaning[0]}; remove that first")
    rows.remove(row)
    return row


def as_json(row: ModelSpec) -> dict:
    """A row's fields but those that have their default."""
    defaults = {field.name: field.default for field in dataclasses.fields(ModelSpec)}
    stated = dataclasses.asdict(row)
    return {key: value for key, value in stated.items() if key != "extra" and value != defaults[key]}


@command
def main() -> None:
    arguments = parse_arguments()
    rows = read_added()
    row = remove(arguments.remove, rows) if arguments.remove else add(arguments, rows)
    write_json(ADDED_ROWS, {"models": [as_json(row) for row in rows]})
    change = "is out of" if arguments.remove else "is in"
    print(f"{row.name} {change} the table of profile {row.profile} ({ADDED_ROWS})", file=sys.stderr)
    print(row.profile, row.name, *([row.base] if row.base else []))


if __name__ == "__main__":
    main()
