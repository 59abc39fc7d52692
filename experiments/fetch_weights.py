"""Fetch weights into the hub's cache, each model at its pinned commit; what is already here stays as it is.

python experiments/fetch_weights.py --models CodeLlama-7b-hf deepseek-llm-7b-base

Gated repositories need HF_TOKEN of an account that accepted their licence. One that fails does not stop the others;
the exit status is then 2. A second run resumes.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout, whatever is installed

from boxes.arguments import argument_parser
from boxes.models import ModelSpec, spec_of
from boxes.records import UserError, command
from boxes.weights import WeightsMissing, check_recorded, fetch, find, is_settled, settle


def provide(spec: ModelSpec) -> None:
    """Fetch what a row lacks; say where it is. What was fetched before is held to its checksums."""
    from huggingface_hub import constants

    try:
        folder = find(spec)
    except WeightsMissing:
        if spec.hub_id is None:
            raise
        folder = None
    if folder and not is_settled(spec, folder) and constants.HF_HUB_OFFLINE:
        settle(spec, folder)
    if not folder or not is_settled(spec, folder):
        print(f"{spec.name}: fetching {spec.hub_id} (licence: {spec.licence})", flush=True)
        folder = fetch(spec)
    check_recorded(spec, folder)
    print(f"{spec.name}: in {folder}", flush=True)


@command
def main() -> int:
    parser = argument_parser(__doc__)
    parser.add_argument("--models", nargs="+", required=True, metavar="NAME", help="names of boxes/models.py")
    failed = 0
    for spec in [spec_of(name) for name in parser.parse_args().models]:
        try:
            provide(spec)
        except UserError as error:
            failed += 1
            print(f"fetch_weights.py: {error}", file=sys.stderr)
    return 2 if failed else 0


if __name__ == "__main__":
    main()
