"""Decode a dataset with one model into a run's folder: resumable, with its provenance, never mixed
with another run."""

import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from boxes.completion import MAX_NEW_TOKENS, Completion
from boxes.dataset import Example
from boxes.models import Checkpoint, Loaded, WeightsMissing, find, load
from boxes.models.reading import check_prompts
from boxes.prompting import PromptSettings, prompt_maker, statement_regex
from boxes.records import CannotWrite, UserError, read_json, write_json
from boxes.runs.agreement import identity, lacking_identity, plain_prompt_sha256, same_identity, same_weights
from boxes.runs.folder import FORMAT, Key, OtherFormat, Run, read_predictions
from boxes.runs.lock import held
from boxes.runs.progress import Progress
from boxes.runs.provenance import counts, provenance_of, spent_so_far
from boxes.runs.task import Settings, Task
from boxes.world import Wording


def decode_run(
    model: str | Checkpoint,
    task: Task,
    folder: Path,
    settings: Settings,
    load_model: Callable[..., Loaded] | None = None,
) -> dict:
    """Decode what is missing in a run's folder; the content of its run.json, "not run" or "failed"
    with the reason included.

    One process at a time has the folder (lock.py). `load_model` stands in for boxes.models.load,
    e.g. to load once for several runs. CannotWrite where the disk is full or the folder may not be
    written.
    """
    run, missing = Run(folder), None
    try:
        checkpoint = find(model)
        name = checkpoint.spec.name
    except WeightsMissing as error:
        name = str(model)
        missing = {"model": name, "status": "not run", "reason": str(error)}
    with held(folder) as check:
        try:
            run.sweep()
            damaged = run.set_damaged_aside()
            if damaged:
                return _finish(run, {"model": name, "status": "failed", "reason": damaged})
            if missing:
                return _finish(run, missing)
            return _decode(run, checkpoint, task, settings, check, load_model or load)
        except CannotWrite:
            raise
        except OSError as error:
            wrong = f"{error.filename or folder}: {error.strerror or error}"
            raise CannotWrite(f"{wrong}; check the disk and the permissions") from None
        except OtherFormat as error:
            return _say({"model": name, "status": "failed", "reason": str(error)})
        except Exception as error:  # a model can fail in as many ways as lines run it
            check()
            return _finish(run, {"model": name, "status": "failed", "reason": _reason(error)})


def _reason(error: Exception) -> str:
    """The first line of what went wrong; and where, unless it is an error that says so itself."""
    first = next(iter(str(error).strip().splitlines()), "")
    if isinstance(error, UserError | RuntimeError | ValueError):
        return first or type(error).__name__
    at = traceback.extract_tb(error.__traceback__)[-1]
    where = f"({Path(at.filename).name}, line {at.lineno})"
    return f"{type(error).__name__}: {first} {where}".replace(": (", " (")


def _say(provenance: dict) -> dict:
    print(f"{provenance['model']}: {provenance['status']}: {provenance['reason']}", file=sys.stderr)
    return provenance


def _finish(run: Run, provenance: dict) -> dict:
    if provenance["status"] in ("not run", "failed"):
        _say(provenance)
        if run.predictions.path.exists() and run.provenance.exists():
            # Predictions keep the settings that they were made with.
            provenance = read_json(run.provenance) | provenance
    provenance = {"format": FORMAT} | provenance
    write_json(run.provenance, provenance)
    return provenance


def _decode(
    run: Run, checkpoint: Checkpoint, task: Task, settings: Settings, check: Callable[[], None], load_model: Callable
) -> dict:
    old = read_json(run.provenance) if run.provenance.exists() else {}
    if _is_done(run, old, checkpoint, task, settings):
        return old
    chosen = PromptSettings(
        settings.prompt_format or checkpoint.spec.prompt_format, settings.prompt_style, checkpoint.spec.system_role,
        task.wording,
    )  # fmt: skip
    decoder = _decoder(load_model(checkpoint, settings.device, settings.dtype), settings, task.wording)
    make_prompt = prompt_maker(chosen, decoder.tokenizer)
    prompts = {key: make_prompt(example.description) for key, example in task.by_key.items()}
    check_prompts(decoder.model, decoder.tokenizer, list(prompts.values()), checkpoint.folder)
    now = provenance_of(checkpoint, task, decoder, chosen, make_prompt("{description}"))
    old = _same_settings(run, old, now)
    done = read_predictions(run.predictions.path, task.by_key)
    if not old and done:
        found = f"{run.predictions.path}: predictions without run.json"
        raise UserError(f"{found}; move them away and decode again")
    missing = {key: prompt for key, prompt in prompts.items() if key not in done}
    proposed = settings.drafts_from and _statements(Run(settings.drafts_from), task)
    spent = spent_so_far(old)
    write_json(run.provenance, now | spent)
    decoded = _decode_missing(run, decoder, task, missing, proposed, settings.progress)
    with closing(decoded) as batches:
        for lines, seconds in batches:
            check()
            run.predictions.append(lines)
            spent = spent_so_far(old, seconds, decoder)
            write_json(run.provenance, now | spent)  # what a kill leaves knows how long it took
    now |= spent | counts(run, task, spent["seconds"])
    return _finish(run, now | {"status": "complete", "reason": ""})


def _is_done(run: Run, old: dict, checkpoint: Checkpoint, task: Task, settings: Settings) -> bool:
    """Whether a run is complete and what is asked for; it is then marked as looked at."""
    if old.get("status") != "complete" or not _same_request(old, checkpoint, task, settings):
        return False
    if len(read_predictions(run.predictions.path, task.by_key)) != len(task.examples):
        return False
    run.provenance.touch()
    if settings.progress:
        settings.progress.begin(run.folder, len(task.examples))
    return True


def _decoder(loaded: Loaded, settings: Settings, wording: Wording):
    """The engine for a model, with what was asked for; the rest by its defaults."""
    from boxes.decoding.engine import Decoder  # torch is imported only where there are weights

    options = {"wording": wording}
    for name in ("max_new_tokens", "batch_size"):
        if getattr(settings, name) is not None:
            options[name] = getattr(settings, name)
    regex = statement_regex(wording) if settings.constrained else None
    return Decoder(loaded.model, loaded.tokenizer, regex, **options)


def _same_settings(run: Run, old: dict, now: dict) -> dict:
    """What run.json said, where its predictions may stand beside new ones; else these are kept
    under another name, and there is nothing."""
    if not old or same_identity(old, now):
        return old
    kept = run.set_aside()
    if kept:
        said = f"{now['model']}: predictions with other settings are kept in {kept}"
        print(said, file=sys.stderr)
    return {}


def _same_request(old: dict, checkpoint: Checkpoint, task: Task, settings: Settings) -> bool:
    """Whether a complete run is what is asked for, as far as can be told without loading the
    model."""
    if lacking_identity(old):
        return False
    asked = {
        "max_new_tokens": settings.max_new_tokens or MAX_NEW_TOKENS,
        "dataset_sha256": task.checksum,
        "selection": task.selection,
        "prompt_format": settings.prompt_format or checkpoint.spec.prompt_format,
        "regex": statement_regex(task.wording) if settings.constrained else None,
    }
    if settings.dtype:
        asked["dtype"] = settings.dtype
    if asked["prompt_format"] == "plain":
        asked["prompt_style"] = settings.prompt_style
        asked["prompt_sha256"] = plain_prompt_sha256(settings.prompt_style, task.wording)
    if any(old.get(key) != value for key, value in asked.items()):
        return False
    return same_weights(old, identity(checkpoint))


def _statements(run: Run, task: Task) -> dict[Key, str]:
    """What a complete run wrote."""
    lines = read_predictions(run.predictions.path, task.by_key)
    if len(lines) != len(task.by_key):
        raise UserError(f"{run.predictions.path}: {len(lines)} of {len(task.by_key)} descriptions; decode again")
    return {key: line["prediction"] for key, line in lines.items()}


def _decode_missing(
    run: Run, decoder, task: Task, missing: dict[Key, str], proposed: dict[Key, str] | None, progress: Progress | None
) -> Iterator[tuple[list[dict], float]]:
    """Lines of what is not there yet, the prompts `missing`, a batch at a time, and the seconds
    since the first."""
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
