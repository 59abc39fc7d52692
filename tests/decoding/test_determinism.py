"""The tables do not depend on the machine: threads and batches change nothing, in float32.

A short form, on a small dataset, is the fault "hardware" of tests/faults/inject.py.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from faults_checkout import HARDWARE, checkout, environment, outcome


def make_tiny(folder: Path, threads: int, batch_size: int) -> dict[str, object]:
    """What the whole tiny profile gives in a checkout of its own: predictions, CSVs, tables and
    figures."""
    # More would wait for each other's threads.
    jobs = max(1, len(os.sched_getaffinity(0)) // threads)
    command = [
        "make",
        f"-j{jobs}",
        "all",
        "PROFILE=tiny",
        f"VENV={sys.prefix}",
        f"HARDWARE={HARDWARE.format(batch_size)}",
    ]
    variables = environment({"OMP_NUM_THREADS": str(threads)})
    place = checkout(folder)
    ran = subprocess.run(command, cwd=place, env=variables, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    return outcome(folder)


@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores for two threads")
def test_the_whole_tiny_profile_gives_the_same_tables_on_other_hardware(tmp_path):
    first = make_tiny(tmp_path / "one", threads=1, batch_size=64)
    second = make_tiny(tmp_path / "two", threads=2, batch_size=7)
    assert sum(name.endswith("predictions.jsonl") for name in first) == 10
    names = first.keys() | second.keys()
    assert sorted(name for name in names if first.get(name) != second.get(name)) == []
