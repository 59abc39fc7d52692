"""Fetching from a hub on loopback: what comes, what is recorded, one line for all that goes wrong."""

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hub_fixture import Hub, Repository
from huggingface_hub import constants

from boxes.models import fetching, hub, load
from boxes.models.table import MODELS, TINY_FOLDER, models_of
from boxes.records import UserError

ROOT = Path(__file__).resolve().parents[2]
TINY = TINY_FOLDER / "tiny-base"
SMALL_NAMES = ("config.json", "tokenizer.json", "tokenizer_config.json")
SMALL = {name: (TINY / name).read_bytes() for name in SMALL_NAMES}
WEIGHTS = bytes(range(256)) * 2000  # never loaded here but by test_after_it_everything_runs_offline
CHUNK = 10 * 2**20  # bytes that are written at a time: what is cut within one is fetched anew
LARGE = bytes(range(256)) * (CHUNK // 100)
NEVER = {"README.md": b"a card", "modeling.py": b"code",
         "original/consolidated.safetensors": b"x", "train.bin": b"x"}  # fmt: skip
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = json.dumps({"weight_map": dict(zip("ab", SHARDS, strict=True))}).encode()
SAFE = SMALL | NEVER | {"model.safetensors": WEIGHTS, "pytorch_model.bin": b"pickled"}
UNKNOWN = "c" * 40  # the commit of what is not pinned in the table


def repository(name: str, files: dict[str, bytes] = SAFE, **more) -> tuple[str, Repository]:
    spec = MODELS[name]
    return spec.hub_id, Repository(spec.revision or UNKNOWN, files, **more)


class Machine:
    """A machine with a cache and records of its own, and the hub it asks."""

    def __init__(self, folder: Path):
        self.folder, self.hub = folder, Hub({})
        self.cache = folder / "cache"

    def run(self, *line: str, **more) -> subprocess.CompletedProcess:
        hidden = ("HF_", "MODELS_", "TRANSFORMERS_", "http_proxy", "HTTP_PROXY",
                  "https_proxy", "HTTPS_PROXY")  # fmt: skip
        variables = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
        variables |= {"HF_ENDPOINT": self.hub.url, "HF_HUB_CACHE": str(self.cache),
                      "HF_HOME": str(self.folder / "home"), "HF_HUB_DISABLE_PROGRESS_BARS": "1",
                      "MODELS_RECORDS": str(self.folder / "records"),
                      "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}  # fmt: skip
        variables |= more.pop("variables", {})
        more |= {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 120}
        return subprocess.run([sys.executable, *line], env=variables, **more)

    def fetch(self, *names: str, profile: str = "paper", **more) -> subprocess.CompletedProcess:
        which = ("--models", *names) if names else ()
        return self.run("experiments/tools/fetch_weights.py", "--profile", profile, *which, **more)

    def snapshot(self, name: str) -> Path:
        hub_id, commit = MODELS[name].hub_id, MODELS[name].revision or UNKNOWN
        return self.cache / f"models--{hub_id.replace('/', '--')}" / "snapshots" / commit

    def recorded(self) -> dict:
        return json.loads((self.folder / "records" / "revisions.json").read_text())


@pytest.fixture
def machine(tmp_path):
    made = Machine(tmp_path)
    yield made
    made.hub.server.shutdown()
    made.hub.server.server_close()


def lines_of(result: subprocess.CompletedProcess) -> list[str]:
    """What the script itself said on stderr."""
    assert "Traceback" not in result.stderr
    said = [line for line in result.stderr.splitlines() if line.startswith("fetch_")]
    return [line.removeprefix("fetch_weights.py: ") for line in said]


def test_what_is_fetched_recorded_and_found_again(machine):
    shards = dict.fromkeys(SHARDS, WEIGHTS) | {"model.safetensors.index.json": INDEX}
    sharded = SMALL | NEVER | shards
    names = ("CodeLlama-7b-hf", "gemma-7b", "llemma_7b", "codegemma-7b", "float-7b")
    machine.hub.repositories |= dict([
        repository("CodeLlama-7b-hf"), repository("gemma-7b", sharded), repository("codegemma-7b"),
        repository("llemma_7b", SMALL | {"pytorch_model.bin": WEIGHTS}), repository("llama-7b"),
        repository("float-7b", {"config.json": SMALL["config.json"], "pytorch_model.bin": WEIGHTS}),
    ])  # fmt: skip
    first = machine.fetch(*names)
    assert (first.returncode, lines_of(first)) == (0, []), first.stderr
    found = {name: set(os.listdir(machine.snapshot(name))) for name in (*names, "llama-7b")}
    assert found["CodeLlama-7b-hf"] == {*SMALL, "model.safetensors"}
    assert found["gemma-7b"] == {*SMALL, *SHARDS, "model.safetensors.index.json"}
    assert found["llemma_7b"] == {*SMALL, "pytorch_model.bin"}
    assert found["llama-7b"] == {*SMALL}  # the tokenizer of float-7b, no weights
    entry = machine.recorded()["google/codegemma-7b"]
    assert entry["commit"] == UNKNOWN
    assert entry["files"]["model.safetensors"] == hashlib.sha256(WEIGHTS).hexdigest()
    # The hub goes on; what was fetched does not.
    machine.hub.repositories["google/codegemma-7b"].commit = "d" * 40
    again = machine.fetch(*names, variables={"HF_HUB_OFFLINE": "1"})
    assert (again.returncode, again.stderr) == (0, "")
    here = {f"{name}: in {machine.snapshot(name)}" for name in names}
    assert set(again.stdout.splitlines()) == here


def test_everything_that_goes_wrong_is_one_line(machine):
    machine.hub.repositories |= dict([
        repository("gemma-7b", status=401), repository("gemma-7b-it", status=403),
        repository("codegemma-7b", status=403, error="GatedRepo"),
        repository("Llama-2-7b-hf", status=401, error="GatedRepo"),
        repository("Mistral-7B-v0.1", SMALL),
        repository("deepseek-coder-7b-base-v1.5", wrong="model.safetensors"),
        repository("CodeLlama-7b-hf", wrong="config.json"), repository("CodeLlama-13b-hf"),
    ])  # fmt: skip
    machine.hub.repositories["codellama/CodeLlama-13b-hf"].commit = "0" * 40
    gated = "is gated; accept its licence on the hub and set HF_TOKEN"
    nothing = "neither model.safetensors nor pytorch_model.bin"
    deleted = "its checksum is not the hub's; it was deleted, run again"
    other = MODELS["CodeLlama-13b-hf"]
    expected = {
        "gemma-7b": "could not fetch google/gemma-7b (Client error '401 Unauthorized'",
        "codegemma-7b": f"google/codegemma-7b {gated}",
        "Llama-2-7b-hf": f"meta-llama/Llama-2-7b-hf {gated}",
        "gemma-7b-it": "could not fetch google/gemma-7b-it (",
        "llama-7b": "huggyllama/llama-7b is not on the hub, or not visible with this HF_TOKEN",
        "Mistral-7B-v0.1": f"mistralai/Mistral-7B-v0.1: {nothing} at commit 27d67f1",
        "deepseek-coder-7b-base-v1.5": f"model.safetensors: {deleted}",
        "CodeLlama-7b-hf": f"config.json: {deleted}",
        "CodeLlama-13b-hf": f"{other.hub_id} has no commit {other.revision}",
    }
    result = machine.fetch(*expected)
    assert result.returncode == 2
    said = lines_of(result)
    assert len(said) == len(expected), result.stderr
    by_name = {line.partition(": ")[0]: line for line in said}
    for name, message in expected.items():
        assert by_name[name].startswith(f"{name}: {message}")
    refused = "the hub refuses HF_TOKEN, or none is set"
    assert all(by_name[name].endswith(refused) for name in ("gemma-7b", "gemma-7b-it"))
    assert not (machine.snapshot("deepseek-coder-7b-base-v1.5") / "model.safetensors").exists()
    assert not (machine.folder / "records" / "revisions.json").exists()


def test_a_connection_that_is_cut_is_resumed(machine):
    files = SAFE | {"model.safetensors": LARGE}
    hub_id, cut = repository("CodeLlama-7b-hf", files, cut="model.safetensors")
    machine.hub.repositories[hub_id] = cut
    result = machine.fetch("CodeLlama-7b-hf")
    assert (result.returncode, lines_of(result)) == (0, []), result.stderr
    assert [span for name, span in cut.served if name == cut.cut] == [None, f"bytes={CHUNK}-"]
    assert (machine.snapshot("CodeLlama-7b-hf") / "model.safetensors").read_bytes() == LARGE


def test_a_fetch_that_ended_in_the_middle_goes_on_in_the_next(machine):
    files = SAFE | {"model.safetensors": LARGE}
    hub_id, cut = repository("CodeLlama-7b-hf", files, cut="model.safetensors", broken=1)
    machine.hub.repositories[hub_id] = cut
    result = machine.fetch("CodeLlama-7b-hf")
    [line] = lines_of(result)
    assert line.startswith(f"CodeLlama-7b-hf: could not fetch {hub_id} (")
    assert line.endswith("; run again, it resumes")
    result = machine.fetch("CodeLlama-7b-hf")
    assert (result.returncode, lines_of(result)) == (0, []), result.stderr
    assert [span for name, span in cut.served if name == cut.cut][-1] == f"bytes={CHUNK}-"
    assert (machine.snapshot("CodeLlama-7b-hf") / "model.safetensors").read_bytes() == LARGE


def test_a_disk_that_fills_up_is_one_line(machine):
    machine.hub.repositories |= dict([repository("CodeLlama-7b-hf")])
    limit = (len(WEIGHTS) // 2, resource.RLIM_INFINITY)

    def fill_up() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)

    result = machine.fetch("CodeLlama-7b-hf", preexec_fn=fill_up)
    [line] = lines_of(result)
    assert result.returncode == 2
    assert line.endswith("File too large); run again, it resumes")
    assert machine.fetch("CodeLlama-7b-hf").returncode == 0


def test_a_file_that_changed_on_the_disk_is_told(machine, monkeypatch):
    machine.hub.repositories |= dict([repository("codegemma-7b")])
    assert machine.fetch("codegemma-7b").returncode == 0
    weights = machine.snapshot("codegemma-7b") / "model.safetensors"
    content = bytearray(WEIGHTS)
    content[1000] ^= 1
    weights.resolve().write_bytes(content)
    told = f"codegemma-7b: {weights}: not the file that was recorded in"
    [line] = lines_of(machine.fetch("codegemma-7b"))
    assert line.startswith(told.removeprefix("codegemma-7b: "))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(machine.cache))
    monkeypatch.setattr(hub, "REVISIONS", machine.folder / "records" / "revisions.json")
    monkeypatch.setattr(hub, "VERIFIED", machine.folder / "records" / "verified.json")
    monkeypatch.delenv("MODELS_DIR", raising=False)
    with pytest.raises(UserError) as caught:
        load("codegemma-7b", "cpu")
    assert str(caught.value).startswith(f"{weights}: not the file that was recorded")


def test_the_hub_is_held_to_what_was_recorded(machine):
    machine.hub.repositories |= dict([repository("codegemma-7b")])
    assert machine.fetch("codegemma-7b").returncode == 0
    shutil.rmtree(machine.cache)
    other = SAFE | {"model.safetensors": WEIGHTS[::-1]}
    machine.hub.repositories |= dict([repository("codegemma-7b", other)])
    [line] = lines_of(machine.fetch("codegemma-7b"))
    said = "google/codegemma-7b: model.safetensors: the hub's checksum is not the one in"
    assert line.startswith(f"codegemma-7b: {said}")


def test_a_snapshot_of_somebody_elses_making_is_pinned(machine):
    """What lay in the cache already: fetched to the end where the hub answers, recorded as it is
    where it may not be asked."""
    repositories = dict([repository("codegemma-7b")])
    folder = machine.snapshot("codegemma-7b")
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder.parent.parent / "refs").mkdir()
    (folder.parent.parent / "refs" / "main").write_text(UNKNOWN)
    result = machine.fetch("codegemma-7b", variables={"HF_HUB_OFFLINE": "1"})
    assert (result.returncode, result.stdout) == (0, f"codegemma-7b: in {folder}\n"), result.stderr
    assert machine.recorded()["google/codegemma-7b"]["commit"] == UNKNOWN
    (machine.folder / "records" / "revisions.json").unlink()
    machine.hub.repositories |= repositories
    assert machine.fetch("codegemma-7b").returncode == 0
    assert set(machine.recorded()["google/codegemma-7b"]["files"]) == {*SMALL, "model.safetensors"}
    assert (folder / "tokenizer.json").is_file()


def test_after_it_everything_runs_offline(machine):
    """A model of the table that was fetched loads and answers when there is no hub any more."""
    files = {path.name: path.read_bytes() for path in TINY.iterdir()}
    machine.hub.repositories |= dict([repository("CodeLlama-7b-hf", files)])
    assert machine.fetch("CodeLlama-7b-hf").returncode == 0
    machine.hub.repositories.clear()
    read = "from boxes.models import load; m = load('CodeLlama-7b-hf', 'cpu')"
    code = f"{read}; print(len(m.tokenizer), m.model.dtype)"
    nowhere = {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    loaded = machine.run("-c", code, variables=nowhere)
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.split()[1] == "torch.float32"


# --- in this process ---


def test_one_format_of_weights_and_nothing_else():
    assert fetching.wanted_files([*SAFE]) == [*SMALL, "model.safetensors"]
    others = ["pytorch_model.bin", "training_args.bin", "x.py"]
    assert fetching.wanted_files(others) == ["pytorch_model.bin"]
    shard = "pytorch_model-00001-of-00001.bin"
    assert fetching.wanted_files(["model.safetensors.index.json", shard]) == [shard]
    assert fetching.wanted_files([*SAFE], weights=False) == [*SMALL]


def test_too_little_disk_is_said_before_anything_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * 10**9))
    folder = tmp_path / "snapshots" / "abc"
    said = r"13\.0 GB to fetch, 2\.0 GB free; free some, or set HF_HOME$"
    with pytest.raises(UserError, match=said):
        fetching.check_room(folder, {"model.safetensors": SimpleNamespace(size=13 * 10**9)})
    fetching.check_room(folder, {"model.safetensors": SimpleNamespace(size=10**9)})


@pytest.mark.parametrize("profile", ["reported", "tiny"])
def test_a_profile_without_repositories_has_nothing_to_fetch(machine, profile):
    ran = machine.fetch(profile=profile)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert f"{profile}: " in ran.stdout
    assert "nothing to fetch" in ran.stdout
    assert not machine.cache.exists()


def test_more_than_100_gb_are_fetched_when_asked_for_alone(machine):
    refused = machine.fetch()
    [line] = lines_of(refused)
    assert refused.returncode == 2
    assert line == (
        "29 models of profile paper, 1200.1 GB in all; nothing was fetched, "
        'name those that you want with MODELS="...", or fetch all with MODELS=all'
    )
    assert len(refused.stdout.splitlines()) == 29
    assert "Llama-2-70b-hf: 138.0 GB" in refused.stdout.splitlines()
    assert "fetching" not in refused.stdout
    everything = machine.fetch("all", variables={"HF_HUB_OFFLINE": "1"})
    assert everything.stdout.count(": fetching ") == len(lines_of(everything)) == 29


def test_what_is_here_does_not_count(machine, tmp_path):
    for spec in models_of("paper", extra=False):
        if spec.name not in ("CodeLlama-7b-hf", "llama-7b"):
            (tmp_path / "here" / spec.name).mkdir(parents=True)
            (tmp_path / "here" / spec.name / "model.safetensors").touch()
            (tmp_path / "here" / spec.name / "tokenizer.json").touch()
    ran = machine.fetch(variables={"MODELS_DIR": str(tmp_path / "here"), "HF_HUB_OFFLINE": "1"})
    assert ran.stdout.count(": fetching ") == 2
    assert ran.stdout.count(": in ") == 27
