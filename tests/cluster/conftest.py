"""Slurm and Ray, for real, on this machine: two nodes each on loopback. `make test-cluster` runs this in network and
process namespaces of its own, so that nothing is left behind however it ends."""

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SLURM = """\
ClusterName=boxes
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=17000
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=3
JobRequeue=1
GresTypes=gpu
NodeName=node[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[17001-17002] CPUs=2 RealMemory=8000 Gres=gpu:1 State=UNKNOWN
PartitionName=all Nodes=node[1-2] Default=YES MaxTime=INFINITE State=UP
"""
# Devices that any machine has stand for GPUs: they are counted, and named in CUDA_VISIBLE_DEVICES.
GRES = "NodeName=node1 Name=gpu File=/dev/null\nNodeName=node2 Name=gpu File=/dev/zero\n"


def until(condition, seconds: float = 300.0):
    """What a condition gives as soon as that is something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"{condition} did not come true in {seconds} s")


def missing(package: str, *programs: str) -> None:
    """Fail in one line where a package or a program is not installed."""
    if find_spec(package) is None:
        pytest.fail(f"{package} missing: pip install --require-hashes -r requirements-cluster.lock", pytrace=False)
    absent = [name for name in programs if shutil.which(name) is None]
    if absent:
        pytest.fail(f"{', '.join(absent)} missing: apt-get install slurm-wlm munge iproute2", pytrace=False)


def others() -> list[str]:
    """What else runs in this namespace of processes: command lines."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            ended = (folder / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
            if folder.name != str(os.getpid()) and not ended:
                found.append((folder / "cmdline").read_text().replace("\0", " "))
    return found


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left():
    """Whatever a test has started has ended, the last by itself."""
    yield
    if os.getpid() == 1:  # as make test-cluster has it
        with suppress(AssertionError):
            until(lambda: not others(), 30)
        assert others() == []


@contextmanager
def running(command: list[str], **options):
    """A process that ends with the block."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """The environment in which Slurm's commands reach two nodes with a counted GPU each."""
    missing("submitit", "munged", "slurmctld", "slurmd", "sbatch", "srun")
    folder, host = tmp_path_factory.mktemp("slurm"), socket.gethostname()
    # Slurm looks for names only where there is an address besides 127.0.0.1; Ray would take it for its own.
    address = ["192.0.2.1/32", "dev", "lo"]
    for name in ("state", "spool-node1", "spool-node2"):
        (folder / name).mkdir()
    (folder / "slurm.conf").write_text(SLURM.format(host=host, folder=folder))
    (folder / "gres.conf").write_text(GRES)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    own = [f"--{what}={folder}/munge.{end}" for what, end in (("key-file", "key"), ("socket", "socket"))]
    own += [f"--{what}-file={folder}/munge.{what}" for what in ("pid", "log", "seed")]
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    with ExitStack() as stack:
        subprocess.run(["ip", "address", "add", *address], check=True)
        stack.callback(subprocess.run, ["ip", "address", "del", *address])
        stack.enter_context(running(["munged", "--foreground", "--force", *own]))
        until((folder / "munge.socket").exists, 30)
        for command in (["slurmctld"], ["slurmd", "-N", "node1"], ["slurmd", "-N", "node2"]):
            stack.enter_context(running([command[0], "-D", *command[1:]], env=environment))

        def idle() -> bool:
            said = subprocess.run(["sinfo", "-hN", "-o%T"], env=environment, capture_output=True, text=True)
            return said.stdout.split() == ["idle", "idle"]

        until(idle, 60)
        yield environment


@pytest.fixture(scope="session")
def ray_cluster():
    """The environment in which Ray is two nodes with a counted GPU each, and the second node's process."""
    missing("ray")
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1", "--num-gpus=1"]
    start += ["--node-ip-address=127.0.0.1", "--disable-usage-stats"]
    head = ["--head", "--port=6399", "--include-dashboard=false"]
    environment = os.environ | {"RAY_ADDRESS": "127.0.0.1:6399", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    plain = {key: value for key, value in environment.items() if key != "RAY_ADDRESS"}
    with running([*start, *head], env=plain), ExitStack() as stack:

        def there(count: int) -> bool:
            code = "import ray; ray.init(log_to_driver=False); print(sum(n['Alive'] for n in ray.nodes()))"
            said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
            return said.stdout.strip().endswith(str(count))

        until(lambda: there(1), 180)
        second = stack.enter_context(running([*start, "--address=127.0.0.1:6399"], env=plain))
        until(lambda: there(2), 180)
        yield environment, second
