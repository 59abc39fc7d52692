"""Decode a dataset with one model into a run's folder: resumable, with its provenance, never mixed with another run."""

import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from boxes.checkpoint import check_prompts
from boxes.completion import MAX_NEW_TOKENS, Completion, Status
from boxes.dataset import Example, read_examples
from boxes.generation import stratified_states
from boxes.lock import held
from boxes.models import ModelSpec
from boxes.progress import Progress
from boxes.prompting import STATEMENT_REGEX, PromptSettings, encode_prompt, prompt_date, prompt_maker
from boxes.records import CannotWrite, UserError, read_json, sha256_file, sha256_text, write_json
from boxes.runs import (
    FORMAT,
    WHOLE,
    Key,
    OtherFormat,
    Run,
    complete_predictions,
    lacking_identity,
    plain_prompt_sha256,
    read_predictions,
    same_identity,
    same_weights,
    weights_revision,
)
from boxes.weights import Loaded, WeightsMissing, checkpoint_sha256, load, resolve

ADDED = ("halvings", "broken")  # of run.json: they add up over the parts of a run that was interrupted
PACKAGES = ("torch", "transformers", "tokenizers", "outlines_core", "numpy")


@dataclass(frozen=True)
class Settings:
    """How a run is decoded; None leaves the default of the model's row, the device or the engine."""

    constrained: bool = True
    prompt_format: str | None = None
    prompt_style: str = "table2"
    max_new_tokens: int | None = None
    batch_size: int | None = None
    device: str | None = None
    dtype: str | None = None
    drafts_from: Path | None = None  # a complete run, whose statements are proposed to the model (drafting.py)
    progress: Progress | None = field(
        default=None, compare=False
    )  # told of every statement; the same for all runs of a model


@dataclass(frozen=True)
class Task:
    """What is decoded: a dataset file, its checksum, and the examples chosen from it."""

    data: Path
    checksum: str
    examples: list[Example]
    selection: str

    @property
    def by_key(self) -> dict[tuple[int, int], Example]:
        """The examples by (sample_id, num_operations)."""
        return {(example.sample_id, example.num_operations): example for example in self.examples}


def read_task(data: Path, per_bucket: int | None = None) -> Task:
    """A dataset file, or its stratified subset with `per_bucket` queries a bucket (its draw is fixed)."""
    examples = read_examples(data)
    selection = WHOLE
    if per_bucket:
        num_ops = np.array([example.num_ops for example in examples])
        examples = [examples[index] for index in stratified_states(num_ops, np.random.default_rng(0), per_bucket)]
        selection = f"{per_bucket} queries a bucket"
    return Task(data, sha256_file(data), examples, selection)


def decode_run(
    name: str, task: Task, folder: Path, settings: Settings, load_model: Callable[..., Loaded] | None = None
) -> dict:
    """Decode what is missing in a run's folder; the content of its run.json, "not run" or "failed" with the reason included.

    One process at a time has the folder (lock.py). `load_model` stands in for weights.load, e.g. to load once for
    several runs. CannotWrite where the disk is full or the folder may not be written.
    """
    run, missing = Run(folder), None
    try:
        spec, weights = resolve(name)
        name = spec.name
    except WeightsMissing as error:
        missing = {"model": name, "status": "not run", "reason": str(error)}
    with held(folder) as check:
        try:
            run.sweep()
            damaged = run.set_damaged_aside()
            if damaged:
                return _finish(run, {"model": name, "status": "failed", "reason": damaged})
            return (
                _finish(run, missing)
                if missing
                else _decode(run, spec, weights, task, settings, check, load_model or load)
            )
        except CannotWrite:
            raise
        except OSError as error:
            raise CannotWrite(
                f"{error.filename or folder}: {error.strerror or error}; check the disk and the permissions"
            ) from None
        except OtherFormat as error:
            return _say({"model": name, "status": "failed", "reason": str(error)})
        except Exception as error:  # a model can fail in as many ways as there are lines that run it
            check()
            return _finish(run, {"model": name, "status": "failed", "reason": _reason(error)})


def _reason(error: Exception) -> str:
    """The first line of what went wrong; and where, unless it is an error that says so itself."""
    first = next(iter(str(error).strip().splitlines()), "")
    if isinstance(error, UserError | RuntimeError | ValueError):
        return first or type(error).__name__
    at = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {first} ({Path(at.filename).name}, line {at.lineno})".replace(": (", " (")


def _say(provenance: dict) -> dict:
    print(f"{provenance['model']}: {provenance['status']}: {provenance['reason']}", file=sys.stderr)
    return provenance


def _finish(run: Run, provenance: dict) -> dict:
    if provenance["status"] in ("not run", "failed"):
        _say(provenance)
        if run.predictions.path.exists() and run.provenance.exists():
            provenance = read_json(run.provenance) | provenance  # predictions keep the settings they were made with
    provenance = {"format": FORMAT} | provenance
    write_json(run.provenance, provenance)
    return provenance


def _decode(
    run: Run,
    spec: ModelSpec,
    weights: Path,
    task: Task,
    settings: Settings,
    check: Callable[[], None],
    load_model: Callable,
) -> dict:
    old = read_json(run.provenance) if run.provenance.exists() else {}
    same = old.get("status") == "complete" and _same_request(old, spec, weights, task, settings)
    if same and len(read_predictions(run.predictions.path, task.by_key)) == len(task.examples):
        run.provenance.touch()
        if settings.progress:
            settings.progress.begin(run.folder, len(task.examples))
        return old
    from boxes.decoding import Decoder  # torch is imported only where there are weights

    loaded = load_model(str(weights) if spec.profile == "local" else spec.name, settings.device, settings.dtype)
    chosen = PromptSettings(settings.prompt_format or spec.prompt_format, settings.prompt_style, spec.system_role)
    options = {"max_new_tokens": settings.max_new_tokens, "batch_size": settings.batch_size}
    decoder = Decoder(
        loaded.model,
        loaded.tokenizer,
        STATEMENT_REGEX if settings.constrained else None,
        **{key: value for key, value in options.items() if value is not None},
    )
    make_prompt = prompt_maker(chosen, loaded.tokenizer)
    prompts = {key: make_prompt(example.description) for key, example in task.by_key.items()}
    check_prompts(loaded.model, loaded.tokenizer, list(prompts.values()), weights)
    now = _provenance(spec, weights, task, decoder, chosen, make_prompt("{description}"))
    if old and not same_identity(old, now):
        kept = run.set_aside()
        if kept:
            print(f"{spec.name}: predictions with other settings are kept in {kept}", file=sys.stderr)
        old = {}
    done = read_predictions(run.predictions.path, task.by_key)
    if not old and done:
        raise UserError(f"{run.predictions.path}: predictions without run.json; move them away and decode again")
    missing = {key: prompt for key, prompt in prompts.items() if key not in done}
    proposed = settings.drafts_from and _statements(Run(settings.drafts_from), task)
    spent = _spent(old)
    write_json(run.provenance, now | spent)
    with closing(_decode_missing(run, decoder, task, missing, proposed, settings.progress)) as batches:
        for lines, seconds in batches:
            check()
            run.predictions.append(lines)
            spent = _spent(old, seconds, decoder)
            write_json(run.provenance, now | spent)  # what a kill leaves knows how long it took
    return _finish(run, now | spent | _counts(run, task, spent["seconds"]) | {"status": "complete", "reason": ""})


def _same_request(old: dict, spec: ModelSpec, weights: Path, task: Task, settings: Settings) -> bool:
    """Whether a complete run is what is asked for, as far as can be told without loading the model."""
    if lacking_identity(old):
        return False
    asked = {
        "max_new_tokens": settings.max_new_tokens or MAX_NEW_TOKENS,
        "dataset_sha256": task.checksum,
        "selection": task.selection,
        "prompt_format": settings.prompt_format or spec.prompt_format,
        "regex": STATEMENT_REGEX if settings.constrained else None,
    }
    if settings.dtype:
        asked["dtype"] = settings.dtype
    if asked["prompt_format"] == "plain":
        asked |= {"prompt_style": settings.prompt_style, "prompt_sha256": plain_prompt_sha256(settings.prompt_style)}
    return all(old.get(key) == value for key, value in asked.items()) and same_weights(old, _identity(spec, weights))


def _identity(spec: ModelSpec, weights: Path) -> dict:
    """Which checkpoint it is: the commit as far as one is known, and a hash of its files."""
    return {"revision": weights_revision(spec, weights), "checkpoint_sha256": checkpoint_sha256(spec, weights)}


def _statements(run: Run, task: Task) -> dict[Key, str]:
    """What a complete run wrote."""
    return {key: line["prediction"] for key, line in complete_predictions(run.predictions.path, task.by_key).items()}


def _decode_missing(
    run: Run,
    decoder,
    task: Task,
    missing: dict[Key, str],
    proposed: dict[Key, str] | None,
    progress: Progress | None,
) -> Iterator[tuple[list[dict], float]]:
    """Lines of what is not there yet, the prompts `missing`, a batch at a time, and the seconds since the first."""
    examples = [example for key, example in task.by_key.items() if key in missing]
    statements = proposed and [proposed[key] for key in missing]
    began = time.monotonic()
    if progress:
        progress.begin(run.folder, len(task.examples) - len(missing))
    for indices, completions in decoder.batches(list(missing.values()), statements):
        yield list(_lines([examples[index] for index in indices], completions)), time.monotonic() - began
        if progress:
            progress.add(run.folder, len(indices))


def _lines(examples: Sequence[Example], completions: Sequence[Completion]) -> Iterator[dict]:
    for example, completion in zip(examples, completions, strict=True):
        yield {
            "sample_id": example.sample_id,
            "num_operations": example.num_operations,
            "input": example.description,
            "prediction": completion.text,
            "status": completion.status.value,
            "tokens": list(completion.tokens),
        }


def _counts(run: Run, task: Task, seconds: float) -> dict:
    statuses = [line["status"] for line in run.predictions.read()]
    return {
        "statements_per_second": round(len(task.examples) / seconds, 3) if seconds else None,
        "truncated": statuses.count(Status.TRUNCATED),
        "invalid": statuses.count(Status.INVALID),
    }


def _spent(old: dict, seconds: float = 0.0, decoder=None) -> dict:
    """Seconds, and what the engine found out on the way, those of the run's earlier parts included."""
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


def _provenance(spec, weights: Path, task: Task, decoder, chosen: PromptSettings, prompt: str) -> dict:
    """What run.json holds besides counts; "partial" until the last description is decoded."""
    model = decoder.model
    return {
        "format": FORMAT,
        "status": "partial",
        "reason": "not finished; run again to go on",
        "model": spec.name,
        "hub_id": spec.hub_id,
        **_identity(spec, weights),
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
        "device": _device_name(model.device),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        "git_commit": _git_commit(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _device_name(device) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"


def _git_commit() -> str | None:
    """The commit of this checkout, "-dirty" where tracked files differ from it; outside a checkout what GIT_COMMIT says.

    A repository around this folder, or one that GIT_DIR names, is somebody else's.
    """
    root = Path(__file__).resolve().parents[1]
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
