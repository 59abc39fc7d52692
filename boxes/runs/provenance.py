"""What run.json says of how predictions were made."""

import importlib.metadata
import json
import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from boxes.completion import Status
from boxes.models.checkpoint import Checkpoint
from boxes.models.device import device_name
from boxes.prompting import PromptSettings, encode_prompt, prompt_date
from boxes.records import sha256_text
from boxes.runs.agreement import identity
from boxes.runs.folder import FORMAT, Run
from boxes.runs.task import Task

ADDED = ("halvings", "broken")  # of run.json: they add up over the parts of a run that was interrupted


PACKAGES = ("torch", "transformers", "tokenizers", "outlines_core", "numpy")


def counts(run: Run, task: Task, seconds: float) -> dict:
    statuses = [line["status"] for line in run.predictions.read()]
    return {
        "statements_per_second": round(len(task.examples) / seconds, 3) if seconds else None,
        "truncated": statuses.count(Status.TRUNCATED),
        "invalid": statuses.count(Status.INVALID),
    }


def spent_so_far(old: dict, seconds: float = 0.0, decoder=None) -> dict:
    """Seconds, and what the engine found out on the way, those of the run's earlier parts
    included."""
    spent = {"seconds": round(float(old.get("seconds") or 0.0) + seconds, 3)}
    work = decoder.work if decoder else None
    if not work or not work.forwards:  # there was nothing left to decode
        return spent | {key: old[key] for key in ("batch_size", "way", *ADDED, "tokens_per_forward") if key in old}
    found = {"halvings": work.halvings, "broken": work.counted("broken")}
    return spent | {
        "batch_size": work.rows,
        "way": work.way,
        **{key: found[key] + (old.get(key) or 0) for key in ADDED},
        "tokens_per_forward": round(work.tokens / work.forwards, 1),
    }


def provenance_of(checkpoint: Checkpoint, task: Task, decoder, chosen: PromptSettings, prompt: str) -> dict:
    """What run.json holds besides counts; "partial" until the last description is decoded."""
    model, spec = decoder.model, checkpoint.spec
    return {
        "format": FORMAT,
        "status": "partial",
        "reason": "not finished; run again to go on",
        "model": spec.name,
        "hub_id": spec.hub_id,
        **identity(checkpoint),
        **({"gguf": checkpoint.gguf} if checkpoint.gguf else {}),
        "tokenizer": spec.tokenizer[0] if spec.tokenizer else spec.hub_id,
        "prompt_format": chosen.format,
        "prompt_style": chosen.style if chosen.format == "plain" else None,
        "prompt_sha256": sha256_text(prompt),
        "prompt_ids_sha256": sha256_text(json.dumps(encode_prompt(decoder.tokenizer, prompt))),
        "prompt_date": prompt_date(chosen, decoder.tokenizer),
        "constrained": decoder.regex is not None,
        "regex": decoder.regex,
        "max_new_tokens": decoder.max_new_tokens,
        "batch_size": decoder.batch_size,
        "dataset": task.data.name,
        "dataset_sha256": task.checksum,
        "selection": task.selection,
        "examples": len(task.examples),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": device_name(model.device),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        "git_commit": _git_commit(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _git_commit() -> str | None:
    """The commit of this checkout, "-dirty" where tracked files differ from it; outside a checkout
    what GIT_COMMIT says.

    A repository around this folder, or one that GIT_DIR names, is somebody else's.
    """
    root = Path(__file__).resolve().parents[2]
    ours = {key: value for key, value in os.environ.items() if not re.match(r"GIT_(?!CONFIG)", key)}

    def git(*words: str) -> str:
        said = subprocess.run(["git", *words], cwd=root, env=ours, capture_output=True, text=True, check=True)
        return said.stdout.rstrip("\n")

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() == root:
            changes = git("status", "--porcelain", "--untracked-files=no")
            return git("rev-parse", "HEAD") + ("-dirty" if changes else "")
    except (OSError, subprocess.CalledProcessError):
        pass
    return os.environ.get("GIT_COMMIT") or None
