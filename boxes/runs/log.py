"""The log of a model's runs: what its process says, kept beside the runs, one time after another."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

# Lines of a job's log that only repeat that what it called has failed, or where.
_REPEATED = re.compile(
    r"\s|$|Traceback |The above exception|During handling|srun: |submitit |.*returned non-zero exit status"
)


class Tee:
    """A stream that says everything to another one, and writes it down. What cannot be written down
    (a full disk) is said all the same."""

    def __init__(self, said: TextIO, log: TextIO):
        self.said, self.log = said, log

    def write(self, text: str) -> int:
        """Say and write down a text."""
        with suppress(OSError, ValueError):
            self.log.write(text)
            self.log.flush()
        return self.said.write(text)

    def __getattr__(self, name: str):
        """Whatever else the stream can do."""
        return getattr(self.said, name)


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Standard output and error while it lasts, appended to a file, with the time before and behind
    and how it ended. Where no such file can be written, nothing is."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        log = open(path, "a", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed below
    except OSError:
        yield
        return
    out, err = Tee(sys.stdout, log), Tee(sys.stderr, log)
    ended = "ended"
    try:
        _note(log, f"began: {' '.join(sys.argv)}")
        with redirect_stdout(out), redirect_stderr(err):
            yield
    except BaseException as error:
        ended = f"ended by {type(error).__name__}: {error}"
        raise
    finally:
        _note(log, ended)
        with suppress(OSError):
            log.close()


def _note(log: TextIO, text: str) -> None:
    with suppress(OSError):
        log.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}\n")
        log.flush()


def last_said(log: Path) -> str:
    """The last line of a job's log that says why it ended."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    said = [line for line in lines if not _REPEATED.match(line)]
    return (said or lines or ["it wrote no log"])[-1].strip()
