"""Inflated models: their logits are the tiny model's, in every architecture; the bench of shapes checks their answers."""

import sys
from functools import cache, partial

import pytest
import torch
from scenarios_fixture import write_dataset

from boxes.completion import Completion, Status
from boxes.decoding.engine import Decoder
from boxes.models import load
from boxes.records import UserError, read_csv
from experiments.bench import inflate, shapes
from experiments.bench.inflate import SHAPES, Shape, random_model
from experiments.bench.shapes import Answers

MINIATURES = {
    "wider, deeper, larger heads": Shape("llama", 324, 6, 6, 6, 64, 500, 1500),
    "grouped KV heads": Shape("llama", 512, 5, 16, 8, 64, 1536, 6000),
    "the tiny itself": Shape("llama", 128, 4, 4, 4, 32, 384, 1024),
    "mistral": Shape("mistral", 256, 5, 8, 4, 128, 512, 1100),
    "gemma, tied": Shape("gemma", 320, 6, 5, 5, 256, 512, 1200),
}
SMALL = MINIATURES["wider, deeper, larger heads"]
HUGE = Shape("llama", 8192, 80000, 64, 8, 128, 28672, 32000)
PUBLISHED = {  # as the models' cards and papers count them
    "7b": 6_738_415_616,
    "13b": 13_015_864_320,
    "34b": 33_743_970_304,
    "70b": 68_976_648_192,
    "mistral-7b": 7_241_732_096,
    "gemma-7b": 8_537_680_896,
}
pytestmark = pytest.mark.usefixtures("one_thread")


@cache
def tiny():
    return load("tiny-base", "cpu", "float32")


@cache
def inflated(name: str):
    return inflate.inflate(tiny().model, MINIATURES[name])


@torch.inference_mode()
def logits(model) -> torch.Tensor:
    """Over the tiny's vocabulary, of random token ids."""
    ids = torch.randint(tiny().model.config.vocab_size, (2, 200), generator=torch.Generator().manual_seed(5))
    return model(ids).logits[..., : tiny().model.config.vocab_size]


@pytest.mark.parametrize("name", MINIATURES)
def test_logits_are_those_of_the_tiny_model(name):
    expected, found = logits(tiny().model), logits(inflated(name))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert torch.equal(found.argmax(dim=-1), expected.argmax(dim=-1))


@pytest.mark.parametrize("name", ["grouped KV heads", "gemma, tied"])
def test_in_bfloat16_logits_are_those_of_the_tiny_model_but_for_rounding(name):
    model = inflate.inflate(tiny().model, MINIATURES[name], dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    expected, found = logits(tiny().model), logits(model).float()
    assert (found.argmax(dim=-1) == expected.argmax(dim=-1)).float().mean() > 0.95
    assert (found - expected).abs().mean() < 0.1


def test_gemma_keeps_its_output_matrix_tied():
    model = inflated("gemma, tied")
    assert model.config.tie_word_embeddings
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_few_weights_are_zero():
    """On zeros a GPU is faster than on a real model's numbers."""
    for name, weight in inflated("grouped KV heads").named_parameters():
        assert (weight == 0).float().mean() < 0.3, name


@torch.inference_mode()
def test_what_lies_beside_the_tiny_models_dimensions_is_noise():
    width, states = tiny().model.config.hidden_size, []
    model = inflated("grouped KV heads")
    handle = model.model.norm.register_forward_pre_hook(lambda _module, inputs: states.append(inputs[0]))
    logits(model)
    handle.remove()
    noise = states[0][..., width:].abs()
    assert 0 < noise.median() < noise.max() < 1e-5 < states[0][..., :width].abs().median()


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_are_counted_as_the_real_models_are(name):
    shape = SHAPES[name]
    model = random_model(tiny().model.config, shape, "meta", torch.bfloat16)
    assert sum(weight.numel() for weight in model.parameters()) == shape.parameters
    assert shape.parameters == PUBLISHED.get(name, shape.parameters)
    inflate.check(tiny().model.config, shape)


def test_the_seed_decides_and_nobody_elses_random_numbers_change():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, two, three = (inflate.inflate(tiny().model, SMALL, seed=seed).lm_head.weight for seed in (0, 0, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (Shape("llama", 64, 6, 4, 4, 32, 384, 1024), "hidden size: 64 in the shape, but this model needs 128"),
        (Shape("gemma", 256, 6, 4, 4, 32, 384, 1024), "hidden size: 256 in the shape, but this model needs 257"),
        (Shape("gemma", 512, 4, 4, 4, 32, 384, 1024), "layers: 4 in the shape, but this model needs 5"),
        (Shape("llama", 128, 4, 4, 2, 32, 384, 1024), "KV heads: 2 in the shape"),
        (Shape("llama", 128, 4, 4, 4, 48, 384, 1024), "head size 48 is no multiple of 32"),
    ],
)
def test_a_shape_that_is_too_small_is_refused(shape, message):
    with pytest.raises(UserError, match=message):
        inflate.inflate(tiny().model, shape)


def run(module, monkeypatch, *arguments) -> int:
    """A script's exit status."""
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        module.main()
    return stopped.value.code


def test_a_written_checkpoint_is_loaded_like_any_other(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(SHAPES, "100m", MINIATURES["gemma, tied"])
    folder = tmp_path / "inflated"
    assert run(inflate, monkeypatch, "--out", folder) == 0
    loaded = load(folder, "cpu", "float32")
    torch.testing.assert_close(logits(loaded.model), logits(tiny().model), atol=1e-4, rtol=0)
    assert loaded.tokenizer.get_vocab() == tiny().tokenizer.get_vocab()
    assert run(inflate, monkeypatch, "--out", folder) == 2
    assert "exists already" in capsys.readouterr().err
    monkeypatch.setitem(SHAPES, "100m", HUGE)
    assert run(inflate, monkeypatch, "--out", tmp_path / "other") == 2
    assert "too little memory" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["inflated"]


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """Runs shapes over a table of miniatures; gives its exit status and rows."""
    table = {"small": SMALL, "gemma": MINIATURES["gemma, tied"], "huge": HUGE}
    monkeypatch.setattr(shapes, "SHAPES", table)
    monkeypatch.setattr(shapes, "PEAK_SECONDS", 0.1)
    data, out = write_dataset(tmp_path / "data.jsonl"), tmp_path / "shapes.csv"

    def measured(*names: str, reference: int = 0, dtype: str = "float32"):
        arguments = ["--shapes", *names, "--data", data, "--out", out, "--prompts", 3, "--repeats", 2]
        arguments += ["--device", "cpu", "--dtype", dtype, "--reference-prompts", reference]
        status = run(shapes, monkeypatch, *arguments)
        rows = read_csv(out, shapes.COLUMNS).set_index("shape")
        assert list(rows.index) == list(table)
        return status, rows

    return measured


@pytest.mark.slow
def test_bench_measures_shapes_and_says_which_it_did_not(bench):
    status, rows = bench("small", "huge", reference=1)
    assert status == 0
    small = rows.loc["small"]
    assert tuple(small[["status", "dtype", "agree", "prompts", "reference_prompts"]]) == (
        "measured",
        "float32",
        1,
        3,
        1,
    )
    assert small.parameters == SMALL.parameters
    assert small.statements_per_second == pytest.approx(3 / small.seconds, rel=1e-4)
    assert small.floor_ratio == pytest.approx(small.seconds / small.floor_seconds, rel=1e-3)
    assert small.speedup == pytest.approx(3 * small.reference_seconds_per_prompt / small.seconds, rel=1e-3)
    assert 0 < small.mfu < 1
    assert small.peak_memory_mb > SMALL.parameters * 4 / 1e6
    assert small.batch_size == 3
    assert tuple(rows.loc[["gemma", "huge"], "status"]) == ("not measured", "not measured")
    assert rows.loc["gemma", "reason"] == "not asked for"
    assert "GB are free" in rows.loc["huge", "reason"]
    assert rows.loc[["gemma", "huge"], "seconds"].isna().all()

    status, later = bench("gemma", dtype="bfloat16")
    assert status == 0
    assert (later.loc["gemma", "status"], later.loc["gemma", "dtype"]) == ("measured", "bfloat16")
    assert later.loc["gemma", "reference_prompts"] == 0
    assert later.loc["small"].equals(rows.loc["small"])


def test_bench_fails_on_a_model_whose_answers_differ(bench, monkeypatch, capsys):
    def wrong(*arguments):
        model = inflate.inflate(*arguments)
        model.lm_head.weight.mul_(-1)
        return model

    monkeypatch.setattr(shapes, "inflate", wrong)
    monkeypatch.setattr(shapes, "Decoder", partial(Decoder, max_new_tokens=10))
    status, rows = bench("small")
    assert status == 2
    assert "small: 100.00% of 3 statements are not the tiny model's own" in capsys.readouterr().err
    assert (rows.loc["small", "status"], rows.loc["small", "agree"]) == ("failed", 0)
    assert rows.loc["small", ["seconds", "floor_seconds", "speedup"]].isna().all()


@pytest.mark.slow
def test_bench_fails_where_two_runs_differ(bench, monkeypatch, capsys):
    def unsteady(*arguments):
        """Stops one token sooner at every call."""
        decoder = Decoder(*arguments, max_new_tokens=20)

        def decode(prompts):
            decoder.max_new_tokens -= 1
            return Decoder.decode(decoder, prompts)

        decoder.decode = decode
        return decoder

    monkeypatch.setattr(shapes, "Decoder", unsteady)
    monkeypatch.setattr(shapes, "Answers", lambda expected, least: Answers(expected, 0.0))
    status, rows = bench("small")
    assert status == 2
    assert "other statements in another run" in capsys.readouterr().err
    assert rows.loc["small", "status"] == "failed"


def test_as_many_statements_must_agree_as_do_in_the_same_precision():
    """Four fifths of the tiny model's own do: of many prompts nearly as many must, of few some fewer, half at least."""
    for count, least in ((1000, 0.746), (100, 0.623), (10, 0.5)):
        answers = [Completion("", (number,), Status.OK) for number in range(count)]
        others = [*answers[: count * 4 // 5], *[Completion("", (-1,), Status.OK)] * (count // 5)]
        assert shapes.least_agreement(answers, others) == pytest.approx(least, abs=1e-3)
    assert 0.5 < shapes.least_agreement(answers, answers) < 1  # one that differs may be chance


@pytest.mark.slow
def test_bench_fails_where_the_papers_way_differs(bench, monkeypatch, capsys):
    def other(_model, tokenizer, prompts, **_):
        return Decoder(tiny().model, tokenizer, max_new_tokens=2).decode(prompts)

    monkeypatch.setattr(shapes, "reference_decode", other)
    status, rows = bench("small", reference=2)
    assert status == 2
    assert "the paper's way: 100.00% of 2 statements are not" in capsys.readouterr().err
    assert rows.loc["small", "status"] == "failed"


def test_bench_says_what_ran_out_of_memory(bench, monkeypatch):
    def too_much(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(shapes, "inflate", too_much)
    status, rows = bench("small")
    assert status == 0
    assert tuple(rows.loc["small", ["status", "reason"]]) == ("not measured", "out of memory")
