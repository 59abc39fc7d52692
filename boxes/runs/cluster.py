"""Models decoded on a cluster: each a job of Slurm (through submitit) or a task of Ray. No scheduler of our own.

A job runs experiments/04_decode.py --model on a node, which goes on where an earlier one stopped: run folders, leases and
provenance are those of a run on one machine, on a file system that all nodes see. Both libraries are of the extra lock
requirements-cluster.lock and imported only when asked for.
"""

import io
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from contextlib import ExitStack, redirect_stderr
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from boxes.interrupts import deferred
from boxes.models.shapes import GB
from boxes.records import UserError, read_json, write_json
from boxes.runs.devices import sign, wait_for_lock
from boxes.runs.log import last_said
from boxes.runs.status import Outcome
from boxes.runs.submission import Command, Submission, sbatch_options, sbatch_parameters

PLACES = ("local", "slurm", "ray")
PACKAGES = {"slurm": "submitit", "ray": "ray"}
PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds between two looks at what is under way, each time a fifth longer
RETRIES = 3  # of a task whose node is lost
UNDER_WAY = {"PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESIZING",
             "RESV_DEL_HOLD", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT", "STOPPED", "SUSPENDED"}  # fmt: skip
DONE, GONE = "COMPLETED", "no longer listed (cancelled before it began, or ended long ago)"
SACCT = ("sacct", "--noheader", "--parsable2", "--allocations", "--format=JobID,State")


class Slurm:
    """`options`: sbatch's, and --prefix="apptainer exec --nv image.sif", which stands before the interpreter."""

    def __init__(self, logs: Path, options: str):
        import submitit

        self.logs = logs
        self.options = sbatch_options(options)
        python = f"{self.options.pop('prefix', '')} {shlex.quote(sys.executable)}".strip()
        try:
            self.executor = submitit.SlurmExecutor(logs, python=python)
        except RuntimeError:
            raise UserError("WHERE=slurm: there is no srun here; run this on a login node of the cluster") from None

    def submit(self, alike: list[Submission]) -> dict[str, str]:
        """An array of jobs that need the same: name -> id. UserError in sbatch's words where it refuses."""
        try:
            self.executor.update_parameters(**sbatch_parameters(alike[0].needs, self.options))
            with redirect_stderr(io.StringIO()), self.executor.batch():  # submitit prints what sbatch says, too
                handles = [self.executor.submit(one.command) for one in alike]
        except RuntimeError as error:
            said = "; ".join(line.removeprefix("sbatch: error: ") for line in str(error).splitlines())
            raise UserError(f'WHERE=slurm: sbatch refuses: {said}; SLURM="..." is what it is told') from None
        return {one.name: handle.job_id for one, handle in zip(alike, handles, strict=True)}

    def states(self, ids: Collection[str]) -> dict[str, str]:
        """id -> state; while Slurm's controller is away, all wait."""
        jobs = "--jobs=" + ",".join(sorted({identity.split("_")[0] for identity in ids}))
        squeue = ("squeue", "--noheader", "--states=all", "--format=%i|%T", jobs)
        found = _listed(*squeue, "--array")
        if found is None:
            return dict.fromkeys(ids, "PENDING")
        gone = set(ids) - set(found)
        if gone:  # where the accounting, if there is one, or what is left of an array may tell
            ended = (_listed(*squeue) or {}) | (_listed(*SACCT, jobs) or {})
            for identity in gone:
                state = ended.get(identity) or ended.get(identity.split("_")[0])
                found[identity] = GONE if state in {None, *UNDER_WAY} else state
        return found

    def log(self, identity: str) -> Path:
        return self.logs / f"{identity}_0_log.err"

    def cancel(self, ids: Collection[str]) -> None:
        subprocess.run(["scancel", "--quiet", *ids], check=False)


def _listed(*command: str) -> dict[str, str] | None:
    """id -> state from lines "7_0|RUNNING", "7_1|CANCELLED by 0"; "7_[2-4]|..." or "7_[]|...", the rest of an array, counts
    as "7". None where Slurm does not answer."""
    said = subprocess.run(("env", *command), capture_output=True, text=True)  # env: a command may not be there
    if said.returncode and "Invalid job id" not in said.stderr:
        return None
    pairs = [line.split("|") for line in said.stdout.splitlines()]
    return {re.sub(r"_\[.*", "", identity): state.split()[0] for identity, state in pairs}


class Ray:
    """Of a cluster at RAY_ADDRESS, else of this machine. Its tasks end with the process that submits them."""

    def __init__(self, logs: Path, options: str):
        import ray

        self.ray, self.logs, self.tasks = ray, logs, {}
        before = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(address=options or None, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"WHERE=ray: {reason}; RAY_ADDRESS=host:6379 names the head of a Ray that is up") from None
        signal.signal(signal.SIGTERM, before)  # Ray has put its own handler in place

    def submit(self, alike: list[Submission]) -> dict[str, str]:
        """Tasks that need the same: name -> id."""
        needs, nodes = alike[0].needs, [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        cores = min(needs.cores, int(max(node.get("CPU", 1) for node in nodes)))
        asked = {"GPU": needs.gpus, "CPU": cores, "memory": int(needs.gigabytes * GB)}
        if not any(all(node.get(kind, 0) >= least for kind, least in asked.items()) for node in nodes):
            mend = 'waiting for one that has, or HARDWARE="--device cpu"'
            print(f"WHERE=ray: no node has {asked}; {mend}", file=sys.stderr, flush=True)
        for one in alike:
            own = {"num_gpus": needs.gpus, "num_cpus": cores, "memory": asked["memory"], "name": one.name}
            command = replace(one.command, cores=cores, log=str(self.log(one.name).absolute()))
            self.log(one.name).unlink(missing_ok=True)
            self.tasks[one.name] = self.ray.remote(**own, max_retries=RETRIES)(_run).remote(command, dict(os.environ))
        return {one.name: one.name for one in alike}

    def states(self, ids: Collection[str]) -> dict[str, str]:
        """id -> state, of what this process has submitted."""
        found = {}
        for name in set(ids) & set(self.tasks):
            try:
                self.ray.get(self.tasks[name], timeout=0)
                found[name] = DONE
            except self.ray.exceptions.GetTimeoutError:
                found[name] = "RUNNING"
            except self.ray.exceptions.RayError as error:
                found[name] = type(error).__name__
        return found

    def log(self, identity: str) -> Path:
        return self.logs / f"{identity}.log"

    def cancel(self, ids: Collection[str]) -> None:
        for name in ids:
            self.ray.cancel(self.tasks[name], force=True)


def _run(command: Command, environment: dict[str, str]) -> None:
    """A task of Ray, with the environment of the process that submits it but for the GPUs it is given."""
    os.environ |= {key: value for key, value in environment.items() if key != "CUDA_VISIBLE_DEVICES"}
    command()


def run_remote(submissions: list[Submission], where: str, options: str, logs: Path) -> dict[str, Outcome]:
    """Submit what is not under way already, and wait for all: how each ended, by name. What ends this process cancels
    them. UserError where a package lacks or the place refuses."""
    if find_spec(PACKAGES[where]) is None:
        mend = ".venv/bin/pip install --require-hashes -r requirements-cluster.lock"
        raise UserError(f"WHERE={where} needs a package that is not installed; install it: {mend}")
    logs.mkdir(parents=True, exist_ok=True)
    place, record = {"slurm": Slurm, "ray": Ray}[where](logs, options), logs / f"{where}.json"
    with ExitStack() as locks:
        for one in sorted(submissions, key=lambda one: one.name):  # a second command waits for the first one's jobs
            handle = wait_for_lock(one.lock)
            locks.callback(os.close, handle)
            sign(handle)
        known = read_json(record) if record.exists() else {}  # what commands that were killed have left behind, too
        ids = {one.name: known[one.name] for one in submissions if one.name in known}
        states = place.states(ids.values()) if ids else {}
        ids = {name: identity for name, identity in ids.items() if states.get(identity) in UNDER_WAY}
        new = [one for one in submissions if one.name not in ids]
        try:
            for needs in dict.fromkeys(one.needs for one in new):
                with deferred():  # no signal comes between a job and its record
                    ids |= place.submit([one for one in new if one.needs == needs])
                    write_json(record, known | ids)
            return _outcomes(place, where, ids)
        except BaseException:
            with deferred():
                if ids:
                    place.cancel(ids.values())
                    write_json(record, {name: identity for name, identity in known.items() if name not in ids})
            raise


def _outcomes(place: Slurm | Ray, where: str, ids: dict[str, str]) -> dict[str, Outcome]:
    """Wait for the end of all."""
    outcomes, pause = {}, PAUSE
    while len(outcomes) < len(ids):
        time.sleep(pause)
        pause = min(1.2 * pause, LONGEST_PAUSE)
        left = {name: identity for name, identity in ids.items() if name not in outcomes}
        states = place.states(left.values())
        for name, identity in left.items():
            state, log = states.get(identity, GONE), place.log(identity)
            if state not in UNDER_WAY:
                failure = None if state == DONE else f"{state}; {last_said(log)}"
                outcomes[name] = Outcome(f"{where} {identity}: {log}", failure)
                print(f"{name}: {where} {identity}: {state}", file=sys.stderr, flush=True)
    return outcomes
