"""Models decoded on a cluster: each a job of Slurm (through submitit) or a task of Ray. No scheduler of our own.

A job runs experiments/04_decode.py --model on a node, which goes on where an earlier one stopped: run folders, leases and
provenance are those of a run on one machine, on a file system that all nodes see. Both libraries are of the extra lock
requirements-cluster.lock and imported only when asked for.
"""

import ctypes
import json
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from boxes.models.shapes import GB, weight_bytes
from boxes.models.table import ModelSpec
from boxes.records import UserError, write_text
from boxes.runs.devices import is_small, needed, try_lock, wait_for_lock

PLACES = ("local", "slurm", "ray")
CARD = 80e9  # bytes of a GPU's memory, where --gpus does not say how many a model needs
MOST_GPUS = 8
CORES = 4
MINUTES = 240  # the limit of a job; SLURM="--time=..." says another
PAUSE = 2.0  # seconds between two looks at what is under way
RETRIES = 3  # of a task whose node is lost
UNDER_WAY = {"PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "REQUEUED", "REQUEUE_HOLD", "SUSPENDED", "STOPPED"}
DONE = "COMPLETED"
GONE = "gone (cancelled before it began, or ended long ago)"
PREFIX = "prefix"  # SLURM="--prefix='apptainer exec --nv image.sif'": before the interpreter


@dataclass(frozen=True)
class Needs:
    """What one job has to itself."""

    gpus: int
    cores: int
    gigabytes: int  # of the node's memory


@dataclass(frozen=True)
class Job:
    """A model's job: the command that decodes it, and the file that one command at a time has locked."""

    name: str
    command: tuple[str, ...]
    needs: Needs
    lock: Path


@dataclass(frozen=True)
class Ended:
    """How a job ended: what it is called and where its log lies, and why it failed (None: it did not)."""

    job: str
    failure: str | None = None


def needs_of(spec: ModelSpec, gpus: int | None, device: str | None) -> Needs:
    """What a model needs: as many GPUs as hold its weights, none for a small one, and its weights once in memory while
    they are read."""
    count, cores = gpus or needed(spec.name, 2, [int(CARD)] * MOST_GPUS), CORES
    if is_small(spec):
        count, cores = gpus or 0, 1
    if device == "cpu":
        count = 0
    return Needs(count, cores, math.ceil(1.2 * weight_bytes(spec) / GB) + 1)


# ------------------------------------------------------------------------------------------------ on a node
@dataclass(frozen=True)
class Command:
    """What runs on a node. It ends with the process that runs it."""

    words: tuple[str, ...]
    folder: str
    log: str = ""  # a file; "": where the place writes what is said

    def __call__(self) -> None:
        log = open(self.log, "a") if self.log else None  # noqa: SIM115 - it is the process's until that ends
        subprocess.run(self.words, cwd=self.folder, stdout=log, stderr=log, check=True, preexec_fn=_end_with_parent)

    def checkpoint(self):
        """For submitit: what to run when the job was preempted or its time is over."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG of Linux


def lacking(where: str) -> UserError:
    """What is said where a library is not there."""
    mend = "install it: .venv/bin/pip install --require-hashes -r requirements-cluster.lock"
    return UserError(f"WHERE={where} needs a package that is not installed; {mend}")


# ------------------------------------------------------------------------------------------------ the places
class Slurm:
    """Jobs that need the same are one array. `options`: sbatch's, e.g. "--partition=gpu --time=120"."""

    def __init__(self, logs: Path, options: str):
        try:
            import submitit
        except ImportError:
            raise lacking("slurm") from None
        self.logs, self.options = logs, {"requeue": True}
        for word in shlex.split(options):
            key, equals, value = word.removeprefix("--").partition("=")
            self.options[key.replace("-", "_")] = value if equals else True
        python = f"{self.options.pop(PREFIX, '')} {shlex.quote(sys.executable)}".strip()
        try:
            self.executor = submitit.SlurmExecutor(logs, python=python)
        except RuntimeError:
            raise UserError("WHERE=slurm: there is no srun here; run this on a login node of the cluster") from None

    def submit(self, jobs: list[Job]) -> dict[str, str]:
        ids = {}
        for needs in dict.fromkeys(job.needs for job in jobs):
            same = [job for job in jobs if job.needs == needs]
            gpus = {"gpus_per_node": needs.gpus} if needs.gpus else {}
            own = {"job_name": "boxes", "time": MINUTES, "cpus_per_task": needs.cores, "mem": f"{needs.gigabytes}GB"}
            self.executor.update_parameters(**own, **gpus, additional_parameters=self.options)
            with self.executor.batch():
                handles = [self.executor.submit(Command(job.command, os.getcwd())) for job in same]
            ids |= {job.name: handle.job_id for job, handle in zip(same, handles, strict=True)}
        return ids

    def states(self, ids: Collection[str]) -> dict[str, str]:
        found = {}
        for base in {identity.split("_")[0] for identity in ids}:
            asked = ["squeue", "--noheader", "--array", "--states=all", f"--jobs={base}", "--format=%i|%T"]
            said = subprocess.run(asked, capture_output=True, text=True)
            if said.returncode and "Invalid job id" not in said.stderr:  # the controller may be away for a moment
                return dict.fromkeys(ids, "PENDING")
            found |= dict(line.split("|") for line in said.stdout.split())
        return found

    def log(self, identity: str) -> Path:
        return self.logs / f"{identity}_0_log.err"

    def cancel(self, ids: Iterable[str]) -> None:
        subprocess.run(["scancel", *ids], check=False)


class Ray:
    """Tasks of a cluster at RAY_ADDRESS, else of one on this machine. They end with the process that submits them."""

    def __init__(self, logs: Path, options: str):
        try:
            import ray
        except ImportError:
            raise lacking("ray") from None
        self.ray, self.logs, self.tasks = ray, logs, {}
        self.ray.init(address=options or os.environ.get("RAY_ADDRESS"), log_to_driver=False, logging_level="ERROR")

    def submit(self, jobs: list[Job]) -> dict[str, str]:
        for job in jobs:
            needs = {"num_gpus": job.needs.gpus, "num_cpus": 1, "max_retries": RETRIES, "name": job.name}
            run = self.ray.remote(**needs)(_run)
            words = (job.command, os.getcwd(), str(self.log(job.name).absolute()))
            self.tasks[job.name] = run.remote(dict(os.environ), *words)
        return {job.name: job.name for job in jobs}

    def states(self, ids: Iterable[str]) -> dict[str, str]:
        found = {}
        for name in ids:
            ready, _ = self.ray.wait([self.tasks[name]], timeout=0)
            found[name] = self._outcome(name) if ready else "RUNNING"
        return found

    def _outcome(self, name: str) -> str:
        try:
            self.ray.get(self.tasks[name])
        except self.ray.exceptions.RayError as error:
            return type(error).__name__
        return DONE

    def log(self, identity: str) -> Path:
        return self.logs / f"{identity}.log"

    def cancel(self, ids: Iterable[str]) -> None:
        for name in ids:
            self.ray.cancel(self.tasks[name], force=True)


def _run(environment: dict[str, str], *words) -> None:
    """A task of Ray, with the environment of the command that submits it but for the GPUs it is given."""
    os.environ |= {key: value for key, value in environment.items() if key != "CUDA_VISIBLE_DEVICES"}
    Command(*words)()


# ------------------------------------------------------------------------------------------------ from submission to end
def run_remote(jobs: list[Job], where: str, options: str, logs: Path) -> dict[str, Ended]:
    """Submit each job, unless it is under way already, and wait for all; how each ended, by name. What ends this
    process cancels them."""
    logs.mkdir(parents=True, exist_ok=True)
    place = {"slurm": Slurm, "ray": Ray}[where](logs, options)
    locks = []
    for job in jobs:  # a second command waits for the first one's jobs
        handle = try_lock(job.lock)
        locks.append(wait_for_lock(job.lock) if handle is None else handle)
    ids: dict[str, str] = {}
    try:
        ids = under_way(place, where, logs, jobs)
        ids |= place.submit([job for job in jobs if job.name not in ids])
        write_text(logs / f"{where}.json", json.dumps(ids))
        return _ends(place, where, ids)
    except BaseException:
        place.cancel(ids.values())
        raise
    finally:
        for handle in locks:
            os.close(handle)


def under_way(place: Slurm | Ray, where: str, logs: Path, jobs: list[Job]) -> dict[str, str]:
    """The jobs that a command which was killed has left behind, and that still run."""
    record = logs / f"{where}.json"
    if where == "ray" or not record.exists():
        return {}
    names = {job.name for job in jobs}
    ids = {name: identity for name, identity in json.loads(record.read_text()).items() if name in names}
    states = place.states(ids.values())
    return {name: identity for name, identity in ids.items() if states.get(identity) in UNDER_WAY}


def _ends(place: Slurm | Ray, where: str, ids: dict[str, str]) -> dict[str, Ended]:
    """Wait for the end of all jobs."""
    ended: dict[str, Ended] = {}
    while len(ended) < len(ids):
        left = {name: identity for name, identity in ids.items() if name not in ended}
        states = place.states(left.values())
        for name, identity in left.items():
            state = states.get(identity, GONE)
            if state not in UNDER_WAY:
                job, failed = f"{where} {identity}: {place.log(identity)}", state != DONE
                ended[name] = Ended(job, f"{state}; {last_line(place.log(identity))}" if failed else None)
                print(f"{name}: {job}: {state}", file=sys.stderr, flush=True)
        if len(ended) < len(ids):
            time.sleep(PAUSE)
    return ended


def last_line(log: Path) -> str:
    """The last thing a job said that is no traceback."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    said = [line.strip() for line in lines if ": error: " in line or "Killed" in line or "CANCELLED" in line]
    return (said or lines or ["it wrote no log"])[-1].strip()
