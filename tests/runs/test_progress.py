"""How far a model is: whole lines, few of them, and the time left."""

from pathlib import Path

import pytest

from boxes.runs.progress import Progress, span

OWN, FREE = Path("own"), Path("own/free")


class Clock:
    """Seconds that pass when they are told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_line_says_what_is_left_of_all_runs(capsys):
    clock = Clock()
    progress = Progress("a-model", 200, clock)
    progress.begin(OWN, 20)  # of an earlier process
    clock.now += 5
    progress.add(OWN, 10)
    assert capsys.readouterr().err == ""
    clock.now += 15
    progress.add(OWN, 30)
    assert capsys.readouterr().err == "a-model: 60 of 200 statements, 70 s left\n"  # 40 in 20 s, 140 left
    progress.begin(OWN, 100)
    progress.begin(FREE, 0)
    clock.now += 30
    progress.add(FREE, 60)
    assert capsys.readouterr().err == "a-model: 160 of 200 statements, 20 s left\n"


def test_hours_are_few_lines_and_the_end_is_none(capsys):
    clock = Clock()
    progress = Progress("a-model", 36_000, clock)
    progress.begin(OWN, 0)
    for _ in range(36_000):
        clock.now += 1
        progress.add(OWN, 1)
    lines = capsys.readouterr().err.splitlines()
    assert 10 < len(lines) < 80
    assert lines[0] == "a-model: 10 of 36,000 statements, 10 h 00 min left"
    assert not any("36,000 of 36,000" in line for line in lines)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (120, "2 min"), (5940, "99 min"), (12_000, "3 h 20 min")]
)
def test_spans_are_short(seconds, text):
    assert span(seconds) == text
