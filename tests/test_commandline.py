"""How scripts end: a status, and at most a line."""

import signal
import sys

import pytest
from scripts_fixture import python

from boxes.commandline import command
from boxes.records import (
    JsonLines,
    UserError,
)


@pytest.mark.parametrize(
    ("outcome", "status", "message"),
    [
        (None, 0, ""),
        (0, 0, ""),
        (3, 3, ""),
        (UserError("data.jsonl: line 3: what; what to do"), 2, "script.py: data.jsonl: line 3: what; what to do\n"),
        (KeyboardInterrupt(), 130, "script.py: interrupted; what was written is kept\n"),
        (PermissionError(13, "Permission denied", "data.jsonl"), 2,
         "script.py: data.jsonl: Permission denied; check the disk and the permissions\n"),
        (OSError(28, "No space left on device", "scratch"), 2,
         "script.py: scratch: No space left on device; check the disk and the permissions\n"),
    ],
)  # fmt: skip
def test_a_command_ends_with_a_status_and_at_most_a_line(outcome, status, message, monkeypatch, capsys):
    @command
    def main():
        """A purpose."""
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(sys, "argv", ["experiments/script.py"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == status
    assert capsys.readouterr() == ("", message)
    assert main.__doc__ == "A purpose."


@pytest.mark.parametrize("error", [ZeroDivisionError, BrokenPipeError])
def test_a_mistake_of_ours_keeps_its_traceback(error):
    @command
    def main():
        raise error

    with pytest.raises(error):
        main()


@pytest.mark.parametrize(
    ("number", "how"),
    [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "ended by SIGTERM"), (signal.SIGHUP, "ended by SIGHUP")],
)
@pytest.mark.parametrize("when", ["between", "within"])
def test_a_signal_ends_a_script_after_the_line_being_written(number, how, when, tmp_path):
    """Within an append it comes when the file is open and nothing is written: the lines are
    finished first."""
    code = """if True:
        import os, signal, sys, time
        from boxes import records
        from boxes.commandline import command
        from boxes.records import JsonLines
        path, number, when = sys.argv[1], int(sys.argv[2]), sys.argv[3]
        sys.argv = ["script.py"]
        signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background inherit it ignored
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        def opened(path, mode):
            file = open(path, mode)
            if mode == "ab":
                os.kill(os.getpid(), number)
            return file
        @command
        def main():
            JsonLines(path).append([{"number": 1}])
            if when == "within":
                records.open = opened
                JsonLines(path).append([{"number": 2}, {"number": 3}])
            else:
                os.kill(os.getpid(), number)
            time.sleep(10)
        main()"""
    path = tmp_path / "lines.jsonl"
    ran = python(code, path, int(number), when)
    assert (ran.returncode, ran.stderr) == (128 + number, f"script.py: {how}; what was written is kept\n")
    assert path.read_bytes().endswith(b"}\n")
    assert [line["number"] for line in JsonLines(path).read()] == ([1, 2, 3] if when == "within" else [1])
