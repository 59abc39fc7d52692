"""Make the paper's outputs, or check the results, from an archive alone: what make does with FROM=.

python experiments/tools/from_archive.py table6 --archive tiny.tar.zst

It is unpacked into data/results/archives/NAME; tables, figures and the report go to
paper/out/NAME-archive.
"""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout, whatever is installed

from boxes.commandline import argument_parser, command
from experiments.tools.archive import unpack

PARTS = {"all": ("tables", "figures", "report"), "table6": ("tables",), "tables": ("tables",), "figures": ("figures",)}


def run(*words: str | Path) -> int:
    """A script or module of this repository; its exit status."""
    return subprocess.run([sys.executable, *map(str, words)]).returncode


def check(profile: str, results: Path) -> int:
    """make check for the archive's results."""
    reference = Path("data/reported" if profile == "paper" else f"data/reference/{profile}")
    script = "experiments/tools/check.py"
    return run(script, "--profile", profile, "--results", results, "--reference", reference)


def render(target: str, profile: str, unpacked: Path, out: Path) -> int:
    """What a target of make shows, and what it is made of."""
    paths = ("--profile", profile, "--results", unpacked / "results", "--out", out)
    for part in PARTS[target]:
        more = ("--runs", unpacked / "runs") if part == "report" else ()
        status = run("-m", f"paper.{part}", *paths, *more)
        if status:
            return status
    if target == "table6":
        return run("-m", "paper.tables", *paths, "--print", "6")
    return 0


@command
def main() -> int:
    parser = argument_parser(__doc__)
    parser.add_argument("target", choices=(*PARTS, "check"))
    parser.add_argument("--archive", type=Path, required=True)
    arguments = parser.parse_args()
    name = arguments.archive.name.removesuffix(".tar.zst")
    unpacked, out = Path("data/results/archives") / name, Path("paper/out") / f"{name}-archive"
    profile = unpack(arguments.archive, unpacked)
    if arguments.target == "check":
        return check(profile, unpacked / "results")
    status = render(arguments.target, profile, unpacked, out)
    if status == 0 and arguments.target == "all":
        print(f"{arguments.archive}: figures, tables and claims are in {out}/report.html")
    elif status == 0 and arguments.target != "table6":
        print(f"{arguments.archive}: {arguments.target} are in {out}")
    return status


if __name__ == "__main__":
    main()
