"""The locks, and what must never be committed."""

import os
import re
import shutil
import subprocess

import pytest
from checkout_fixture import LOCKS, ROOT


def locked(name: str) -> dict[str, tuple[str, int]]:
    """Package -> (version, number of hashes)."""
    text = re.sub(r"^#.*\n", "", (ROOT / name).read_text(), flags=re.MULTILINE)
    found = {}
    for entry in re.split(r"\n(?=\S)", text.strip()):
        first, *rest = entry.replace("\\", "").split("\n")
        package, version = re.fullmatch(r"([a-z0-9.-]+)==([^ ]+)(?: ;.*)?\s*", first).groups()
        assert package not in found, package
        assert all(re.fullmatch(r"\s+--hash=sha256:[0-9a-f]{64}\s*", line) for line in rest), package
        found[package] = (version, len(rest))
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_hashes_and_no_address(name):
    assert all(hashes for _, hashes in locked(name).values())
    assert not re.search(r"://|file:|--index|--find-links|--extra|/work|/tmp|/opt", (ROOT / name).read_text())


def test_the_locks_agree():
    full, lean = (locked(name) for name in LOCKS)
    assert lean.pop("torch")[0] == full.pop("torch")[0] + "+cpu"
    assert {package: full[package] for package in lean} == lean
    only_cuda = set(full) - set(lean)
    assert all(package == "triton" or package.startswith(("nvidia-", "cuda-")) for package in only_cuda)


def test_the_locks_have_what_is_asked_for():
    wanted = dict(re.findall(r"^([\w-]+)==([^ \n]+)", (ROOT / "requirements.in").read_text(), re.MULTILINE))
    full = locked("requirements.lock")
    assert wanted == {package: full[package.replace("_", "-")][0] for package in wanted}


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    return subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True).stdout.split("\0")[:-1]


def test_no_task_data_is_tracked(tracked):
    assert not [name for name in tracked if re.match(r"data/boxes/.*\.jsonl|.*\.zip$|data/(runs|results)/", name)]


def test_tracked_files_stay_small(tracked):
    sizes = {name: (ROOT / name).stat().st_size for name in tracked if (ROOT / name).exists()}
    assert sum(size for name, size in sizes.items() if name.startswith("data/models/")) <= 12 * 2**20
    assert sum(size for name, size in sizes.items() if not name.startswith("data/models/")) <= 8 * 2**20


def test_ci_runs_the_readmes_test_command():
    assert re.search(r"^make test\b", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert os.access(ROOT / ".ci/run", os.X_OK)
    readme = ROOT / "README.md"
    if readme.exists():
        assert "make test" in readme.read_text()
