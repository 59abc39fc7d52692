"""What is submitted to a cluster for a model, how it runs on a node, and what sbatch is told of it."""

import os
import re
import shlex
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from boxes.interrupts import end_with_parent
from boxes.records import UserError

# What is not asked for where the user asks for it in another way: sbatch refuses both together.
OTHERWISE = {
    "gres": "gpus_per_node", "gpus": "gpus_per_node", "gpus_per_task": "gpus_per_node",
    "mem_per_cpu": "mem", "mem_per_gpu": "mem", "cpus_per_gpu": "cpus_per_task",
}  # fmt: skip


@dataclass(frozen=True)
class Needs:
    """What a model's job has to itself, and for how long at most."""

    gpus: int
    cores: int
    gigabytes: int  # of the node's memory
    minutes: int


@dataclass(frozen=True)
class Command:
    """What decodes a model. It runs in a process of its own, with a thread a core, and ends with the one that calls it."""

    words: tuple[str, ...]
    folder: str
    cores: int
    log: str | None = None  # a file that is added to; None: where the place writes what is said

    def __call__(self) -> None:
        log = self.log and open(self.log, "a")  # noqa: SIM115 - it is the process's until that ends
        environment = {"OMP_NUM_THREADS": str(self.cores)} | os.environ
        options = {"cwd": self.folder, "env": environment, "stdout": log, "stderr": log, "preexec_fn": _beneath}
        with subprocess.Popen(self.words, **options) as process:
            try:
                status = process.wait()
            except BaseException:  # preempted, or out of time: it ends in order, and leaves no lease behind
                process.terminate()
                raise
        if status:
            raise subprocess.CalledProcessError(status, self.words)

    def checkpoint(self):
        """For submitit: what to run when the job was preempted or its time is over."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _beneath() -> None:
    end_with_parent()
    # Slurm tells all processes of a job that its time is nearly over: the parent, which is submitit's, heeds it.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


@dataclass(frozen=True)
class Submission:
    """A model, the command that decodes it, what that needs, and the file that one process at a time has locked."""

    name: str
    command: Command
    needs: Needs
    lock: Path


def sbatch_options(text: str) -> dict[str, str | bool]:
    """A user's options for sbatch by their names in submitit: "--mem-per-cpu=4GB --exclusive" is mem_per_cpu and exclusive.
    UserError for what is no option."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"SLURM={text}: {error}") from None
    options: dict[str, str | bool] = {}
    for word in words:
        if not word.startswith("--"):
            raise UserError(f"SLURM={text}: write options as --name=value, not {word!r}")
        name, equals, value = word.removeprefix("--").partition("=")
        options[name.replace("-", "_")] = value if equals else True
    return options


def sbatch_parameters(needs: Needs, options: dict[str, str | bool]) -> dict:
    """submitit's parameters for a job that needs so much; a user's options go before."""
    own = {"job_name": "boxes", "time": needs.minutes, "cpus_per_task": needs.cores, "mem": f"{needs.gigabytes}GB"}
    own |= {"gpus_per_node": needs.gpus or None}
    own |= {OTHERWISE[name]: None for name in options if name in OTHERWISE}
    limit = str(options.get("time"))
    if limit.isdigit():  # submitit counts by it how often a job's time has run out
        own["time"] = int(limit)
    # Those of a container are srun's: sbatch would run its script inside, which could then call no srun.
    containers = [name for name in options if re.match("(no_)?container", name)]
    more = {name: value for name, value in options.items() if name not in containers}
    if "no_requeue" not in options:
        more["requeue"] = True
    return own | {"additional_parameters": more, "srun_args": [_flag(name, options[name]) for name in containers]}


def _flag(name: str, value: str | bool) -> str:
    flag = f"--{name.replace('_', '-')}"
    return flag if value is True else f"{flag}={value}"
