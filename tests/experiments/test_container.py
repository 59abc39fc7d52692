"""The container's scripts: which profile the entry point takes, and what an engine is asked to build and run."""

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ("install/container.sh", "install/entrypoint.sh", "install/setup.sh")
# What a `make test` around these tests, or the container they run in, must not hand down.
OUTER = re.compile(
    r"^(MAKE|MFLAGS|PROFILE|MODELS|ENGINE|IMAGE|BASE|LOCK|BUILD|RUN_|TARGET|CACHE|VENV|HF_|DATA|SEED|HARDW|DECODE|ARGS)"
)


def run(*command: object, path: Path | None = None, cwd: Path = ROOT, **variables: object):
    """A command in a clean environment, with the programs of the folder path before all others."""
    environment = {key: value for key, value in os.environ.items() if not OUTER.match(key)}
    if path:
        environment["PATH"] = f"{path}:{environment['PATH']}"
    environment |= {key: str(value) for key, value in variables.items()}
    return subprocess.run(list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=60)


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_sound_and_executable(name):
    assert run("bash", "-n", ROOT / "experiments" / name).returncode == 0
    assert os.access(ROOT / "experiments" / name, os.X_OK)


# ------------------------------------------------------------------------------------------------ the entry point

NO_GPU = "echo 'No devices were found' >&2; exit 6"
TWO_GPUS = "echo 'GPU 0: NVIDIA H200 (UUID: GPU-1)'; echo 'GPU 1: NVIDIA H200 (UUID: GPU-2)'"


@pytest.mark.parametrize(
    ("nvidia_smi", "lock", "environment", "command", "profile", "why"),
    [
        (NO_GPU, "requirements.lock", {}, "", "tiny", "no NVIDIA GPU is visible"),
        ("exit 127", "requirements.lock", {}, "", "tiny", "no NVIDIA GPU is visible"),
        (TWO_GPUS, "requirements.lock", {}, "", "paper", "2 NVIDIA GPU(s) visible"),
        (TWO_GPUS, "requirements-cpu.lock", {}, "", "tiny", "built from requirements-cpu.lock"),
        (TWO_GPUS, "requirements.lock", {"PROFILE": "reported"}, "", "reported", "the environment names it"),
        (NO_GPU, "requirements.lock", {"PROFILE": "paper"}, "", "paper", "the environment names it"),
        (NO_GPU, "requirements.lock", {"PROFILE": "tiny"}, "PROFILE=reported", "reported", "the command names it"),
    ],
)
def test_the_entry_point_chooses_and_says_why(tmp_path, nvidia_smi, lock, environment, command, profile, why):
    program(tmp_path / "bin", "nvidia-smi", nvidia_smi)
    (tmp_path / ".installed").write_text(f"{lock}\n{'0' * 64}\n")
    asked = ["bash", "-c", 'echo "$PROFILE $*"; exit 3', "make", "all", *shlex.split(command)]
    entry = ROOT / "experiments/install/entrypoint.sh"
    result = run(entry, *asked, path=tmp_path / "bin", VENV=tmp_path, **environment)
    assert result.stdout.split() == [profile, "all", *shlex.split(command)]
    assert re.fullmatch(f"container: PROFILE={profile}: .*\n", result.stderr)
    assert why in result.stderr
    assert result.returncode == 3


def test_an_environment_of_these_locks_is_never_made_again(tmp_path):
    (tmp_path / "experiments/install").mkdir(parents=True)
    for name in ("experiments/install/setup.sh", "requirements.lock", "requirements-cpu.lock"):
        shutil.copy(ROOT / name, tmp_path / name)
    digest = "{ echo compiled; grep -hv '^#' requirements.lock requirements-cpu.lock; } | sha256sum | cut -d ' ' -f 1"
    fingerprint = run("bash", "-c", digest, cwd=tmp_path).stdout
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python").symlink_to(sys.executable)
    (venv / ".installed").write_text(f"requirements.lock\n{fingerprint}")
    os.utime(venv / ".installed", (0, 0))  # older than the locks, as copying may leave it
    result = run(tmp_path / "experiments/install/setup.sh", venv, PIP_INDEX_URL="http://127.0.0.1:9", PIP_FIND_LINKS="")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert not (venv / ".installing").exists()


# ------------------------------------------------------------------------------------------------ building and running

# Stands in for an engine: notes how it was called, answers as the environment says, and is not there where DOWN names it.
ENGINE = """
name=$(basename "$0")
[[ $1 != info ]] || { [[ " ${DOWN:-} " != *" $name "* ]]; exit; }
echo "$name $*" | tr '\\n' ' ' >> "$CALLS"; echo >> "$CALLS"
[[ $1 != from ]] || echo working-container
case "$*" in
    *"python -c"*) echo "${SAYS:-Python 3.13.5, torch 2.13.0+cu130, requirements.lock}" ;;
    *"bash -c"*) printf '%s\\n' "${INSIDE:-user other;capabilities none;root read-only;network none}" | tr ';' '\\n' ;;
    *"make all"*)
        out=$(sed -nE 's|.*--volume ([^ :]+):/artifact/paper/out .*|\\1|p' <<< "$*")/tiny
        [[ -n ${LOST:-} ]] || { mkdir -p "$out" && echo report > "$out/report.html"; } ;;
    *"make test"*) exit "${TEST_STATUS:-0}" ;;
esac
"""


@pytest.fixture
def container(tmp_path):
    """container.sh in a folder of its own with engines that stand in: run it, then .calls() says what it asked them."""
    for name in ("podman", "docker", "buildah"):
        program(tmp_path / "bin", name, ENGINE)
    program(tmp_path / "bin", "nvidia-smi", NO_GPU)
    folder = tmp_path / "checkout"
    (folder / "experiments/install").mkdir(parents=True)
    shutil.copy(ROOT / "experiments/install/container.sh", folder / "experiments/install")
    calls = tmp_path / "calls"

    def call(*command: str, **variables: object):
        settings = {"CALLS": calls, "CACHE": tmp_path / "cache", "GIT_CEILING_DIRECTORIES": tmp_path} | variables
        return run(
            folder / "experiments/install/container.sh", *command, path=tmp_path / "bin", cwd=tmp_path, **settings
        )

    call.calls = lambda: calls.read_text().splitlines() if calls.exists() else []
    call.folder = folder
    return call


@pytest.mark.parametrize(
    ("variables", "engine"),
    [
        ({}, "podman"),
        ({"DOWN": "podman"}, "docker"),
        ({"DOWN": "podman docker"}, "buildah"),
        ({"ENGINE": "docker"}, "docker"),
    ],
)
def test_the_first_engine_that_works_builds(container, variables, engine):
    result = container("build", **variables)
    assert result.returncode == 0, result.stderr
    assert [line.split()[:2] for line in container.calls()] == [[engine, "build"]]


@pytest.mark.parametrize("variables", [{"DOWN": "podman docker buildah"}, {"ENGINE": "docker", "DOWN": "docker"}])
def test_without_an_engine_one_line_says_what_to_do(container, variables):
    result = container("build", **variables)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "apt-get install podman" in result.stderr
    assert container.calls() == []


def test_another_base_lock_and_options_reach_the_build(container):
    container(
        "build", BASE_IMAGE="debian:12", LOCK="requirements-cpu.lock", BUILD_OPTIONS="--isolation chroot", IMAGE="mine"
    )
    (call,) = container.calls()
    for part in ("--build-arg BASE_IMAGE=debian:12 ", "--build-arg LOCK=requirements-cpu.lock ", "--isolation chroot ",
                 "--tag mine ", "--file Containerfile "):  # fmt: skip
        assert part in call


@pytest.mark.parametrize("engine", ["podman", "docker", "buildah"])
def test_runs_as_no_root_with_every_volume_mounted(container, engine):
    result = container("run", "make", "table6", ENGINE=engine)
    assert result.returncode == 0, result.stderr
    (call,) = [line for line in container.calls() if line.split()[1] == "run"]
    assert call.endswith("make table6 ")
    assert re.search(r"--user [1-9]\d*:\d+ ", call)
    mounted = dict(reversed(pair.split(":")) for pair in re.findall(r"--volume (\S+)", call))
    declared = re.search(r"^VOLUME (.*)", (ROOT / "Containerfile").read_text(), re.MULTILINE)[1]
    volumes = re.findall(r'"([^"]+)"', declared)
    assert set(mounted) == set(volumes)
    assert all(Path(folder).is_dir() for folder in mounted.values())
    assert mounted["/artifact/paper/out"] == str(container.folder / "paper/out")


def test_weights_and_the_release_are_mounted_where_they_are_named(container, tmp_path):
    result = container("run", MODELS_DIR=tmp_path / "nowhere")
    assert result.returncode == 2
    assert result.stderr == f"container: MODELS_DIR={tmp_path}/nowhere: no such file or folder\n"
    container("run", MODELS_DIR=tmp_path, HF_TOKEN="secret")
    (call,) = container.calls()
    assert f"--volume {tmp_path}:/models:ro --env MODELS_DIR=/models" in call
    assert "--env HF_TOKEN " in call
    assert "secret" not in call  # handed on by name: no process list shows it
    assert call.endswith("make all ")


@pytest.mark.parametrize(("engine", "option"), [("podman", "--device nvidia.com/gpu=all"), ("docker", "--gpus all")])
def test_a_gpu_is_handed_on(container, tmp_path, engine, option):
    program(tmp_path / "bin", "nvidia-smi", TWO_GPUS)
    container("run", ENGINE=engine)
    assert option in container.calls()[-1]


def test_check_takes_away_what_it_can_and_runs_three_commands(container):
    result = container("check", ENGINE="podman")
    assert result.returncode == 0, result.stderr
    build, *runs = container.calls()
    assert " build " in build
    assert all(" --cap-drop all --network none --read-only --tmpfs /tmp:exec " in call for call in runs)
    assert [call.split("localhost/entity-tracking ")[1].strip() for call in runs[-3:]] == [
        "make all PROFILE=tiny", "make table6", "make test"]  # fmt: skip


@pytest.mark.parametrize(
    ("engine", "facts", "status"),
    [
        ("docker", "user other;capabilities none;root writable;network none", 2),
        ("podman", "user root;capabilities none;root read-only;network none", 2),
        ("buildah", "user other;capabilities none;root writable;network eth0:", 2),
        ("buildah chroot", "user other;capabilities 3fff;root writable;network eth0:", 2),
        ("buildah chroot", "user other;capabilities none;root writable;network eth0:", 0),
    ],
)
def test_check_looks_whether_it_was_taken_away(container, engine, facts, status):
    engine, *isolation = engine.split()
    result = container("check", ENGINE=engine, BUILDAH_ISOLATION=" ".join(isolation), INSIDE=facts)
    assert result.returncode == status, result.stderr
    assert ("inside is not as wanted" in result.stderr) is (status == 2)
    assert any("make all" in call for call in container.calls()) is (status == 0)
    assert ("buildah cannot take away more" in result.stdout) is (status == 0)


def test_check_says_what_computed(container):
    said = "Python 3.12.3, torch 2.13.0+cpu, requirements-cpu.lock"
    result = container("check", SAYS=said)
    assert f"container: inside: {said}\n" in result.stdout


def test_python_torch_and_lock_are_those_that_run(tmp_path):
    (tmp_path / ".installed").write_text(f"requirements.lock\n{'0' * 64}\n")
    script = (ROOT / "experiments/install/container.sh").read_text()
    code = re.search(r"^VERSIONS='(.*?)'$", script, re.MULTILINE | re.DOTALL)[1]
    result = run(sys.executable, "-c", code, VENV=tmp_path)
    python = platform.python_version()
    assert result.stdout == f"Python {python}, torch {torch.__version__}, requirements.lock\n", result.stderr


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"TEST_STATUS": 5}, "make test: ended with status 5"),
        ({"LOST": "yes"}, "no paper/out/tiny/report.html on the volume"),
    ],
)
def test_check_fails_where_a_command_fails_or_its_results_are_lost(container, variables, message):
    result = container("check", **variables)
    assert result.returncode == 2
    assert message in result.stderr


# ------------------------------------------------------------------------------------------------ Make


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], "run make all"),
        (["TARGET=table6", "PROFILE=reported"], "run make table6 'PROFILE=reported'"),
        (["MODELS=a b"], "run make all 'MODELS=a b'"),
        (["TARGET=model", "MODEL=/models/a", "BASE=b"], "run make model 'MODEL=/models/a' 'BASE=b'"),
        (["BASE_IMAGE=debian:12"], "run make all"),  # the container's own
    ],
)
def test_make_hands_on_what_the_user_names_and_needs_no_environment(given, expected):
    result = run("make", "-n", "container-run", "VENV=/nowhere", *given)
    assert result.stdout.strip() == f"experiments/install/container.sh {expected}", result.stderr
