"""What scripts share: how they end, a parser whose errors are one line, types of arguments."""

import argparse
import errno
import functools
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from boxes.interrupts import Ended, end, handlers
from boxes.records import UserError

# Errors of a file that a person can see to; others are mistakes of ours.
_SURROUNDINGS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO)


def command(main: Callable[[], int | None]) -> Callable[[], None]:
    """Wrap a script's main: a UserError, or an OSError of the disk or of permissions, becomes one
    line on stderr and exit status 2, a signal 128 and its number."""

    @functools.wraps(main)
    def wrapped() -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # for a terminal that lacks a character
        try:
            with handlers(end):
                status = main()
        except UserError as error:
            print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
            sys.exit(2)
        except OSError as error:
            if not error.filename or error.errno not in _SURROUNDINGS:
                raise
            line = f"{error.filename}: {error.strerror}; check the disk and the permissions"
            print(f"{Path(sys.argv[0]).name}: {line}", file=sys.stderr)
            sys.exit(2)
        except KeyboardInterrupt as error:
            number = signal.Signals(error.args[0]) if isinstance(error, Ended) else signal.SIGINT
            how = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
            print(f"{Path(sys.argv[0]).name}: {how}; what was written is kept", file=sys.stderr)
            sys.exit(128 + number)
        sys.exit(status or 0)

    return wrapped


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser that shows a script's docstring as it stands. A wrong argument is a UserError: one
    line, not the usage too."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=style)
    parser.error = _refuse
    return parser


def _refuse(message: str) -> NoReturn:
    raise UserError(f"{message}; see --help")


def positive(text: str) -> int:
    """A whole number from 1 on."""
    return _whole(text, 1)


def natural(text: str) -> int:
    """A whole number from 0 on."""
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = -1
    if not least <= number < 2**31:
        raise argparse.ArgumentTypeError(f"must be a whole number from {least} on, not {text!r}")
    return number


def in_folder(text: str) -> Path:
    """A folder that is there."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no folder")
    return Path(text)


def out_folder(text: str) -> Path:
    """A folder to write into; what lacks of it is made later, by who writes."""
    folder = Path(text)
    try:
        place = next(place for place in (folder, *folder.parents) if place.exists())
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot write into {folder} ({error.strerror})") from None
    if not place.is_dir():
        raise argparse.ArgumentTypeError(f"{place} is a file, not a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"no permission to write into {place}")
    return folder


def out_file(text: str) -> Path:
    """A file to write; its folder may be made later."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a folder; name a file")
    out_folder(str(path.parent))
    return path


# What scripts share: name -> option, how it reads, what it is.
_SHARED = {
    "data": ("--data", Path, "the dataset, in the release's schema"),
    "runs": ("--runs", in_folder, "folder with a folder a model"),
    "results": ("--results", Path, "folder of the CSVs"),
    "reported": ("--reported", Path, "the paper's numbers (default: %(default)s)"),
    "out_file": ("--out", out_file, "the file to write"),
    "out_folder": ("--out", out_folder, "folder to write into"),
}


def add_shared(parser: argparse.ArgumentParser, profiles: Sequence[str], *needed: str, **optional: object) -> None:
    """--profile, one of `profiles`, and arguments of _SHARED: those that are needed, and the
    optional ones with their defaults."""
    parser.add_argument("--profile", required=True, choices=profiles, help="which models")
    for name in needed:
        option, kind, meaning = _SHARED[name]
        parser.add_argument(option, type=kind, required=True, help=meaning)
    for name, default in optional.items():
        option, kind, meaning = _SHARED[name]
        parser.add_argument(option, type=kind, default=default, help=meaning)


def add_models(parser: argparse.ArgumentParser) -> None:
    """--models: some rows of the profile."""
    meaning = "only these (default: all)"
    parser.add_argument("--models", nargs="*", default=[], metavar="NAME", help=meaning)


HARDWARE = ("batch_size", "device", "dtype")


def add_hardware(parser: argparse.ArgumentParser) -> None:
    """The options that say on what a model is decoded: those of HARDWARE."""
    batch = "prompts at a time (default: as many as memory holds)"
    device = "cpu, cuda, cuda:1, or auto: over all GPUs (default: the GPU where there is one)"
    dtype = "float32, bfloat16, ... (default: bfloat16 on a GPU, else float32)"
    parser.add_argument("--batch-size", type=positive, help=batch)
    parser.add_argument("--device", help=device)
    parser.add_argument("--dtype", help=dtype)


def hardware_of(arguments: argparse.Namespace) -> dict[str, object]:
    """The values of the options of HARDWARE."""
    return {name: getattr(arguments, name) for name in HARDWARE}
