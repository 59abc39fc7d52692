"""Files that survive: atomic writes, JSON lines with resume, checksums, errors for people."""

import codecs
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from boxes.interrupts import uninterrupted

# Imported where it is used: the model table must be readable before anything is installed.
if TYPE_CHECKING:
    import pandas as pd

MAX_LINE = 1 << 20  # bytes; the longest of ours have a few thousand
_RESTORE = "restore it from the repository"
_MAKE = "run the experiment that writes it (make help)"


class UserError(Exception):
    """Something a person can mend: one line with file, line and what to do. Exit status 2."""


class CannotWrite(UserError):
    """The disk or the folder is at fault, whatever was to be written."""


def write_bytes(path: Path | str, content: bytes | Iterable[bytes]) -> None:
    """Write a whole file (its bytes, or pieces of them) or nothing: a temporary file, flushed to
    disk, then renamed."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        reason = f"cannot write here ({error.strerror})"
        raise CannotWrite(f"{path}: {reason}; check the folder's permissions") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        reason = f"cannot write ({error.strerror}); nothing was changed"
        raise CannotWrite(f"{path}: {reason}, check the disk and the permissions") from None
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(path: Path | str, text: str) -> None:
    """write_bytes for UTF-8 text."""
    write_bytes(path, text.encode())


def write_json(path: Path | str, value: object) -> None:
    """Write a JSON file atomically, indented and with sorted keys."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def unreadable(path: Path | str, error: OSError) -> UserError:
    """What a file that may not be read comes to."""
    mend = "check the file and its permissions"
    return UserError(f"{path}: cannot be read ({error.strerror}); {mend}")


def read_json(path: Path | str, mend: str = "delete it and run again") -> dict:
    """Read a JSON object. UserError names the file where it is missing or malformed, and what to do
    about it."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {_MAKE}") from None
    except OSError as error:
        raise unreadable(path, error) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a readable JSON file ({error}); {mend}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object, found {type(value).__name__}; {mend}")
    return value


def write_csv(path: Path | str, frame: "pd.DataFrame") -> None:
    """Write a table atomically as CSV: '\\n' line ends, no index, floats to six digits."""
    write_text(path, frame.to_csv(index=False, lineterminator="\n", float_format="%.6f"))


def read_csv(
    path: Path | str, columns: tuple[str, ...] = (), numbers: tuple[str, ...] = (), mend: str = _MAKE
) -> "pd.DataFrame":
    """Read a CSV that write_csv wrote; `columns` must be there, and those of `numbers` must hold a
    number of 0 or more in every line. num_ops stays text ('0'..'7', 'all', '1+') unless it is one
    of these. UserError names the file and what to do."""
    import pandas as pd

    try:
        frame = pd.read_csv(path, dtype={"num_ops": str}, keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {mend}") from None
    except OSError as error:
        raise unreadable(path, error) from None
    except ValueError as error:
        reason = " ".join(str(error).split())  # some of pandas' have a line end
        raise UserError(f"{path}: not a readable CSV ({reason}); {mend}") from None
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise UserError(f"{path}: line 1: missing column {', '.join(missing)}; {mend}")
    # More fields than names: pandas takes the first ones for names of the rows.
    if len(frame) and not isinstance(frame.index, pd.RangeIndex):
        raise UserError(f"{path}: line 2: more fields than line 1 has names; {mend}")
    for column in numbers:
        values = pd.to_numeric(frame[column], errors="coerce")
        wrong = ~values.between(0, 2**31)
        if wrong.any():
            row = int(wrong.idxmax())
            found = "nothing"
            if not pd.isna(frame[column][row]):
                found = repr(str(frame[column][row]))
            asked = f"{column} must be a number of 0 or more"
            raise UserError(f"{path}: line {row + 2}: {asked}, found {found}; {mend}")
        frame[column] = values
    return frame


def number_or_none(value: object, where: str, low: float = 0.0, high: float = 100.0) -> float | None:
    """A cell of read_csv as a float within [low, high]; None for an empty one. UserError begins
    with `where`."""
    if value is None or value != value:  # pandas' NaN
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise UserError(f"{where} is {value!r}, not a number; run the experiment again") from None
    if not (math.isfinite(number) and low <= number <= high):
        wrong = f"is {number:g}, outside {low:g} to {high:g}"
        raise UserError(f"{where} {wrong}; run the experiment again")
    return number


def read_lines(path: Path | str, mend: str) -> Iterator[tuple[int, bytes]]:
    """The lines of a file with their numbers, a byte order mark left out, never more than MAX_LINE
    bytes in memory.

    UserError for a line that is longer, which ends in `mend`, what is to be done, and for a file
    that cannot be read.
    """
    try:
        with open(path, "rb") as file:
            number = 0
            while line := file.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    raise UserError(f"{path}: line {number}: longer than {MAX_LINE} bytes; {mend}")
                if number == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)
                yield number, line
    except OSError as error:
        raise unreadable(path, error) from None


def parse_object(line: bytes) -> dict:
    """The JSON object of a line, its line end of either kind included. ValueError says what stands
    there instead."""
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
    except json.JSONDecodeError as error:
        if b"\0" in line:
            raise ValueError("NUL bytes in place of text") from None
        where = f"{error.msg.removesuffix(' at')} at character {error.pos + 1}"
        raise ValueError(f"not JSON, or cut short ({where})") from None
    except (ValueError, RecursionError):
        raise ValueError("not JSON (a number too long, or brackets too deep)") from None
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found {type(value).__name__}")
    return value


def sha256_file(path: Path | str) -> str:
    """SHA-256 of a file's bytes, in hex."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from None


def sha256_text(text: str) -> str:
    """SHA-256 of a text's UTF-8 bytes, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def checksum_lines(folder: Path | str, names: Iterable[str]) -> str:
    """The SHA-256 of files, in the format of sha256sum."""
    return "".join(f"{sha256_file(Path(folder) / name)}  {name}\n" for name in names)


def verify_checksums(
    folder: Path | str, checksums: Path | str, listed: Sequence[str], names: Sequence[str] | None = None
) -> None:
    """UserError names the first of the files `listed` (or of `names` among them) that the committed
    checksums do not fit."""
    try:
        lines = Path(checksums).read_text().splitlines()
    except FileNotFoundError:
        raise UserError(f"{checksums}: no such file of checksums; {_RESTORE}") from None
    except (OSError, ValueError):
        raise UserError(f"{checksums}: not a file of checksums; {_RESTORE}") from None
    digests = {}
    for line in lines:
        digest, _, name = line.partition("  ")
        digests[name] = digest
    if set(digests) != set(listed):
        wanted = ", ".join(listed)
        raise UserError(f"{checksums}: must have a SHA-256 for each of {wanted}; {_RESTORE}")
    for name in names or digests:
        path = Path(folder) / name
        if sha256_file(path) != digests[name]:
            mend = "make it with SEED=27 and the numpy of requirements.lock"
            raise UserError(f"{path}: not the bytes of {checksums}; {mend}")


class JsonLines:
    """An append-only file of JSON objects. A torn last line (a kill mid-write) is cut off when it
    is opened to append."""

    def __init__(self, path: Path | str):
        self.path = Path(path)

    def read(self) -> Iterator[dict]:
        """Whole lines in order, without a last one that has no line end; or a UserError."""
        if not self.path.exists():
            return
        for number, line in read_lines(self.path, "delete the line"):
            if not line.endswith(b"\n"):
                return
            try:
                yield parse_object(line)
            except ValueError as error:
                raise UserError(f"{self.path}: line {number}: {error}; delete the line") from None

    def append(self, values: list[dict]) -> None:
        """Add lines in one write, flushed to disk before it returns, whatever signal comes.
        CannotWrite says what is kept."""
        lines = [json.dumps(value, ensure_ascii=False, sort_keys=True) for value in values]
        text = "".join(line + "\n" for line in lines)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._cut_torn_line()
            with uninterrupted(), open(self.path, "ab") as file:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            kept = "the lines before are kept, run again"
            raise CannotWrite(f"{self.path}: cannot append ({error.strerror}); {kept}") from None

    def _cut_torn_line(self) -> None:
        if not self.path.exists():
            return
        with open(self.path, "rb+") as file:
            size = file.seek(0, os.SEEK_END)
            if size == 0:
                return
            file.seek(size - 1)
            if file.read(1) == b"\n":
                return
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
