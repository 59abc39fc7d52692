"""What sbatch is told of a model's job, and how its command runs and ends on a node."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from boxes.records import UserError
from boxes.runs.log import last_said
from boxes.runs.submission import Command, Needs, sbatch_options, sbatch_parameters

NEEDS = Needs(gpus=2, cores=4, gigabytes=100, minutes=60)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", {}),
        (
            "--partition=gpu --mem-per-cpu=4GB --exclusive",
            {"partition": "gpu", "mem_per_cpu": "4GB", "exclusive": True},
        ),
        ("--prefix='apptainer exec --nv image.sif'", {"prefix": "apptainer exec --nv image.sif"}),
        ("--comment=a=b", {"comment": "a=b"}),
    ],
)
def test_options_are_read_as_a_shell_reads_them(text, options):
    assert sbatch_options(text) == options


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("-p gpu", "write options as --name=value, not '-p'"),
        ("--time 120", "write options as --name=value, not '120'"),
        ("--comment='a", "No closing quotation"),
    ],
)
def test_what_is_no_option_is_named(text, wrong):
    with pytest.raises(UserError) as error:
        sbatch_options(text)
    assert str(error.value) == f"SLURM={text}: {wrong}"


OWN = {"job_name": "boxes", "time": 60, "cpus_per_task": 4, "mem": "100GB", "gpus_per_node": 2, "srun_args": []}
SAID = [
    ("", {}, {"requeue": True}),
    ("--no-requeue", {}, {"no_requeue": True}),
    ("--time=120", {"time": 120}, {"requeue": True, "time": "120"}),
    ("--time=1-0", {}, {"requeue": True, "time": "1-0"}),
    ("--gres=gpu:h100:2", {"gpus_per_node": None}, {"requeue": True, "gres": "gpu:h100:2"}),
    ("--mem-per-gpu=80GB", {"mem": None}, {"requeue": True, "mem_per_gpu": "80GB"}),
]


@pytest.mark.parametrize(("text", "changed", "more"), SAID)
def test_a_users_options_go_before_what_a_model_needs(text, changed, more):
    assert sbatch_parameters(NEEDS, sbatch_options(text)) == OWN | changed | {"additional_parameters": more}


def test_a_container_is_sruns():
    """sbatch would run its script in it, which could not call srun from there."""
    options = sbatch_options("--container-image=x.sqsh --partition=gpu --no-container-mount-home")
    told = sbatch_parameters(NEEDS, options)
    assert told["srun_args"] == ["--container-image=x.sqsh", "--no-container-mount-home"]
    assert told["additional_parameters"] == {"partition": "gpu", "requeue": True}


# ------------------------------------------------------------------------------------------------ on a node
def test_a_command_writes_its_log_and_fails_aloud(tmp_path):
    log = tmp_path / "log"
    with pytest.raises(subprocess.CalledProcessError):
        Command((sys.executable, "-c", "raise SystemExit('x: full')"), str(tmp_path), 1, str(log))()
    assert last_said(log) == "x: full"


@pytest.mark.parametrize(("said", "threads"), [(None, "3"), ("2", "2")])
def test_a_command_has_a_thread_a_core_unless_the_user_says_otherwise(tmp_path, monkeypatch, said, threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    Command(("sh", "-c", "echo $OMP_NUM_THREADS"), str(tmp_path), 3, str(tmp_path / "log"))()
    assert (tmp_path / "log").read_text().split() == [threads]


# Stands for submitit's process: SIGUSR2, which all of a job are sent, ends it; the child shall end in order.
NODE = """\
import json, signal, sys
from boxes.runs.submission import Command
signal.signal(signal.SIGUSR2, lambda *_: sys.exit(7))
Command(tuple(json.loads(sys.argv[1])), sys.argv[2], 1)()
"""
CHILD = """\
trap 'echo ended in order; exit 3' TERM
echo begun; while :; do sleep 0.1; done
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGUSR2, 7), (signal.SIGKILL, -9)])
def test_a_command_ends_in_order_with_the_process_that_runs_it(tmp_path, number, status):
    words = json.dumps(["bash", "-c", f"exec > {tmp_path}/said; {CHILD}"])
    node = subprocess.Popen([sys.executable, "-c", NODE, words, str(tmp_path)], start_new_session=True)
    said = tmp_path / "said"
    wait(lambda: said.exists() and "begun" in said.read_text())
    if number == signal.SIGUSR2:
        os.killpg(node.pid, number)
    else:
        node.send_signal(number)
    assert node.wait(30) == status
    wait(lambda: said.read_text().split("\n")[1:] == ["ended in order", ""])


def wait(condition, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.05)


LOGS = [
    ("", "it wrote no log"),
    ("submitit INFO (2026) - Starting\n04_decode.py: no such file\nTraceback (most recent call last):\n  File x\n"
     "subprocess.CalledProcessError: Command '('a',)' returned non-zero exit status 2.\n"
     "srun: error: node1: task 0: Exited with exit code 1\n", "04_decode.py: no such file"),
    ("Traceback (most recent call last):\n  File x\nModuleNotFoundError: No module named 'torch'\n\n"
     "The above exception was the direct cause\n", "ModuleNotFoundError: No module named 'torch'"),
    ("a warning\nslurmstepd: error: Detected 1 oom_kill event in StepId=7.0\nsrun: error: node1: task 0: Killed\n",
     "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0"),
    ("subprocess.CalledProcessError: Command '('a',)' died with <Signals.SIGKILL: 9>.\n",
     "subprocess.CalledProcessError: Command '('a',)' died with <Signals.SIGKILL: 9>."),
    ("srun: error: only this\n", "srun: error: only this"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "why"), LOGS)
def test_the_last_thing_said_is_why_not_that_it_failed(tmp_path, text, why):
    if text:
        (tmp_path / "log").write_text(text)
    assert last_said(tmp_path / "log") == why
