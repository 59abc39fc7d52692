"""Set-up from a stand-in index on loopback: which lock it takes and why, and what settings of the user change."""

import base64
import hashlib
import io
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
REAL_UV = Path(sys.prefix) / "bin/uv"
CUDA, CPU = "requirements.lock", "requirements-cpu.lock"
NO_NETWORK = {"ALL_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
# The index that `--torch-backend cpu` means is far away: BACKEND stands in for it, and nothing does without.
UV = f"""#!/bin/sh
echo "$*" >> "$CALLS"
case "$*" in
    *" --torch-backend cpu"*)
        [ -n "$BACKEND" ] || exit 1
        for word do
            shift
            case "$word" in --torch-backend) word=--extra-index-url ;; cpu) word=$BACKEND ;; esac
            set -- "$@" "$word"
        done ;;
esac
exec {REAL_UV} "$@"
"""
pytestmark = pytest.mark.skipif(not REAL_UV.exists(), reason="uv is not installed")


def wheel(name: str, version: str, files: dict[str, str], tag: str = "py3-none-any") -> tuple[str, bytes]:
    """The name and the bytes of a wheel with these files."""
    info = f"{name}-{version}.dist-info"
    files = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    lines = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        lines.append(f"{path},sha256={digest},{len(text.encode())}\n")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": "".join(lines) + f"{info}/RECORD,,\n"}.items():
            member = zipfile.ZipInfo(path)
            member.external_attr = 0o100755 << 16
            archive.writestr(member, text)
    return f"{name}-{version}-{tag}.whl", buffer.getvalue()


NOISE = random.Random(0).randbytes(1_500_000).hex()  # large enough for a line on its download
WHEELS = {
    "uv": wheel("uv", "1.0", {"uv-1.0.data/scripts/uv": UV}),
    "cuda": wheel("torch", "2.0", {"torch.py": "build = 'cuda'", "torch_more.py": f"# {NOISE}"}),
    "cpu": wheel("torch", "2.0+cpu", {"torch.py": "build = 'cpu'"}),
    "cpu of another Python": wheel("torch", "2.0+cpu", {"torch.py": "build = 'old'"}, "cp35-cp35m-linux_x86_64"),
}


class Index:
    """Package indices on loopback, one below each of `folders`; `asked` has the paths of all requests."""

    def __init__(self, folders: dict[str, tuple[str, ...]]):
        self.asked: list[str] = []
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                index.asked.append(self.path)
                _, folder, *rest = self.path.split("/")
                wheels = [WHEELS[name] for name in folders.get(folder, ())]
                content = (
                    self.page(wheels, rest[0]) if len(rest) == 2 else dict(wheels).get(rest[-1].replace("%2B", "+"))
                )
                self.send_response(200 if content else 404)
                self.send_header("Content-Type", "text/html" if len(rest) == 2 else "application/octet-stream")
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content or b"")

            do_HEAD = do_GET

            def page(self, wheels: list[tuple[str, bytes]], package: str) -> bytes:
                links = [
                    f'<a href="file/{name.replace("+", "%2B")}#sha256={hashlib.sha256(content).hexdigest()}">{name}</a>'
                    for name, content in wheels
                    if name.startswith(f"{package}-")
                ]
                return "\n".join(links).encode()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def pinned(*names: str) -> str:
    """The lines of a lock for some of WHEELS."""
    lines: dict[str, list[str]] = {}
    for name in names:
        file, content = WHEELS[name]
        package, version, _ = file.split("-", 2)
        lines.setdefault(f"{package}=={version}", []).append(f"    --hash=sha256:{hashlib.sha256(content).hexdigest()}")
    return "".join(" \\\n".join([first, *hashes]) + "\n" for first, hashes in lines.items())


@pytest.fixture(scope="module")
def empty_venv(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("empty") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder


@pytest.fixture
def place(tmp_path: Path, empty_venv: Path) -> Iterator[SimpleNamespace]:
    """A checkout with set-up and two locks, an index, and an environment that is to be renewed."""
    checkout = tmp_path / "a b %p #h $d é"
    (checkout / "experiments/install").mkdir(parents=True)
    shutil.copy(ROOT / "experiments/install/setup.sh", checkout / "experiments/install")
    (checkout / CUDA).write_text(pinned("cuda", "uv"))
    (checkout / CPU).write_text(pinned("cpu", "cpu of another Python", "uv"))
    shutil.copytree(empty_venv, checkout / "venv", symlinks=True)
    (checkout / "venv/.installed").write_text("another lock\n")
    index = Index({"main": ("uv", "cuda"), "pip-only": ("cuda",), "cpu": ("cpu",), "old": ("cpu of another Python",)})
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in ("cpu", "cpu of another Python"):
        (wheels / WHEELS[name][0]).write_bytes(WHEELS[name][1])
    yield SimpleNamespace(checkout=checkout, index=index, wheels=wheels, calls=tmp_path / "calls", folder=tmp_path)
    index.server.shutdown()
    index.server.server_close()


def set_up(place: SimpleNamespace, **variables: str) -> subprocess.CompletedProcess:
    """setup.sh with the settings of these variables alone; {url}, {wheels} and {folder} in them are those of the place."""
    inherited = {
        key: value
        for key, value in os.environ.items()
        if not re.match(r"PIP_|UV_|PYTHON|LOCK$|TORCH_|(ALL|HTTPS?|NO)_PROXY$|MAKE|VENV$", key, re.IGNORECASE)
    }
    names = {"url": place.index.url, "wheels": place.wheels, "folder": place.folder}
    given = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "{url}/main/", **variables}
    given = {key: value.format(**names) for key, value in given.items() if value}
    fixed = {"PYTHON": sys.executable, "CALLS": str(place.calls), "UV_CACHE_DIR": str(place.folder / "cache"),
             "PIP_NO_CACHE_DIR": "1", **NO_NETWORK}  # fmt: skip
    return subprocess.run(["experiments/install/setup.sh", "venv"], cwd=place.checkout, env=inherited | fixed | given,
                          capture_output=True, text=True, timeout=120)  # fmt: skip


def installed(place: SimpleNamespace) -> tuple[str, str]:
    """The lock that is on record, and the build of torch that is there."""
    build = subprocess.run([place.checkout / "venv/bin/python", "-E", "-c", "import torch; print(torch.build)"],
                           capture_output=True, text=True)  # fmt: skip
    return (place.checkout / "venv/.installed").read_text().splitlines()[0], build.stdout.strip()


POINT = "where pip's settings point"
FAR = "on the index of CPU builds that uv knows"


@pytest.mark.parametrize(
    ("variables", "lock", "why"),
    [
        (
            {"PIP_FIND_LINKS": "{wheels}", "BACKEND": "{url}/cpu/"},
            CPU,
            f"no NVIDIA GPU here; the CPU build of torch is {POINT}",
        ),
        ({"BACKEND": "{url}/cpu/"}, CPU, f"no NVIDIA GPU here; the CPU build of torch is {FAR}"),
        ({"TORCH_CPU_INDEX": "{url}/old/"}, CUDA, "no CPU build of torch for this Python can be had either"),
        *(
            pytest.param(*row, marks=pytest.mark.slow)
            for row in (
                ({"PIP_EXTRA_INDEX_URL": "{url}/old/ {url}/cpu/"}, CPU, POINT),
                ({"TORCH_CPU_INDEX": "{url}/cpu/"}, CPU, "where pip's settings and TORCH_CPU_INDEX point"),
                ({"LOCK": CPU, "BACKEND": "{url}/cpu/"}, CPU, f"LOCK names it; the CPU build of torch is {FAR}"),
                ({"LOCK": CUDA, "PIP_FIND_LINKS": "{wheels}"}, CUDA, "LOCK names it"),
            )
        ),
    ],
)
def test_the_lock_that_suits_is_taken_and_it_is_said_why(place, variables, lock, why):
    result = set_up(place, **variables)
    assert result.returncode == 0, result.stderr
    assert f"setup: {lock}: " in result.stdout
    assert why in result.stdout
    assert installed(place) == (lock, "cpu" if lock == CPU else "cuda")
    assert ("setup: Downloading torch" in result.stdout) is (lock == CUDA)
    asked_far = "--torch-backend" in place.calls.read_text()
    assert asked_far is ((lock == CUDA and "LOCK" not in variables) or FAR in why)


def test_a_gpu_needs_no_cpu_build(place, monkeypatch):
    (place.folder / "bin").mkdir()
    (place.folder / "bin/nvidia-smi").write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H200 (UUID: GPU-1)'\n")
    (place.folder / "bin/nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{place.folder}/bin:{os.environ['PATH']}")
    result = set_up(place, TORCH_CPU_INDEX="{url}/cpu/")
    assert "setup: requirements.lock: 1 NVIDIA GPU(s) here" in result.stdout
    assert installed(place) == (CUDA, "cuda")
    assert "--dry-run" not in place.calls.read_text()


@pytest.mark.slow
def test_pip_alone_does_it_where_uv_cannot_be_had(place):
    (place.checkout / CUDA).write_text(pinned("cuda"))
    (place.checkout / CPU).write_text(pinned("cpu"))
    result = set_up(place, PIP_FIND_LINKS="{wheels}", PIP_INDEX_URL="{url}/pip-only/")
    assert result.returncode == 0, result.stderr
    assert installed(place) == (CPU, "cpu")
    assert not place.calls.exists()


# What would send packages elsewhere, or refuse them, were it heeded.
HOSTILE = {
    "PIP_USER": "1", "PIP_TARGET": "{folder}/target", "PIP_PREFIX": "{folder}/prefix", "PIP_ROOT": "{folder}/root",
    "PIP_REQUIRE_VIRTUALENV": "1", "PIP_NO_BINARY": ":all:", "PIP_CONSTRAINT": "{folder}/none.txt", "PIP_DRY_RUN": "1",
    "PIP_PYTHON": "/nowhere", "PIP_QUIET": "1", "UV_TARGET": "{folder}/target", "UV_NO_BINARY": "1",
    "UV_CONSTRAINT": "{folder}/none.txt", "UV_PYTHON": "/nowhere", "UV_TORCH_BACKEND": "cu130", "CDPATH": "/usr:/tmp",
    "PYTHONHOME": "/nowhere", "PYTHONPATH": "/nowhere", "PYTHONWARNINGS": "error", "BASH_ENV": "{folder}/bash_env",
}  # fmt: skip
PIP_CONF = """[global]
index-url = {url}/main/
find-links =
    {folder}
    {wheels}
[install]
user = true
target = /nowhere
"""


def test_settings_of_the_user_change_nothing_but_where_packages_are_fetched(place):
    names = {"url": place.index.url, "folder": place.folder, "wheels": place.wheels}
    (place.folder / "pip.conf").write_text(PIP_CONF.format(**names))
    (place.folder / "bash_env").write_text('echo "$NOT_SET_ANYWHERE"; echo hello')
    result = set_up(place, PIP_INDEX_URL="", PIP_CONFIG_FILE="{folder}/pip.conf", **HOSTILE)
    assert result.returncode == 0, result.stderr
    assert (result.stderr, "hello" in result.stdout) == ("", False)
    assert installed(place) == (CPU, "cpu")
    assert not any((place.folder / name).exists() for name in ("target", "prefix", "root"))


def test_a_new_lock_keeps_the_hashes_of_other_pythons(place):
    """Here the index has the CPU build for one of them alone."""
    shutil.copy(ROOT / "experiments/install/lock.sh", place.checkout / "experiments/install")
    (place.checkout / "requirements.in").write_text("torch==2.0\nuv==1.0\n")
    written = {}
    for upgrade in ({}, {"UPGRADE": "1"}):
        given = {"TORCH_CPU_INDEX": f"{place.index.url}/cpu/", "UV_DEFAULT_INDEX": f"{place.index.url}/main/", **upgrade,
                 "UV_CACHE_DIR": str(place.folder / "cache"), "PIP_FIND_LINKS": "", **NO_NETWORK}  # fmt: skip
        result = subprocess.run(["experiments/install/lock.sh", REAL_UV], cwd=place.checkout, env=os.environ | given,
                                capture_output=True, text=True, timeout=120)  # fmt: skip
        assert (result.returncode, result.stderr) == (0, "")
        written[len(upgrade)] = (place.checkout / CPU).read_text()
    assert written[0] == written[1]
    digests = [hashlib.sha256(WHEELS[name][1]).hexdigest() for name in ("cpu", "cpu of another Python")]
    lines = " \\\n".join(f"    --hash=sha256:{digest}" for digest in sorted(digests))
    assert f"\ntorch==2.0+cpu \\\n{lines}\nuv==1.0 " in written[0]
