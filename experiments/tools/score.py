"""Score statements that were decoded elsewhere (vLLM, an API, a notebook): what make score begins with.

python experiments/tools/score.py --predictions answers.jsonl --name my-model --profile tiny \\
    --data data/boxes/test-subsample-states-t5.jsonl --runs data/runs
python experiments/tools/score.py ... --base tiny-base --prompt table2 --engine "vLLM 0.11" --dtype bfloat16

The file has one JSON object a line (boxes/runs/elsewhere.py says what stands in it). It becomes an
ordinary run, RUNS/PROFILE/NAME (of another dataset than the test set RUNS/PROFILE-look20/NAME or the
like, as --suffix says), and a row of the table that says that it was decoded elsewhere; settings
that are not given are "not stated". Accuracy by both scorers goes to stderr. The last line on stdout
is "PROFILE NAME BASE", for make score.
"""

import sys
from argparse import Namespace
from pathlib import Path

from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout, whatever is installed

from boxes.commandline import argument_parser, command, out_folder, positive
from boxes.completion import Status
from boxes.evaluation import query_frame, summarise
from boxes.models.table import ADDED_ROWS, NOT_STATED, PROFILES, ModelSpec, read_added
from boxes.prompting import statement_head
from boxes.records import UserError, sha256_file, write_json
from boxes.runs.agreement import plain_prompt_sha256
from boxes.runs.elsewhere import read_elsewhere, write_elsewhere
from boxes.runs.folder import plain_lines
from boxes.runs.task import read_task
from boxes.scoring import AUTHORS, OURS
from boxes.world import Wording
from experiments.tools.add_model import OTHER_NAME, as_json, base_of, check_lineage, check_same, new_row

# What the prompts were, as make prompts writes them: of each the format and the style.
PROMPTS = {"table2": ("plain", "table2"), "released": ("plain", "released"), "chat": ("chat", None)}
# Options that are said of a run, as they are given.
STATED = ("prompt", "engine", "revision", "dtype", "device", "max_new_tokens", "constrained")


def parse_arguments() -> Namespace:
    parser = argument_parser(__doc__)
    option = parser.add_argument
    option("--predictions", required=True, type=Path, help="one JSON object a line")
    option("--name", required=True, help="of the row and of its run")
    option("--profile", choices=[name for name in PROFILES if name != "reported"], default="tiny",
           help="for a model without base (default: %(default)s)")  # fmt: skip
    option("--data", required=True, type=Path, help="the dataset that was decoded")
    option("--runs", required=True, type=out_folder, help="folder with a folder a profile")
    option("--suffix", default="", help="of the profile's folder, for another dataset than the test set")
    option("--base", help="what it was trained from: a name of the table, folder or repository")
    option("--added", choices=("code", "math", "alignment"), default="code",
           help="what it was trained on in that step (default: %(default)s)")  # fmt: skip
    option("--size", default="", help="7B, 350M, ... (default: that of the base, or not stated)")
    option("--label", help="in Table 6 (default: the name)")
    option("--family", help="in panels and Table 1 (default: the name)")
    option("--licence", default="unknown", help="for Table 4 (default: %(default)s)")
    option("--prompt", choices=tuple(PROMPTS), help="what was asked; table2: texts go on from its end")
    option("--engine", help='what decoded, e.g. "vLLM 0.11"')
    option("--revision", help="commit or date of the model")
    option("--dtype", help="bfloat16, fp8, ...")
    option("--device", help="the GPU, or whose API")
    option("--max-new-tokens", type=positive, help="the token limit")
    option("--constrained", choices=("yes", "no"), help="whether under the regular expression")
    return parser.parse_args()


def new_rows(arguments: Namespace) -> tuple[ModelSpec, list[ModelSpec]]:
    """The row, and all that were added with it among them. UserError where it cannot be."""
    rows = read_added()
    base = base_of(arguments, rows)
    size = arguments.size or NOT_STATED
    if base and not arguments.size:
        size = base.size
    place = {"name": arguments.name, "hub_id": None, "path": None}
    given = {name: getattr(arguments, name) for name in ("family", "licence")}
    if base:
        given["added"] = arguments.added
    given["prompt_format"] = PROMPTS[arguments.prompt][0] if arguments.prompt else NOT_STATED
    label = f"{arguments.label or arguments.name} (decoded elsewhere)"
    row = new_row(place, base, arguments.profile, size, label=label, elsewhere=True, **given)
    check_lineage(row, rows)
    check_same(row, rows)
    rows = [other for other in rows if other.name != row.name]
    return row, [*rows, row]


def about(arguments: Namespace, wording: Wording, missing: int, total: int) -> dict:
    """What run.json says of the file and of how it was decoded."""
    said = {}
    for name in STATED:
        value = getattr(arguments, name)
        said[name] = NOT_STATED if value is None else value
    prompt = said.pop("prompt")
    prompt_format, style = PROMPTS.get(prompt, (NOT_STATED, NOT_STATED))
    said |= {"prompt_format": prompt_format, "prompt_style": style, "prompt_sha256": NOT_STATED}
    if prompt_format == "plain":
        said["prompt_sha256"] = plain_prompt_sha256(style, wording)
    said["reason"] = "decoded elsewhere"
    if missing:
        said["reason"] += f"; {missing} of {total} descriptions not answered"
    source = {"name": arguments.predictions.name, "sha256": sha256_file(arguments.predictions)}
    return said | {"not_answered": missing, "file": source}


def say(arguments: Namespace, name: str, missing: int, total: int, lines: dict) -> None:
    """What was read, what is not known, and what both scorers say: on stderr."""
    said = [f"{name}: {total - missing} of {total} descriptions answered"]
    if missing:
        said[0] += f", {missing} counted as not answered"
    invalid = sum(line["status"] == Status.INVALID for line in lines.values()) - missing
    if invalid:
        said.append(f"{name}: {invalid} of them with no whole statement; they are judged as they stand")
    unknown = [f"--{option.replace('_', '-')}" for option in STATED if getattr(arguments, option) is None]
    if unknown:
        said.append(f'{name}: not stated: {" ".join(unknown)}; say it with ARGS="..."')
    unended = sum("." not in line["prediction"] for line in lines.values()) - missing
    if unended > 0:
        said.append(f"{name}: {unended} statements have no period; what stands behind their last word is not known")
    print("\n".join(said), file=sys.stderr)


def scorers_table(ours, authors) -> str:
    """Accuracy by number of operations as both scorers have it."""
    cells = []
    for mine, theirs in zip(ours.itertuples(), authors.itertuples(), strict=True):
        if mine.n:
            cells.append((mine.num_ops, mine.n, f"{mine.accuracy:.2f}", f"{theirs.accuracy:.2f}"))
    head = ("operations", "queries", "our scorer, %", "the authors', %")
    return tabulate(cells, head, disable_numparse=True, colalign=("left", *["right"] * 3))


@command
def main() -> None:
    arguments = parse_arguments()
    try:
        row, rows = new_rows(arguments)
    except UserError as error:  # which names make model's way to another name
        raise UserError(str(error).replace(OTHER_NAME, "give another with NAME=")) from None
    task = read_task(arguments.data)
    head = statement_head(task.wording) if arguments.prompt == "table2" else ""
    lines, missing = read_elsewhere(arguments.predictions, task.by_key, head)
    stated = about(arguments, task.wording, len(missing), len(lines))
    folder = arguments.runs / f"{row.profile}{arguments.suffix}" / row.name
    write_elsewhere(folder, row.name, task, lines, stated)
    write_json(ADDED_ROWS, {"models": [as_json(other) for other in rows]})
    say(arguments, row.name, len(missing), len(lines), lines)
    frame = query_frame(task.by_key, plain_lines(task.by_key, lines))
    print(scorers_table(summarise(frame, OURS), summarise(frame, AUTHORS)), file=sys.stderr)
    print(" ".join(filter(None, (row.profile, row.name, row.base))))


if __name__ == "__main__":
    main()
