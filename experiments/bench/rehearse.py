"""Rehearse the engine on a GPU that is not there (fake_gpu.py), at the shapes of real models: prefix, prefill, steps,
closing up, the plain way, over one device and over two.

    python experiments/bench/rehearse.py --out data/bench/rehearsal.csv

The engine's own code runs, on tensors that hold nothing: a mismatch of devices or dtypes raises, and so does a copy to
the host within a step. A row says how many kernels a step launches, and of a batch that memory.py chooses for a card
how much memory it takes. Layers are alike: by default the numbers of all follow from those of
two and of three; --whole runs all.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import torch
from transformers import AttentionMaskInterface, AutoConfig, AutoModelForCausalLM

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout before others

from boxes.commandline import argument_parser, command, out_file
from boxes.completion import MAX_NEW_TOKENS
from boxes.decoding import fallback, loop, memory, widths
from boxes.decoding.attention import ATTENTION_NAME, window_of
from boxes.decoding.automaton import Automaton
from boxes.decoding.drafting import CONTENT, KINDS, Draft
from boxes.decoding.job import Job, Prompt, Work
from boxes.decoding.price import Price
from boxes.decoding.proposals import Acceptance
from boxes.models.shapes import GB, SHAPES, SMALL_SHAPES, Shape
from boxes.records import write_csv
from experiments.bench.fake_gpu import GPU, CopyToHostError, Cost, Ledger, fake_gpu, on_gpu, on_the_host

NAMES = ("7b", "13b", "34b", "70b", "mistral-7b", "gemma-7b", "deepseek-7b", "gemma-3-1b", "qwen2.5-1.5b")
CARDS = (24, 48, 80, 141)  # GB
# What a driver, a context and libraries keep of a card (CUDA 12, measured elsewhere: 0.4 to 0.8 GB).
KEPT = 0.8e9
CONFIGS = {"gemma3": "gemma3_text"}  # transformers' names of architectures, where they are others
# Tokens of Llama's prompts, shared and own, and of a statement: facts of the task, not of a model.
SHARED, OWN, STATEMENT = 470, 190, 75
STATES = 300  # of the automaton
RATES = [0.9] * KINDS  # what a model is said to confirm
LOOKS = 1  # at rows that all go on; then two thirds are finished, then all
SECOND = torch.device("cuda", 1)


def fake_model(shape: Shape, layers: int, dtype: torch.dtype):
    """A model of a shape with so many layers, on "meta"."""
    fields = {
        "hidden_size": shape.hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_size,
        "intermediate_size": shape.ffn,
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": shape.tied,
        "pad_token_id": None,
    }
    config = AutoConfig.for_model(CONFIGS.get(shape.architecture, shape.architecture), **fields)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, dtype=dtype).eval().requires_grad_(False)


def hook_to_two(model) -> None:
    """What `--device auto` does with two devices: the first half of the layers on one, everything behind on the other,
    with accelerate's own hooks."""
    from accelerate.hooks import AlignDevicesHook, add_hook_to_module

    half = len(model.model.layers) // 2
    for number, layer in enumerate(model.model.layers):
        device = GPU if number < half else SECOND
        add_hook_to_module(layer, AlignDevicesHook(execution_device=device, io_same_device=False))
    add_hook_to_module(model.model.norm, AlignDevicesHook(execution_device=SECOND, io_same_device=False))
    where = model.lm_head.weight.device  # with the embedding where the two are one
    add_hook_to_module(model.lm_head, AlignDevicesHook(execution_device=where, io_same_device=False))


def placed(model, devices: int) -> None:
    """A model's tensors put on one device, or on two."""
    half, tied = len(model.model.layers) // 2, model.config.tie_word_embeddings

    def place(name: str) -> torch.device:
        number = name.removeprefix("model.layers.").split(".")[0]
        last = ("model.norm",) if tied else ("model.norm", "lm_head")
        behind = name in last or (number.isdigit() and int(number) >= half)
        return SECOND if devices > 1 and behind else GPU

    on_gpu(model, place)
    if devices > 1:
        hook_to_two(model)


def job_of(model, rows: int) -> Job:
    """A job on the device that the model's output matrix lies on."""
    device = model.get_output_embeddings().weight.device
    width = len(model.get_output_embeddings().weight)
    automaton = Automaton(
        allowed=torch.empty(STATES, width, dtype=torch.bool, device=device),
        next_state=torch.empty(STATES, width, dtype=torch.int32, device=device),
        done=torch.empty(STATES, dtype=torch.bool, device=device),
        starts={"": 0},
        token_bytes=[],
        end_ids=(2,),
    )
    return Job(
        model=model,
        automaton=automaton,
        device=device,
        kind=device.type,
        max_new_tokens=MAX_NEW_TOKENS,
        draft=True,
        acceptance=Acceptance(device),
        price=Price(device.type, model.dtype),
        work=Work(rows=rows),
    )


def prompts_of(count: int) -> list[Prompt]:
    """Prompts as long as the task's, longer ones first."""
    draft = Draft(tuple(range(STATEMENT)), tuple(range(9, STATEMENT, 9)), (CONTENT,) * STATEMENT)
    found = []
    for index in range(count):
        own = OWN - 40 * index // count
        found.append(Prompt(index, [1] * SHARED + [index + 2] * own, 0, "", draft))
    return found


@contextmanager
def windows_read() -> Iterator[None]:
    """While it lasts, the window of a layer is read off the model's rule on the host, as it is with a GPU."""
    AttentionMaskInterface.register(ATTENTION_NAME, on_the_host(window_of))
    try:
        yield
    finally:
        AttentionMaskInterface.register(ATTENTION_NAME, window_of)


# ------------------------------------------------------------------------------------------------------- one rehearsal
@dataclass
class Rehearsal:
    """What the phases of a run cost, each time they ran; how often finished rows were looked at; the highest use of
    each device's memory in bytes."""

    phases: dict[str, list[Cost]] = field(default_factory=dict)
    looks: int = 0
    peak: dict[torch.device, int] = field(default_factory=dict)


PHASES = ("share_prefix", "prefill", "step", "harvest")


class Script:
    """What the device is said to answer where the engine reads it: rates of drafts, and which rows go on."""

    def __init__(self):
        self.looks = 0

    def __call__(self, tensor: torch.Tensor, who: str) -> list:
        if who == "beginnings":
            return RATES
        if who != "harvest":
            raise CopyToHostError(f"{who or 'what is not the engine'} reads {tuple(tensor.shape)} off the device")
        if tensor.dim() == 2:  # rows that are finished
            return [[0] * tensor.shape[1]] * tensor.shape[0]
        self.looks += 1
        rows = len(tensor) - 1
        if self.looks <= LOOKS:
            going = [1] * rows
        elif self.looks <= 2 * LOOKS:
            going = [row % 3 == 0 for row in range(rows)]
        else:
            going = [0] * rows
        return [*going, OWN + STATEMENT]


@contextmanager
def noted(ledger: Ledger, into: dict[str, list[Cost]]) -> Iterator[None]:
    """While it lasts, what each call of a phase costs is kept."""

    def run(function, name: str, *arguments, **more):
        before, ledger.cost = ledger.cost, Cost()
        try:
            return function(*arguments, **more)
        finally:
            into.setdefault(name, []).append(ledger.cost)
            ledger.cost = before

    with ExitStack() as stack:
        for name in PHASES:
            stack.enter_context(patch.object(loop, name, partial(run, getattr(loop, name), name)))
        yield


def rehearse(shape: Shape, layers: int, dtype=torch.bfloat16, rows: int = 64, devices: int = 1) -> Rehearsal:
    """Decode half as many prompts again as there are rows, from the prefix to the last row, on fake tensors. CopyToHostError
    where a step waits for the device; RuntimeError where tensors do not fit together."""
    found, script, model = Rehearsal(), Script(), fake_model(shape, layers, dtype)
    with fake_gpu(script) as ledger, windows_read():
        placed(model, devices)
        with noted(ledger, found.phases):
            for _ in loop.decode_shared(job_of(model, rows), prompts_of(rows * 3 // 2)):
                pass
        found.looks, found.peak = script.looks, dict(ledger.peak)
    for cost in found.phases["step"]:
        if cost.reads or cost.uploads:
            raise CopyToHostError(f"a step reads {dict(cost.reads)} and copies {cost.uploads} times to the device")
    return found


def rehearse_plain(shape: Shape, layers: int, dtype=torch.bfloat16, rows: int = 8) -> Cost:
    """The plain way's prefill and a step, which looks at nothing; what the step cost."""
    model = fake_model(shape, layers, dtype)
    with fake_gpu(Script()) as ledger:
        placed(model, 1)
        encoded = [prompt.ids for prompt in prompts_of(rows)]
        batch = fallback.prefill_batch(model, encoded, [0] * rows)
        ledger.cost = Cost()
        fallback.step_batch(model, batch, torch.zeros(rows, dtype=torch.long, device=GPU))
        return ledger.cost


# ---------------------------------------------------------------------------------------------------------- all layers
def of_all(layers: int, two: float, three: float) -> float:
    """A number of all layers, from those of two and of three (one alone keeps less: what the first one reads is kept)."""
    return two + (layers - 2) * (three - two)


def rows_on(card: float, shape: Shape) -> int:
    """How many rows memory.py chooses on a card of so many bytes; 0 where the weights do not fit."""
    free = card - KEPT - shape.parameters * torch.bfloat16.itemsize
    if free <= 0:
        return 0
    model, most = fake_model(shape, shape.layers, torch.bfloat16), memory.most_rows("cuda")
    tokens = OWN + memory.row_capacity(MAX_NEW_TOKENS, widths.STEP_DRAFT, STATEMENT)
    with patch.object(memory, "usable_bytes", lambda _device: free - memory.SPARE["cuda"] * card):
        return memory.rows_that_fit(model, tokens, loop.prefill_tokens("cuda"), most, SHARED)


def peak_of(shape: Shape, rows: int, whole: bool) -> float:
    """Bytes that decoding so many rows takes at most, weights included."""
    if whole:
        return rehearse(shape, shape.layers, rows=rows).peak[GPU]
    return of_all(shape.layers, *(rehearse(shape, layers, rows=rows).peak[GPU] for layers in (2, 3)))


def launches(shape: Shape, rows: int = 64) -> tuple[float, float]:
    """Kernels of a layer and a step, and of a step besides its layers."""
    two, three = (rehearse(shape, layers, rows=rows).phases["step"][-1].launches for layers in (2, 3))
    return three - two, 3 * two - 2 * three


def row_of(name: str, shape: Shape, whole: bool) -> Iterator[dict]:
    """Rows of the table for one shape."""
    layer, besides = launches(shape)
    same = {"shape": name, "launches_a_layer": layer, "launches_besides": besides}
    rehearse(replace(shape, layers=4), 4, rows=8, devices=2)
    rehearse(shape, 2, torch.float32, rows=8)
    rehearse_plain(shape, 2)
    for card in CARDS:
        rows = rows_on(card * GB, shape)
        row = same | {"card_gb": card, "rows": rows}
        if rows:
            peak = peak_of(shape, rows, whole) + KEPT
            row |= {"peak_gb": peak / GB, "spare": 1 - peak / (card * GB)}
        yield row


def settings_of() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("--out", type=out_file, required=True, help="the CSV to write")
    names = ", ".join(NAMES)
    add("--shapes", nargs="+", choices=NAMES, default=NAMES, metavar="SHAPE", help=names)
    add("--whole", action="store_true", help="run all layers, not two")
    return parser.parse_args()


@command
def main() -> None:
    settings, rows = settings_of(), []
    for name in settings.shapes:
        rows += row_of(name, (SHAPES | SMALL_SHAPES)[name], settings.whole)
        print(pd.DataFrame(rows[-len(CARDS) :]).to_string(index=False), flush=True)
    write_csv(settings.out, pd.DataFrame(rows))


if __name__ == "__main__":
    main()
