"""Pack the results of a profile for deposit, and take such an archive apart again, to render tables
without its models.

    python experiments/tools/archive.py --profile tiny --results data/results/tiny \\
        --runs data/runs/tiny --out tiny.tar.zst
    python experiments/tools/archive.py --unpack tiny.tar.zst --out data/results/archives/tiny

The first writes the same bytes for the same results; the second prints the profile. In the archive
lie the CSVs, results.json, every run.json, a page a run and their checksums. Predictions are left
out, with their checksums: each repeats its description, and the task's authors ask that this text
is not published unencrypted, so that it stays out of training data.
"""

import hashlib
import io
import json
import re
import shutil
import sys
import tarfile
import tempfile
from argparse import Namespace
from pathlib import Path

import pandas as pd
import zstandard

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout comes first

from boxes.commandline import argument_parser, command, in_folder
from boxes.minimal_pairs import QUERY_COLUMNS
from boxes.models.table import PROFILES, models_of
from boxes.records import UserError, parse_object, read_csv, sha256_file, write_bytes
from boxes.runs.agreement import check_one_table
from boxes.runs.folder import OtherFormat, read_provenance
from boxes.score_tables import RANDOM, bucket_scores, read_scores
from boxes.world import shown
from experiments.tools.cards import CARD, cards

FORMAT = 1  # of the archive: raised when a file in it changes its meaning
# Unpacked; the 29 models of Table 6 need about 200 files and 6 million bytes.
MAX_FILES, MAX_BYTES = 1000, 1 << 26
MAX_PACKED = 1 << 26
WINDOW = 1 << 24  # bytes that a decompressor may have to look back; level 19 uses half of it
LEVEL = 19
ABOUT, SUMS, LEFT_OUT, README = "archive.json", "SHA256SUMS", "PREDICTIONS.sha256", "README.txt"
CITATION = "CITATION.cff"
ROOT = Path(__file__).resolve().parents[2]
# What every description, statement and prompt of the task has, in whatever words, and nothing that is deposited.
TASK_TEXT = re.compile(
    rb"(Box [0-6]|Container [A-G]) (contains (the [a-z]|nothing)|is empty)|(is|are) in Container [A-G]|"
    rb"(Move|Remove|Put|Take|Place) the [a-z]+( and the [a-z]+)* (from|into|out of|inside) (Box|Container)|"
    rb"Move the contents of Box|Pick up the [a-z]+"
)
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}"
_ALLOWED = re.compile(
    rf"{ABOUT}|{SUMS}|{LEFT_OUT}|{README}|{CITATION}|runs/{_NAME}/{CARD}|"
    rf"results/[a-z0-9_]{{1,40}}\.csv|results/results\.json|runs/{_NAME}(/{_NAME})?/run\.json"
)
_BROKEN = (tarfile.TarError, zstandard.ZstdError, ValueError, EOFError, OverflowError)
_BROKEN += (RecursionError,)
_DISTRUST = "nothing was unpacked, name an archive that experiments/tools/archive.py wrote"
# Of a run.json and its line in runs.csv.
SAME = ("revision", "prompt_sha256", "dataset_sha256", "started")
TEXT = f"""\
Results of the entity-tracking artifact: results/*.csv (all in results.json), every run's provenance (runs/MODEL/run.json;
CARD.md is a page of it), checksums.

    sha256sum --check {SUMS}                 in the unpacked folder
    make table6 FROM=THIS.tar.zst            in the artifact: Table 6, without a GPU, data or predictions
    make all FROM=THIS.tar.zst               tables, figures and the report

The predictions are left out: each repeats the description it is about, and the authors of the task ask that its text is
not published in the clear, so that it stays out of training data. {LEFT_OUT} has the checksums of the files that the
results were computed from; results/queries.csv says of every query whether it was answered rightly.
"""


@command
def main() -> None:
    arguments = parse_arguments()
    if arguments.unpack:
        print(unpack(arguments.unpack, arguments.out))
        return
    files = collect(arguments.profile, arguments.results, arguments.runs)
    check(arguments.profile, arguments.results, arguments.runs)
    packed = pack(files)
    write_bytes(arguments.out, packed)
    size = f"{len(files)} files, {len(packed)} bytes"
    print(f"{arguments.out}: {size}; predictions are left out, with their checksums")


def parse_arguments() -> Namespace:
    parser = argument_parser(__doc__)
    unpack = "take this archive apart instead of packing one"
    out = "the archive; with --unpack the folder, made anew"
    parser.add_argument("--unpack", type=Path, metavar="ARCHIVE", help=unpack)
    parser.add_argument("--profile", choices=PROFILES)
    parser.add_argument("--results", type=in_folder, help="folder of the CSVs")
    parser.add_argument("--runs", type=Path, help="folder with a folder a model")
    parser.add_argument("--out", required=True, type=Path, help=out)
    arguments = parser.parse_args()
    for name in ("profile", "results", "runs"):
        if (getattr(arguments, name) is None) != (arguments.unpack is not None):
            raise UserError(f"--{name}: needed to pack, and not to unpack; see --help")
    return arguments


# --- packing ---


def run_files(profile: str, runs: Path) -> list[Path]:
    """The run.json of every model, and of its runs beside (free decoding, prompt formats)."""
    found = []
    for spec in models_of(profile):
        folder = runs / spec.name
        if (folder / "run.json").exists():
            found.append(folder / "run.json")
        found += sorted(folder.glob("*/run.json"))
    return [path for path in found if not path.parent.name.startswith("superseded-")]


def collect(profile: str, results: Path, runs: Path) -> dict[str, bytes]:
    """name in the archive -> content. Raises UserError where there are no results."""
    tables = sorted(results.glob("*.csv"))
    if not {"scores.csv", "runs.csv"} <= {path.name for path in tables}:
        raise UserError(f"{results}: no scores.csv and runs.csv; `make all` writes them")
    provenance = run_files(profile, runs)
    files = {f"results/{path.name}": path.read_bytes() for path in [*tables, *results.glob("results.json")]}
    left_out = []
    for path in provenance:
        files[f"runs/{path.relative_to(runs).as_posix()}"] = path.read_bytes()
        answers = path.with_name("predictions.jsonl")
        if answers.exists():
            name = f"runs/{answers.relative_to(runs).as_posix()}"
            left_out.append(f"{sha256_file(answers)}  {name}\n")
    files |= cards(results, runs)
    files[CITATION] = (ROOT / CITATION).read_bytes()
    files[LEFT_OUT] = "".join(left_out).encode()
    files[ABOUT] = (json.dumps({"format": FORMAT, "profile": profile}) + "\n").encode()
    files[README] = TEXT.encode()
    check_no_task_text(files)
    files[SUMS] = checksums(files).encode()
    return files


def check_no_task_text(files: dict[str, bytes]) -> None:
    """UserError where a file to be deposited has a description, a statement or a sentence of one."""
    for name, content in files.items():
        if TASK_TEXT.search(content):
            mend = "it is kept out of what is published; take it out or make that file again"
            raise UserError(f"{name}: has text of the task; {mend}")


def checksums(files: dict[str, bytes]) -> str:
    """The SHA-256 of all files but SUMS itself, in the format of sha256sum."""
    lines = []
    for name in sorted(files.keys() - {SUMS}):
        lines.append(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n")
    return "".join(lines)


def pack(files: dict[str, bytes]) -> bytes:
    """A tar of the files by name, without dates or owners, in one Zstandard frame."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(files[name]), 0o644
            archive.addfile(info, io.BytesIO(files[name]))
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(buffer.getvalue())


# --- unpacking ---


def unpack(path: Path, folder: Path) -> str:
    """Write an archive's files to a folder, all of them or none; the profile. UserError for what is
    not such an archive."""
    if folder.exists() and not (folder / ABOUT).is_file():
        wrong = "not a folder that an archive was unpacked into"
        raise UserError(f"{folder}: {wrong}; name another or move it away")
    files = read_archive(path)
    profile = profile_of(path, files)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        fresh = Path(scratch) / "archive"
        for name, content in files.items():
            write_bytes(fresh / name, content)
        try:
            check(profile, fresh / "results", fresh / "runs")
        except UserError as error:
            wrong, _, mend = str(error).replace(f"{fresh}/", "").rpartition("; ")
            # What mends results of one's own mends no archive; another version may read it.
            if not isinstance(error, OtherFormat):
                mend = _DISTRUST
            raise UserError(f"{path}: {wrong}; {mend}") from None
        if folder.exists():
            shutil.rmtree(folder)
        fresh.rename(folder)
    return profile


def read_archive(path: Path) -> dict[str, bytes]:
    """The files of an archive, held against its checksums; no name but those of _ALLOWED."""
    try:
        files = read_tar(path, decompress(path))
    except _BROKEN as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not a readable .tar.zst ({reason}); fetch it again") from None
    if files.get(SUMS, b"").decode("utf-8", "replace") != checksums(files):
        raise UserError(f"{path}: the files in it are not those of its {SUMS}; fetch it again")
    return files


def decompress(path: Path) -> bytes:
    """All that the archive unpacks to, MAX_BYTES at most."""
    try:
        with open(path, "rb") as file:
            packed = file.read(MAX_PACKED + 1)
    except OSError as error:
        mend = "name an archive with FROM=..."
        raise UserError(f"{path}: cannot be read ({error.strerror}); {mend}") from None
    if len(packed) > MAX_PACKED:
        raise UserError(f"{path}: more than {MAX_PACKED} bytes; {_DISTRUST}")
    with zstandard.ZstdDecompressor(max_window_size=WINDOW).stream_reader(packed) as reader:
        content = reader.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise UserError(f"{path}: would unpack to more than {MAX_BYTES} bytes; {_DISTRUST}")
    return content


def read_tar(path: Path, content: bytes) -> dict[str, bytes]:
    """name -> content of a tar's members: plain files with names that are allowed, each once."""
    files: dict[str, bytes] = {}
    # A stream: headers cannot lead back.
    with tarfile.open(fileobj=io.BytesIO(content), mode="r|") as archive:
        for info in archive:
            if not _ALLOWED.fullmatch(info.name):
                wrong = f"{shown(info.name)} has no place in an archive of results"
                raise UserError(f"{path}: {wrong}; {_DISTRUST}")
            if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or info.issparse():
                raise UserError(f"{path}: {shown(info.name)} is no plain file; {_DISTRUST}")
            if info.name in files or len(files) == MAX_FILES:
                wrong = f"{shown(info.name)} a second time, or more than {MAX_FILES} files"
                raise UserError(f"{path}: {wrong}; {_DISTRUST}")
            files[info.name] = archive.extractfile(info).read()
    return files


def profile_of(path: Path, files: dict[str, bytes]) -> str:
    """What ABOUT says. UserError for another format, or a profile that is unknown here."""
    try:
        about = parse_object(files[ABOUT])
    except (KeyError, ValueError):
        raise UserError(f"{path}: no proper {ABOUT} inside; {_DISTRUST}") from None
    if about.get("format") != FORMAT:
        found = shown(about.get("format"))
        wrong = f"format {found}, this version reads {FORMAT}"
        raise UserError(f"{path}: {wrong}; use the version that wrote it")
    if about.get("profile") not in PROFILES:
        wrong = f"unknown profile {shown(about.get('profile'))}"
        raise UserError(f"{path}: {wrong}; use the version that wrote it")
    return about["profile"]


# --- what belongs together ---


def check(profile: str, results: Path, runs: Path) -> None:
    """UserError unless scores follow from the answers, and these from runs that may share a table
    and lie beside them."""
    if profile == "reported":  # printed counts: nothing was run
        return
    lines = read_csv(results / "runs.csv", ("model", "status", *SAME)).to_dict("records")
    provenance = {}
    for line in lines:
        if line["status"] != "complete":
            continue
        if not re.fullmatch(_NAME, str(line["model"])):
            wrong = f"{shown(line['model'])} is no model's name"
            raise UserError(f"{results / 'runs.csv'}: {wrong}; score again (make all)")
        path = runs / str(line["model"]) / "run.json"
        run = provenance[line["model"]] = read_provenance(path)
        listed = {name: "" if pd.isna(line[name]) else str(line[name]) for name in SAME}
        differs = [name for name in SAME if str(run.get(name, "")) != listed[name]]
        if differs:
            names = ", ".join(differs)
            raise UserError(f"{path}: {names} not as in runs.csv; score again (make all)")
    check_one_table(provenance)
    check_scores(results, list(provenance))


def check_scores(results: Path, run: list[str]) -> None:
    """UserError unless the scores are those of the models run, and follow from queries.csv."""
    path = results / "scores.csv"
    scores = read_scores(path)
    queries = read_csv(results / "queries.csv", QUERY_COLUMNS, ("num_ops", "correct"))
    for model in run:
        rows = bucket_scores(queries[queries.model == model])
        follow = {row.num_ops: (row.n, row.correct) for row in rows.itertuples()}
        said = {num_ops: score for (name, num_ops), score in scores.items() if name == model}
        if {num_ops: (score.n, score.correct) for num_ops, score in said.items()} != follow:
            wrong = f"{model} is not what follows from queries.csv"
            raise UserError(f"{path}: {wrong}; score again")
    strangers = {model for model, _ in scores} - {*run, RANDOM}
    if strangers:
        raise UserError(f"{path}: {min(strangers)} has no complete run; score again")


if __name__ == "__main__":
    main()
