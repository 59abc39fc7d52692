"""Where a model lies: a folder of this repository, MODELS_DIR, or the hub's cache at a commit.

A name is resolved once, by `find`; what it found is handed on as a Checkpoint.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from boxes.models.files import WeightsMissing, tokenizer_files, weight_files
from boxes.models.gguf_files import is_gguf, record_of, written_out
from boxes.models.hub import cache_folder, check_sums, file_sums, recorded
from boxes.models.table import TINY_FOLDER, ModelSpec, all_models, spec_of
from boxes.records import sha256_text

# The pinned commit, where nothing recorded says that the files are of it.
UNVERIFIED = "{} (unverified, from MODELS_DIR)"


@dataclass(frozen=True)
class Checkpoint:
    """A row of the table and the folders it was found in. Its files are hashed when a hash is first
    asked for, each once, and those of the hub's cache not at all where they were when fetched."""

    spec: ModelSpec
    folder: Path
    tokenizer_folder: Path

    @property
    def is_snapshot(self) -> bool:
        """Whether it lies in the hub's cache, in a folder named by its commit."""
        return self.folder.parent.name == "snapshots"

    @cached_property
    def weight_files(self) -> list[Path]:
        """The files of its weights."""
        return weight_files(self.folder)

    @cached_property
    def sha256(self) -> str:
        """A hash of weights, configuration and tokenizer, whatever folder they lie in."""
        files = list(self.weight_files)
        if (self.folder / "config.json").is_file():
            files.append(self.folder / "config.json")
        files += tokenizer_files(self.tokenizer_folder)
        sums = {path: self._recorded_sum(path) for path in files}
        sums |= self._read([path for path in files if not sums[path]])
        return sha256_text("".join(f"{sums[path]}  {path.name}\n" for path in files))

    @cached_property
    def revision(self) -> str | None:
        """The commit of the hub that the weights are of; of a checkpoint of this repository or a
        local one, a hash of them for people: "sha256:" and its first 16 digits."""
        if self.spec.hub_id is None:
            files = sorted([*self.folder.glob("*.safetensors"), *self.folder.glob("*.bin")])
            sums = self._read(files)
            return "sha256:" + sha256_text("".join(sums[path] for path in files))[:16]
        if self.is_snapshot:
            return self.folder.name
        commit = pinned_commit(self.spec)
        return commit if self._is_of(commit) else UNVERIFIED.format(commit)

    @property
    def gguf(self) -> dict[str, str] | None:
        """The GGUF file that it was written out from: its name, SHA-256 and quantisation."""
        return record_of(self.folder)

    def check_recorded(self) -> None:
        """UserError where a file is not the one recorded for the commit that is pinned."""
        known = self._recorded
        commit = self.folder.name if self.is_snapshot else pinned_commit(self.spec)
        if known and known["commit"] == commit:
            here = [self.folder / name for name in known["files"] if (self.folder / name).is_file()]
            check_sums(self._read(here), known["files"])

    def _is_of(self, commit: str | None) -> bool:
        """Whether the weights are those that were recorded when a commit was fetched."""
        known = self._recorded
        if not self.weight_files or known.get("commit") != commit:
            return False
        sums = known["files"]
        if any(path.name not in sums for path in self.weight_files):
            return False
        actual = self._read(self.weight_files)
        return all(actual[path] == sums[path.name] for path in actual)

    @cached_property
    def _recorded(self) -> dict:
        """What was recorded of its repository, "commit" and "files"; empty without one."""
        return recorded(self.spec.hub_id) if self.spec.hub_id else {}

    def _recorded_sum(self, path: Path) -> str | None:
        """A file's hash as it was recorded when a snapshot was fetched: nothing is read for it."""
        known = self._recorded
        if known and path.parent.parent.name == "snapshots" and path.parent.name == known["commit"]:
            return known["files"].get(path.name)
        return None

    @cached_property
    def _sums(self) -> dict[Path, str]:
        """The hashes of the files that were read so far."""
        return {}

    def _read(self, paths: list[Path]) -> dict[Path, str]:
        """The hashes of files as they are on the disk, each read once."""
        self._sums.update(file_sums([path for path in paths if path not in self._sums]))
        return {path: self._sums[path] for path in paths}


def pinned_commit(spec: ModelSpec) -> str | None:
    """Of a row of the hub: the commit in the table, or the one recorded at a first download."""
    return spec.revision or recorded(spec.hub_id).get("commit")


def find(name_or_path: str | Path | Checkpoint) -> Checkpoint:
    """A model of the table by its name, or a local checkpoint by its path (a row of its own, named
    as the folder; of a GGUF file, as the folder that it is written out to); what was found already
    as it is. UserError for a name that is not known, WeightsMissing where nothing is here."""
    if isinstance(name_or_path, Checkpoint):
        return name_or_path
    name, folder = str(name_or_path), Path(name_or_path)
    if is_gguf(folder):
        folder = written_out(folder)
    if name in all_models() or not folder.is_dir():
        return find_row(spec_of(name))
    row = (folder.name, folder.name, folder.name, "?", None, None, None, None, "unknown")
    return Checkpoint(ModelSpec(*row, profile="local"), folder, folder)


def find_row(spec: ModelSpec) -> Checkpoint:
    """The checkpoint of a row. WeightsMissing says how to get its weights or its tokenizer."""
    if spec.elsewhere:
        raise WeightsMissing(f"{spec.name}: was decoded elsewhere (make score), it has no weights here")
    places = [spec.folder] if spec.folder else _places(spec.hub_id, pinned_commit(spec))
    for folder in places:
        if weight_files(folder):
            return Checkpoint(spec, folder, _tokenizer_folder(spec, folder))
    if spec.extra and spec.folder:
        raise WeightsMissing(f"{spec.folder}: no weights here; {spec.name} was added from there")
    if spec.packaged:
        raise WeightsMissing(f"{spec.name}: weights not found; {_fetching(spec)} fetches them")
    if spec.folder:
        if not TINY_FOLDER.is_dir():
            place = "its folder lies in the repository, not in the package; give the path of the folder"
            raise WeightsMissing(f"{spec.name}: no weights here; {place}")
        raise WeightsMissing(f"{spec.folder}: no weights here; `make train-tiny` trains them")
    raise WeightsMissing(
        f"{spec.name}: weights not found; {_fetching(spec)} fetches them, "
        "or name a folder that has them with MODELS_DIR=..."
    )


def _places(hub_id: str, revision: str | None) -> list[Path]:
    """The folders where a repository of the hub can lie: two in MODELS_DIR, and the hub's cache."""
    root = os.environ.get("MODELS_DIR")
    mine = [Path(root) / hub_id.split("/")[1], Path(root) / hub_id] if root else []
    cached = cache_folder(hub_id, revision)
    return [folder for folder in (*mine, cached) if folder and folder.is_dir()]


def _tokenizer_folder(spec: ModelSpec, folder: Path) -> Path:
    """The folder itself, or that of the tokenizer which the row names (float-7b carries none)."""
    if not spec.tokenizer or (folder / "tokenizer.json").exists():
        return folder
    for place in _places(*spec.tokenizer):
        if (place / "tokenizer.json").exists() or (place / "tokenizer.model").exists():
            return place
    raise WeightsMissing(
        f"{spec.name}: its tokenizer, {spec.tokenizer[0]}, not found; {_fetching(spec)} "
        "fetches it, or put its folder beside the weights in MODELS_DIR"
    )


def _fetching(spec: ModelSpec) -> str:
    return f'`make weights PROFILE={spec.profile} MODELS="{spec.name}"`'
