"""The engine on a GPU that is not there: its own code on fake tensors of device "cuda" (experiments/bench/fake_gpu.py),
and a GPU's way of cutting up the work, for real, on a CPU."""

from functools import cache

import pytest
import torch
from architectures import build
from decoding_fixture import BASE, SHORT_REGEX, engine, tiny_prompts
from miniatures import byte_level_tokenizer
from scenarios_fixture import prompts

from boxes.decoding import loop, widths
from boxes.decoding.engine import Decoder
from boxes.models.shapes import GB, SHAPES, SMALL_SHAPES
from boxes.prompting import encode_prompts
from boxes.reference import reference_decode
from experiments.bench import rehearse
from experiments.bench.fake_gpu import GPU, CopyToHostError, asked_by, fake_gpu
from experiments.bench.rehearse import NAMES, SECOND, Script, fake_model, placed

pytestmark = pytest.mark.usefixtures("one_thread", "steady")
ALL = SHAPES | SMALL_SHAPES
FEW = ("7b", "gemma-3-1b", "qwen2.5-1.5b")  # the others differ from them in numbers
ROWS = 64
# Kernels of a layer and step in transformers' own code alone: two norms 16, projections 7, RoPE 10, the gate 2, sums 2.
OWN_KERNELS = 37
ENGINE_KERNELS = 7  # of attention over two parts, merged, and its KV cache
SHARED_KERNELS = 5  # more where heads share keys: the new tokens are a third part


@cache
def rehearsed(name: str, layers: int = 2, dtype=torch.bfloat16, devices: int = 1):
    return rehearse.rehearse(ALL[name], layers, dtype, ROWS, devices)


@pytest.mark.parametrize(
    "name", [*FEW, *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES if name not in FEW)]
)
def test_every_phase_of_every_shape(name):
    """Tensors fit together from the prefix to the last row; no step waits, which `rehearse` raises for; rows are looked
    at once in four steps at most, and behind each prefill."""
    found = rehearsed(name)
    assert set(found.phases) == set(rehearse.PHASES)
    prefills = len(found.phases["share_prefix"]) + len(found.phases["prefill"])
    assert found.looks <= len(found.phases["step"]) / 4 + prefills
    for cost in found.phases["step"]:
        assert cost.flops > 0
        assert cost.launches > 0


@pytest.mark.parametrize(
    ("name", "dtype", "devices"),
    [
        ("34b", torch.float32, 1),
        ("34b", torch.bfloat16, 2),
        pytest.param("gemma-7b", torch.float32, 1, marks=pytest.mark.slow),
        pytest.param("gemma-7b", torch.bfloat16, 2, marks=pytest.mark.slow),
    ],
)
def test_float32_and_layers_on_two_devices(name, dtype, devices):
    found = rehearsed(name, 2, dtype, devices)
    assert len(found.peak) == devices


def test_one_prompt_alone_has_no_prefix_to_be_merged_with():
    """Of heads that share keys, too, whose parts are merged in float32."""
    assert rehearse.rehearse(ALL["34b"], 1, rows=1).phases["step"]


def test_the_plain_way():
    assert rehearse.rehearse_plain(ALL["70b"], 2).launches > 0


def test_a_copy_to_the_host_within_a_step_is_found(monkeypatch):
    append = loop.append

    def looking(rows, taken, choice, after):
        taken.sum().tolist()
        append(rows, taken, choice, after)

    monkeypatch.setattr(loop, "append", looking)
    with pytest.raises(CopyToHostError, match=r"reads .* off the device"):
        rehearse.rehearse(ALL["7b"], 1, rows=ROWS)


def test_a_copy_to_the_device_within_a_step_is_found(monkeypatch):
    verify = loop.verify

    def uploading(*arguments):
        torch.tensor([1, 2], device=GPU)
        verify(*arguments)

    monkeypatch.setattr(loop, "verify", uploading)
    with pytest.raises(CopyToHostError, match="copies 1 times to the device"):
        rehearse.rehearse(ALL["7b"], 1, rows=ROWS)


@pytest.mark.parametrize("wrong", [{"dtype": torch.float32}, {"device": SECOND}])
def test_a_weight_of_another_dtype_or_on_another_device_is_found(monkeypatch, wrong):
    def placed_wrong(model, devices):
        placed(model, devices)
        weight = model.model.layers[0].mlp.up_proj.weight
        options = {"dtype": weight.dtype, "device": weight.device} | wrong
        model.model.layers[0].mlp.up_proj.weight = torch.nn.Parameter(torch.empty(weight.shape, **options), False)

    monkeypatch.setattr(rehearse, "placed", placed_wrong)
    with pytest.raises(RuntimeError):
        rehearse.rehearse(ALL["7b"], 1, rows=ROWS)


def test_only_the_engine_is_said_to_ask_whatever_the_checkout_is_called():
    path = "/home/reader/boxes/experiments/bench/fake_gpu.py"
    around: dict = {}
    exec(compile("def tolist(ask):\n    return ask()\n", path, "exec"), around)
    assert around["tolist"](asked_by) == ""


def test_memory_is_counted_for_as_long_as_a_tensor_lives():
    with fake_gpu(Script()) as ledger:
        kept = torch.empty(1000, 1000, dtype=torch.bfloat16, device=GPU)
        size = 2_000_384  # rounded up to 512 bytes
        assert ledger.held[GPU] == size
        passing = kept + kept
        assert ledger.peak[GPU] == 2 * size
        del passing
        assert ledger.held[GPU] == size
        view = kept[:10].t()
        assert (ledger.held[GPU], ledger.peak[GPU]) == (size, 2 * size)
        del view, kept
        assert ledger.held[GPU] == 0


def test_operations_of_a_forward_are_those_of_its_matrices():
    """2 x weights x tokens, and a little for attention."""
    shape = ALL["7b"]
    two, three = (rehearsed("7b", layers).phases["step"][-1] for layers in (2, 3))
    rows = ROWS // 3 + 1
    tokens = rows * (widths.STEP_TOKENS // rows)
    matrices = 2 * tokens * shape.layer_parameters / shape.layers
    assert matrices < three.flops - two.flops < 1.3 * matrices


@pytest.mark.parametrize(("name", "more"), [("7b", 0), pytest.param("70b", SHARED_KERNELS, marks=pytest.mark.slow)])
def test_a_layer_launches_no_more_kernels_than_it_did(name, more):
    two, three = (rehearsed(name, layers).phases["step"][-1].launches for layers in (2, 3))
    assert three - two <= OWN_KERNELS + ENGINE_KERNELS + more


@pytest.mark.parametrize(
    ("name", "card"),
    [("13b", 80), *(pytest.param(*case, marks=pytest.mark.slow) for case in (("34b", 80), ("7b", 24)))],
)
def test_the_batch_that_memory_chooses_fits(name, card):
    """With 5 to 15 % of the card to spare; more where no more rows are taken."""
    rows = rehearse.rows_on(card * GB, ALL[name])
    spare = 1 - (rehearse.peak_of(ALL[name], rows, whole=False) + rehearse.KEPT) / (card * GB)
    assert spare > 0.05
    assert spare < 0.15 or rows == 256


# --------------------------------------------------------------------------------------- a GPU's way, for real
def test_a_gpu_s_way_of_cutting_up_gives_the_same():
    """Steps as wide as they may be, rows looked at once in four steps: on a CPU, with real numbers."""
    decoder, asked = engine(batch_size=5), tiny_prompts(BASE, 8)
    decoder.kind = "cuda"
    assert decoder.decode(asked) == engine().decode(asked)


@pytest.mark.parametrize("kind", [pytest.param("cpu", marks=pytest.mark.slow), "cuda"])
def test_no_position_lies_beyond_what_a_model_has(kind):
    """A table of positions that ends with the longest row's last token: a GPU's step has columns behind it."""
    tokenizer, asked, limit = byte_level_tokenizer(), prompts(4), 40
    longest = max(map(len, encode_prompts(tokenizer, asked)))
    model = build("gpt2", n_positions=longest + limit - 1)
    decoder = Decoder(model, tokenizer, SHORT_REGEX, max_new_tokens=limit)
    decoder.kind = kind
    assert decoder.decode(asked) == reference_decode(model, tokenizer, asked, SHORT_REGEX, limit)
    assert decoder.work.way == "engine"


def test_a_fake_model_is_as_large_as_its_shape():
    for name in ("7b", "gemma-7b", "qwen2.5-1.5b"):
        shape = ALL[name]
        model = fake_model(shape, shape.layers, torch.bfloat16)
        counted = sum(parameter.numel() for parameter in model.parameters())
        assert counted == pytest.approx(shape.parameters, rel=1e-3)
