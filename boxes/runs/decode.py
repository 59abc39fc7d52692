"""Decode a dataset with one model into a run's folder: resumable, with its provenance, never mixed with another run."""

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
from boxes.prompting import STATEMENT_REGEX, PromptSettings, prompt_maker
from boxes.records import CannotWrite, UserError, read_json, write_json
from boxes.runs.agreement import identity, lacking_identity, plain_prompt_sha256, same_identity, same_weights
from boxes.runs.folder import FORMAT, Key, OtherFormat, Run, complete_predictions, read_predictions
from boxes.runs.lock import held
from boxes.runs.progress import Progress
from boxes.runs.provenance import _counts, _provenance, _spent
from boxes.runs.task import Settings, Task


def decode_run(
    name: str, task: Task, folder: Path, settings: Settings, load_model: Callable[..., Loaded] | None = None
) -> dict:
    """Decode what is missing in a run's folder; the content of its run.json, "not run" or "failed" with the reason included.

    One process at a time has the folder (lock.py). `load_model` stands in for boxes.models.load, e.g. to load once for
    several runs. CannotWrite where the disk is full or the folder may not be written.
    """
    run, missing = Run(folder), None
    try:
        checkpoint = find(name)
        name = checkpoint.spec.name
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
                else _decode(run, checkpoint, task, settings, check, load_model or load)
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
    checkpoint: Checkpoint,
    task: Task,
    settings: Settings,
    check: Callable[[], None],
    load_model: Callable,
) -> dict:
    spec = checkpoint.spec
    old = read_json(run.provenance) if run.provenance.exists() else {}
    same = old.get("status") == "complete" and _same_request(old, checkpoint, task, settings)
    if same and len(read_predictions(run.predictions.path, task.by_key)) == len(task.examples):
        run.provenance.touch()
        if settings.progress:
            settings.progress.begin(run.folder, len(task.examples))
        return old
    from boxes.decoding.engine import Decoder  # torch is imported only where there are weights

    loaded = load_model(checkpoint, settings.device, settings.dtype)
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
    check_prompts(loaded.model, loaded.tokenizer, list(prompts.values()), checkpoint.folder)
    now = _provenance(checkpoint, task, decoder, chosen, make_prompt("{description}"))
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


def _same_request(old: dict, checkpoint: Checkpoint, task: Task, settings: Settings) -> bool:
    """Whether a complete run is what is asked for, as far as can be told without loading the model."""
    if lacking_identity(old):
        return False
    asked = {
        "max_new_tokens": settings.max_new_tokens or MAX_NEW_TOKENS,
        "dataset_sha256": task.checksum,
        "selection": task.selection,
        "prompt_format": settings.prompt_format or checkpoint.spec.prompt_format,
        "regex": STATEMENT_REGEX if settings.constrained else None,
    }
    if settings.dtype:
        asked["dtype"] = settings.dtype
    if asked["prompt_format"] == "plain":
        asked |= {"prompt_style": settings.prompt_style, "prompt_sha256": plain_prompt_sha256(settings.prompt_style)}
    return all(old.get(key) == value for key, value in asked.items()) and same_weights(old, identity(checkpoint))


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
