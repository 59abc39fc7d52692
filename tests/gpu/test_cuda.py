"""What a CPU cannot show: on a CUDA device the engine gives the ids of the paper's way there, a step never waits for the
host, and the batch that is chosen fits.

    make test-gpu        (on a machine with an NVIDIA GPU; a minute or two)
"""

from functools import cache

import pytest
import torch
from architectures import ARCHITECTURES, build
from decoding_fixture import SHORT_REGEX, check_free
from miniatures import byte_level_tokenizer
from scenarios_fixture import prompts

from boxes.completion import MAX_NEW_TOKENS, Completion
from boxes.decoding import loop, memory, widths
from boxes.decoding.engine import Decoder
from boxes.models import load
from boxes.models.shapes import SHAPES
from boxes.models.table import models_of
from boxes.reference import reference_decode
from experiments.bench.inflate import inflate
from experiments.bench.shapes import share_equal

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU that torch can use"),
]
NAMES = [spec.name for spec in models_of("tiny")]
BASE, COUNT = "tiny-base", 24
LIMIT = 8  # tokens that miniatures write
# Those of which a cached forward, one row at a time, is the model's own: what `generate` does.
GENERATING = [name for name, one in ARCHITECTURES.items() if one.way in ("engine", "plain")]
ENGINE = [name for name in GENERATING if ARCHITECTURES[name].way == "engine"]
CARD = 4e9  # bytes of the small GPU that is played


@cache
def loaded(name: str, dtype: str = "float32"):
    return load(name, "cuda", dtype)


@cache
def asked(name: str, count: int = COUNT) -> list[str]:
    return prompts(count, loaded(name).tokenizer, format=loaded(name).spec.prompt_format)


@cache
def reference(name: str) -> list[Completion]:
    return reference_decode(loaded(name).model, loaded(name).tokenizer, asked(name))


def decoder(name: str = BASE, dtype: str = "float32", **options) -> Decoder:
    return Decoder(loaded(name, dtype).model, loaded(name, dtype).tokenizer, **options)


# --- exactness in float32 ---


@pytest.mark.parametrize("name", NAMES)
def test_the_engine_decodes_as_the_papers_way_does(name):
    engine = decoder(name)
    assert engine.decode(asked(name)) == reference(name)
    assert (engine.work.way, engine.kind) == ("engine", "cuda")


@pytest.mark.parametrize("options", [{"draft": False}, {"batch_size": 1}, {"batch_size": 7}], ids=str)
def test_neither_drafts_nor_batches_change_an_answer(options):
    assert decoder(**options).decode(asked(BASE)) == reference(BASE)


def test_rows_may_draft_unlike_numbers(monkeypatch):
    monkeypatch.setattr(widths, "STEP_TOKENS", 40)
    assert decoder().decode(asked(BASE)) == reference(BASE)


def test_wrong_drafts_change_no_answer():
    engine, found = decoder(batch_size=7), {}
    statements = [completion.text for completion in reference(BASE)]
    for indices, completions in engine.batches(asked(BASE), statements[1:] + statements[:1]):
        found.update(zip(indices, completions, strict=True))
    assert [found[index] for index in range(COUNT)] == reference(BASE)


def test_free_decoding_is_greedy():
    model, tokenizer = loaded(BASE).model, loaded(BASE).tokenizer
    completions = decoder(regex=None).decode(asked(BASE))
    for prompt, completion in zip(asked(BASE), completions, strict=True):
        check_free(model, tokenizer, prompt, completion, MAX_NEW_TOKENS)


def test_a_cpu_and_a_gpu_give_nearly_the_same_statements():
    """Sums are added up in another order: an answer may change where two tokens are as good as equally likely."""
    on_cpu = load(BASE, "cpu", "float32")
    expected = Decoder(on_cpu.model, on_cpu.tokenizer).decode(asked(BASE, 200))
    assert share_equal(expected, decoder().decode(asked(BASE, 200))) >= 0.98


# --- other architectures ---


def few_prompts() -> list[str]:
    """Three prompts of different length, the longest in the middle."""
    ordered = sorted(prompts(8), key=len)
    return [ordered[0], ordered[-1], ordered[3]]


@pytest.mark.parametrize("name", GENERATING)
def test_miniatures_are_decoded_as_the_papers_way_does(name, monkeypatch):
    monkeypatch.setattr(widths, "STEP_TOKENS", 7)  # rows draft unlike numbers
    model = build(name).to("cuda")
    settings = {"regex": SHORT_REGEX, "max_new_tokens": LIMIT}
    engine = Decoder(model, byte_level_tokenizer(), **settings)
    found = engine.decode(few_prompts())
    assert engine.work.way == ARCHITECTURES[name].way
    assert found == reference_decode(model, byte_level_tokenizer(), few_prompts(), SHORT_REGEX, LIMIT)


@pytest.mark.parametrize("name", ENGINE)
def test_bfloat16_gives_no_false_alarm(name):
    model = build(name).to("cuda", torch.bfloat16)
    engine = Decoder(model, byte_level_tokenizer(), regex=SHORT_REGEX, max_new_tokens=LIMIT)
    engine.decode(few_prompts())
    engine.decode(few_prompts()[:1])  # alone it shares no prefix
    assert engine.work.way == "engine"


# --- bfloat16 ---


def test_two_runs_in_bfloat16_are_equal():
    first, second = (decoder(dtype="bfloat16").decode(asked(BASE, 200)) for _ in range(2))
    assert first == second


# --- what only the device knows ---


@pytest.mark.parametrize("step_tokens", [40, 512])
def test_a_step_never_waits_for_the_host(monkeypatch, step_tokens):
    """Neither where rows draft unlike numbers, which few rows do only where few tokens are a step."""
    monkeypatch.setattr(widths, "STEP_TOKENS", step_tokens)
    step, steps = loop.step, []

    def watched(*more):
        torch.cuda.set_sync_debug_mode("error")
        try:
            return step(*more)
        finally:
            torch.cuda.set_sync_debug_mode("default")
            steps.append(1)

    engine = decoder()
    expected = engine.decode(asked(BASE))
    monkeypatch.setattr(loop, "step", watched)
    assert engine.decode(asked(BASE)) == expected
    assert len(steps) > 4


@pytest.fixture
def small_card(monkeypatch):
    """A GPU that has CARD bytes: it says so, and gives no more."""
    whole = torch.cuda.mem_get_info()[1]
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(CARD / whole)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (int(CARD - torch.cuda.memory_reserved()), int(CARD)))
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.fixture(scope="module")
def wide():
    """Of 100 million parameters, with tiny-base's answers."""
    return inflate(loaded(BASE).model, SHAPES["100m"], "cuda", torch.bfloat16)


@pytest.fixture(scope="module")
def many() -> list[str]:
    return prompts(400)


@pytest.mark.usefixtures("small_card")
def test_the_batch_that_is_chosen_fits(wide, many):
    torch.cuda.reset_peak_memory_stats()
    engine = Decoder(wide, loaded(BASE).tokenizer)
    engine.decode(many)
    assert engine.work.halvings == 0
    assert 16 < engine.work.rows < memory.MOST_ROWS["cuda"]
    peak = torch.cuda.max_memory_allocated() / CARD
    assert 0.8 < peak < 0.97


@pytest.mark.usefixtures("small_card")
def test_out_of_memory_halves_the_batch(wide, many, capsys):
    expected = Decoder(wide, loaded(BASE).tokenizer).decode(many)
    engine = Decoder(wide, loaded(BASE).tokenizer, batch_size=len(many))
    completions = engine.decode(many)
    assert engine.work.halvings > 0
    assert "out of memory with 400 prompts at a time; going on with 200" in capsys.readouterr().err
    assert share_equal(expected, completions) > 0.8  # other batches, other rounding
