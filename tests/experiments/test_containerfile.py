"""The Containerfile's promises, and what .dockerignore lets into the build."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) in order; continued lines joined, comments dropped."""
    lines = (line for line in (ROOT / "Containerfile").read_text().splitlines() if not line.lstrip().startswith("#"))
    text = "\n".join(lines).replace("\\\n", " ")
    return [(name, " ".join(rest.split())) for name, rest in re.findall(r"^([A-Z]+) +(.*)$", text, re.MULTILINE)]


def arguments(instructions, name: str) -> list[str]:
    return [rest for instruction, rest in instructions if instruction == name]


def place(instructions, name: str, pattern: str) -> int:
    """Where the first such instruction with such arguments stands."""
    return next(i for i, (found, rest) in enumerate(instructions) if found == name and re.search(pattern, rest))


def test_the_base_is_pinned_by_digest_and_can_be_another(instructions):
    assert instructions[0][0] == "ARG"
    assert re.fullmatch(
        r"BASE_IMAGE=docker\.io/nvidia/cuda:13\.0\.1-runtime-ubuntu24\.04@sha256:[0-9a-f]{64}", instructions[0][1]
    )
    assert arguments(instructions, "FROM") == ["${BASE_IMAGE}"]


def test_the_user_is_not_root(instructions):
    (user,) = arguments(instructions, "USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert f"uid={user.split(':')[0]} " in (ROOT / "experiments/install/container.sh").read_text()
    last_written = max(i for i, (name, _) in enumerate(instructions) if name in ("RUN", "COPY"))
    assert place(instructions, "USER", user) > last_written


def test_all_that_is_written_at_run_time_is_on_a_volume(instructions):
    volumes = re.findall(r'"([^"]+)"', arguments(instructions, "VOLUME")[0])
    settings = dict(re.findall(r"([A-Z_]+)=(\S+)", " ".join(arguments(instructions, "ENV"))))
    for name in ("HOME", "HF_HOME", "MODELS_RECORDS"):  # kept: weights, and what is known of them
        assert any(f"{settings[name]}/".startswith(f"{volume}/") for volume in volumes), name
    assert settings["MODELS_RECORDS"].startswith("/cache/")  # container.sh mounts it
    made = next(rest for rest in arguments(instructions, "RUN") if "install -d -m 1777" in rest)
    writable = made.partition("install -d -m 1777 ")[2].split()
    assert {str(Path("/artifact") / folder) for folder in writable} == set(volumes)


def test_nothing_comes_in_but_by_copy_apt_and_the_lock(instructions):
    assert not arguments(instructions, "ADD")
    runs = " ".join(arguments(instructions, "RUN"))
    assert not re.search(r"\b(curl|wget|git|pip3?|uv) ", runs)
    assert "experiments/install/setup.sh" in runs
    setup = (ROOT / "experiments/install/setup.sh").read_text()
    installs = re.findall(r"^.*\bget (?!--dry-run).*-r .*$", setup, re.MULTILINE)
    assert len(installs) == 2
    assert all("--require-hashes" in line for line in installs)
    assert "LOCK=requirements.lock" in arguments(instructions, "ARG")


def test_system_packages_come_from_a_snapshot(instructions):
    (snapshot,) = [rest for rest in arguments(instructions, "ARG") if rest.startswith("APT_SNAPSHOT=")]
    assert re.fullmatch(r"APT_SNAPSHOT=20\d{6}T\d{6}Z", snapshot)
    apt = arguments(instructions, "RUN")[0]
    assert apt.index('APT::Snapshot "%s"') < apt.index("apt-get update") < apt.index("apt-get install")
    assert "rm -rf /var/lib/apt/lists/*" in apt


def test_the_lock_comes_before_the_sources(instructions):
    lock, sources = place(instructions, "COPY", r"requirements\.lock"), place(instructions, "COPY", r"^\. \.$")
    system, packages = place(instructions, "RUN", "apt-get install"), place(instructions, "RUN", r"setup\.sh")
    assert system < lock < packages < sources
    assert sources < place(instructions, "ARG", "^REVISION")  # another commit leaves every layer of files as it is


def test_labels_are_those_of_oci(instructions):
    labels = dict(re.findall(r'org\.opencontainers\.image\.([a-z.]+)="([^"]*)"', arguments(instructions, "LABEL")[0]))
    assert {"title", "description", "licenses", "revision", "base.name"} <= set(labels)
    assert labels["revision"] == "${REVISION}"
    assert labels["base.name"] == "${BASE_IMAGE}"
    assert f"license: {labels['licenses']}" in (ROOT / "CITATION.cff").read_text()


# ------------------------------------------------------------------------------------------------ .dockerignore


def passes(path: str) -> bool:
    """Whether .dockerignore lets a path into the build: the last pattern that matches it or a folder above it decides."""
    allowed = True
    ways = ["/".join(path.split("/")[:depth]) for depth in range(1, path.count("/") + 2)]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.lstrip("!")
        if not pattern or line.startswith("#"):
            continue
        expression = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(expression, way) for way in ways):
            allowed = line.startswith("!")
    return allowed


def test_exceptions_name_their_folders():
    """Podman 4 leaves a folder out, whatever is excepted below it, unless an exception begins with the folder's name."""
    exceptions = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert exceptions
    assert [line for line in exceptions if "*" in line.rpartition("/")[0]] == []


def test_all_that_git_tracks_goes_in():
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True).stdout.split("\0")[
        :-1
    ]
    assert len(tracked) > 100
    assert [path for path in tracked if not passes(path)] == []


@pytest.mark.parametrize(
    "path",
    [
        ".git/HEAD", ".venv/bin/python", ".venv-312/bin/python", ".env", "notes.txt", "weights.bin",
        "data/boxes/test-t5.jsonl", "data/boxes/.settings", "data/runs/tiny/tiny-base/predictions.jsonl",
        "data/results/tiny/scores.csv", "data/boxes-dataset-v1.zip", "paper/out/tiny/report.html",
        "boxes/__pycache__/world.cpython-311.pyc", "tests/__pycache__/x.pyc", ".pytest_cache/README.md",
    ],
)  # fmt: skip
def test_what_git_ignores_stays_out(path):
    assert not passes(path)
