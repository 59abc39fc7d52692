"""Some hundred of the inputs that tests/faults/fuzz.py makes without end."""

import os
import re
import subprocess
import sys

import pytest
from fuzz import PROPERTIES, attempt, check_statement, strictly_right
from scripts_fixture import ROOT


@pytest.mark.parametrize("name", PROPERTIES)
def test_edited_inputs_are_refused_as_documented_or_mean_what_they_say(name):
    tried, accepted = attempt(name, 300, start=0)
    assert 0 < accepted < tried  # both ways out were taken
    assert tried >= 300


def test_a_statement_that_once_passed_for_saying_so():
    assert not check_statement(("Box 0 contains the car, Box 1 contains", ["the map"] * 7, "ok"))
    assert check_statement(("Box 0 contains the car, Box 1 contains", ["the car"] * 7, "ok"))
    assert not strictly_right("Box 0 contains the car and the map, Box 1 contains the car", 0, "the car")


def test_the_fuzzer_says_how_many_inputs_it_tried():
    command = [sys.executable, "tests/faults/fuzz.py", "--seconds", "1", "--seed", "5"]
    ran = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": "."}, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    counts = re.findall(r"^(\w+) \(\d of 4\): (\d+) inputs, (\d+) accepted, (\d+) refused$", ran.stdout, re.MULTILINE)
    assert [name for name, *_ in counts] == list(PROPERTIES)
    assert all(int(tried) == int(accepted) + int(refused) >= 100 for _, tried, accepted, refused in counts)
