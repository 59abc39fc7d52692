"""The benches: what they write, that they fail where a way answers otherwise, and that both READMEs say what the CSVs say."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from scenarios_fixture import prompts, write_dataset

from boxes.completion import Completion, Status
from boxes.dataset import read_examples
from boxes.decoding.constraint import token_bytes
from boxes.decoding.engine import Decoder
from boxes.models import load
from boxes.records import UserError
from experiments.bench import all as all_benches
from experiments.bench import decoding, measure, precision, real, scaling
from paper import bench, bench_tables

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def run(monkeypatch, module, *arguments) -> int:
    """A script's exit status."""
    monkeypatch.setattr("sys.argv", ["bench", *map(str, arguments)])
    try:
        module.main()
    except SystemExit as stop:
        return stop.code or 0
    return 0


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("bench") / "data.jsonl", 2)


def test_all_ways_are_measured_and_agree(monkeypatch, capsys, tmp_path, data):
    monkeypatch.setattr(decoding, "GENERATE_BATCHES", (3,))
    out = tmp_path / "decoding.csv"
    assert run(monkeypatch, decoding, "--data", data, "--out", out, "--rounds", 1) == 0
    table = pd.read_csv(out)
    assert list(table.way) == list(bench.WAYS)
    assert list(table.prompts) == [6] * 6
    assert (table.seconds > 0).all()
    assert (table[table.way == "e engine"].times_engine == 1).all()
    assert table.set_index(["way", "prompts"]).times_engine["a paper", 6] > 1
    drafts = table[table.way == "e engine"]
    assert ((drafts.drafted_confirmed > 0.5) & (drafts.tokens_per_forward > 20)).all()
    assert "e engine" in capsys.readouterr().out


RIGHT, WRONG = [(5, 6), (7,)], [(5, 6), (8,)]  # token ids of two statements


def told(rows: list[tuple[int, ...]]) -> list[Completion]:
    """Statements of these tokens."""
    return [Completion("", tokens, Status.OK) for tokens in rows]


def runs_of(way: str, *found: list) -> dict[str, list[tuple]]:
    """Two rounds in which all ways are right, but for what one way found in each."""
    runs = {name: [(1.0, 0.0, told(RIGHT))] * 2 for name in decoding.WHAT}
    return runs | {way: [(1.0, 0.0, statements) for statements in found]}


@pytest.mark.parametrize(
    ("way", "found"),
    [
        (decoding.PAPER, told(WRONG)),
        (decoding.OUTLINES, WRONG),
        (decoding.LLGUIDANCE, WRONG),
        (decoding.ENGINE_PLAIN, told(WRONG)),
    ],
)
def test_a_way_with_other_tokens_is_an_error(way, found):
    wrong = f"{decoding.WHAT[way]}: 1 of 2 statements have other tokens than the ways before it"
    with pytest.raises(UserError, match=re.escape(wrong)):
        decoding.rows_of(runs_of(way, found, found), {}, {})


def test_so_is_an_engine_that_changes_its_mind():
    with pytest.raises(UserError, match="1 of 2 statements have other tokens"):
        decoding.rows_of(runs_of(decoding.ENGINE, told(RIGHT), told(WRONG)), {}, {})


def test_after_an_error_nothing_is_written(monkeypatch, capsys, tmp_path, data):
    wrong = runs_of(decoding.PAPER, told(WRONG), told(WRONG))
    monkeypatch.setattr(decoding, "compare", lambda *_: decoding.rows_of(wrong, {}, {}))
    out = tmp_path / "decoding.csv"
    assert run(monkeypatch, decoding, "--data", data, "--out", out) == 2
    assert "have other tokens" in capsys.readouterr().err.splitlines()[-1]
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["reference_decode", "batched_generate"])
def test_a_way_with_other_tokens_fails_loudly(monkeypatch, capsys, tmp_path, data, way):
    monkeypatch.setattr(decoding, "GENERATE_BATCHES", (4,))
    honest = getattr(decoding, way)

    def altered(*arguments, **more):
        first, *rest = honest(*arguments, **more)
        tokens = first.tokens if isinstance(first, Completion) else first
        other = (*tokens[:-1], tokens[-1] + 1)
        return [Completion(first.text, other, Status.OK) if isinstance(first, Completion) else other, *rest]

    monkeypatch.setattr(decoding, way, altered)
    out = tmp_path / "decoding.csv"
    assert run(monkeypatch, decoding, "--data", data, "--out", out, "--prompts", 2, "--rounds", 1) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "1 of 2 statements have other tokens than the ways before it" in error
    assert not out.exists()


def test_the_floor_runs_every_token_once(monkeypatch):
    """The prefix once, and each prompt's own tokens and its statement once; what is beside them is padding."""
    loaded = load("tiny-base", "cpu", "float32")
    asked = prompts(6)
    decoder = Decoder(loaded.model, loaded.tokenizer, batch_size=3)
    answers = decoder.decode(asked)
    shapes, forward = [], decoding.forward

    def counted(model, cache, first, tokens, packed=None):
        shapes.append(tuple(tokens.shape))
        return forward(model, cache, first, tokens, packed=packed)

    monkeypatch.setattr(decoding, "forward", counted)
    monkeypatch.setattr(decoding, "prefill_tokens", lambda _kind: 3 * 350)
    decoding.teacher_forced(decoder, asked, answers)
    encoded = [prompt.ids for prompt in decoder.prompts(asked)]
    skip, _ = decoding.share_prefix(loaded.model, encoded)
    lengths = sorted(
        (len(ids) - skip + len(one.tokens) for ids, one in zip(encoded, answers, strict=True)), reverse=True
    )
    assert skip > 100
    assert [rows for rows, _ in shapes] == [1050 // lengths[0], *(rows for rows, _ in shapes[1:])]
    assert sum(rows for rows, _ in shapes) == len(lengths)
    assert shapes[0][1] == lengths[0]
    assert sum(rows * width for rows, width in shapes) < 1.3 * sum(lengths)


def test_real_models_are_measured_in_every_case(monkeypatch, tmp_path, data):
    monkeypatch.setattr(decoding, "GENERATE_BATCHES", (2,))
    out, drafts = tmp_path / "real.csv", tmp_path / "drafts.csv"
    paths = ["--data", data, "--out", out, "--drafts", drafts]
    more = ["--models", "tiny-base", "--rounds", 1, "--prompts", 2, "--slow", 1]
    assert run(monkeypatch, real, *paths, *more) == 0
    table = bench_tables.cases(pd.read_csv(out))
    asked = sum(case.both for case in real.CASES)
    assert list(table.prompts) == [2] * asked + [1]
    assert (table[["f floor", "d engine without drafts"]] > 0).all().all()
    assert table["a paper"].notna().tolist() == [False] * asked + [True]
    counts = pd.read_csv(drafts)
    assert (counts.confirmed <= counts.verified).all()
    assert counts.groupby("kind").verified.sum()["fixed"] > 0
    for name, path in (("real", out), ("drafts", drafts)):
        assert "tiny-base" in bench.TABLES[name][1](pd.read_csv(path))


def test_real_models_are_measured_where_their_weights_are(monkeypatch, tmp_path, capsys):
    here = all_benches.REAL_MODELS[:1]
    monkeypatch.setattr(all_benches, "is_here", lambda name: name in here)
    [(name, table, _, more)] = all_benches.of_real_models(tmp_path)
    assert (name, table) == ("real", "real.csv")
    assert more == ("--models", *here, "--drafts", tmp_path / "drafts.csv")
    here = ()
    assert all_benches.of_real_models(tmp_path) == []
    said = capsys.readouterr().out
    assert said.startswith("real models: not measured, for their weights are not here; `make weights")


def test_a_model_is_here_or_not(monkeypatch, tmp_path):
    monkeypatch.setenv("MODELS_DIR", str(tmp_path))
    assert all_benches.is_here("tiny-base")
    assert not all_benches.is_here("CodeLlama-70b-hf")


def test_growth_is_measured(monkeypatch, tmp_path, data):
    monkeypatch.setattr(scaling, "TIMES", (1, 2, 3))
    threads = []  # other tests run beside this one
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    out = tmp_path / "scaling.csv"
    assert run(monkeypatch, scaling, "--data", data, "--out", out, "--unit", 2, "--rounds", 1) == 0
    table = pd.read_csv(out)
    assert list(table.prompts)[-3:] == [2, 4, 6]
    assert table.threads[0] == 1
    assert list(table.threads) == threads
    assert table.times_first.iloc[-3] == 1


def test_growth_needs_enough_descriptions(monkeypatch, capsys, tmp_path, data):
    assert run(monkeypatch, scaling, "--data", data, "--out", tmp_path / "s.csv", "--unit", 4) == 2
    assert capsys.readouterr().err == f"bench: {data}: 6 descriptions, 64 are needed; give a smaller --unit\n"


def test_thread_counts():
    assert [scaling.thread_counts(cores) for cores in (1, 2, 6)] == [[1], [1, 2], [1, 2, 4, 6]]


@pytest.mark.slow
def test_flips_in_bfloat16(monkeypatch, tmp_path):
    monkeypatch.setattr(precision, "BATCH", 2)
    data = write_dataset(tmp_path / "data.jsonl", 1)  # bfloat16 takes long on a CPU
    out = tmp_path / "bfloat16.csv"
    assert run(monkeypatch, precision, "--data", data, "--out", out) == 0
    table = pd.read_csv(out)
    assert list(table.dtype) == ["bfloat16"] * 4 + ["float32"] * 2
    assert table.flips[0] == table.points_from_base[0] == 0
    assert table.way[0] == precision.BASE
    assert table.flips[4] == table.flips[5]  # in float32 drafts change nothing


def stated(contents: Sequence[str], token: int) -> Completion:
    """A statement of these contents, of one token."""
    clauses = [f"Box {box} contains {what}" for box, what in enumerate(contents)]
    return Completion(f"Statement: {', '.join(clauses)}.", (token,), Status.OK)


def test_flips_are_counted_against_batch_1(monkeypatch, tmp_path, data):
    """Of six statements that are right, plain batches in bfloat16 give two others, of which one is wrong."""
    right = [stated(example.contents, 1) for example in read_examples(data)]
    plain = [replace(right[0], tokens=(2,)), *right[1:5], stated(["the unicorn"] * 7, 2)]
    found = {precision.BASE: right, "plain": plain, "the engine": right}
    loaded, dtypes = load("tiny-base", "cpu", "float32"), []

    def load_as(_name, dtype):
        dtypes.append(dtype)
        return loaded

    def answered(way, _prompts):
        return found[way]

    monkeypatch.setattr(precision, "load", load_as)
    monkeypatch.setattr(precision, "ways", lambda _loaded: {way: partial(answered, way) for way in found})
    out = tmp_path / "bfloat16.csv"
    assert run(monkeypatch, precision, "--data", data, "--out", out) == 0
    table = pd.read_csv(out)
    assert dtypes == ["bfloat16", "float32"]
    assert list(table.dtype) == ["bfloat16"] * 3 + ["float32"]
    assert list(table.way) == [*found, "the engine"]
    assert list(table.flips) == [0, 2, 0, 0]
    assert list(table.correct) == [42, 35, 42, 42]
    assert table.points_from_base[1] == pytest.approx(-100 * 7 / 42)


def test_the_ways_whose_flips_are_counted_are_one_in_float32(monkeypatch):
    monkeypatch.setattr(precision, "BATCH", 2)
    found = {}
    for name, decode in precision.ways(load("tiny-base", "cpu", "float32")).items():
        found[name] = decode(prompts(3))
    assert next(iter(found)) == precision.BASE
    assert len(found) == 4
    assert all(completions == found[precision.BASE] for completions in found.values())


def test_rounds_take_turns_and_ratios_are_of_one_round():
    turns = []
    runs = measure.rounds({"x": lambda: turns.append("x"), "y": lambda: turns.append("y")}, 3, torch.device("cpu"))
    assert turns == ["x", "y"] * 3
    assert {name: len(taken) for name, taken in runs.items()} == {"x": 3, "y": 3}
    assert measure.median_ratio([(2,), (30,), (4,)], [(1,), (10,), (4,)]) == 2
    assert measure.median_seconds([(5, 0), (1, 0), (2, 0)]) == 2


def test_peak_memory_is_what_a_way_had_beyond_the_start():
    hold = 200 * measure.MIB
    _, peak, _ = measure.measured(lambda: torch.ones(hold, dtype=torch.uint8).numel(), torch.device("cpu"))
    assert 180 < peak < 320


def test_memory_that_was_freed_before_is_not_there_before():
    hold = 8 * measure.MIB  # small enough for the allocator to keep what is freed
    before = [torch.ones(hold, dtype=torch.uint8) for _ in range(8)]
    keep = torch.ones(100)  # behind them
    del before
    _, peak, _ = measure.measured(lambda: torch.ones(hold, dtype=torch.uint8).numel(), torch.device("cpu"))
    assert peak > 7
    assert len(keep) == 100


def test_both_readmes_say_what_the_csvs_say():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert bench.replaced(text, bench.block(ROOT / "data/bench"), Path("README.md")) == text
    assert (ROOT / "data/bench/README.md").read_text(encoding="utf-8") == bench.page(ROOT / "data/bench")


def test_the_first_figure_of_the_readme_travels_between_machines():
    table = pd.read_csv(ROOT / "data/bench/decoding.csv").set_index("way")
    ratio = table.seconds["e engine"] / table.seconds["f floor"]
    first = bench.block(ROOT / "data/bench").splitlines()[4]
    assert first.startswith("| time, × the floor")
    # The last column is tiny-base's: the median of ratios, not the ratio of medians.
    assert float(first.split("|")[-2]) == pytest.approx(ratio, abs=0.02)


def test_what_was_not_measured_is_said(tmp_path):
    assert bench.page(tmp_path).count("\nnot measured\n") == len(bench.TABLES)
    assert "not measured" in bench.block(tmp_path)


def test_the_command_writes_the_page_and_the_few_figures(tmp_path, monkeypatch):
    for path in (ROOT / "data/bench").glob("*.csv"):
        shutil.copy(path, tmp_path)
    readme = tmp_path / "first.md"
    readme.write_text(f"before\n{bench.BEGIN}\nold\n{bench.END}\nbehind\n")
    assert run(monkeypatch, bench, "--bench", tmp_path, "--readme", readme) == 0
    assert readme.read_text() == f"before\n{bench.block(tmp_path)}\nbehind\n"
    assert (tmp_path / "README.md").read_text() == bench.page(tmp_path)
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_what_was_injected_and_held_is_a_table():
    row = ["kill", "`kill -9`", "the same", 1200, 1199, ""]
    text = bench.faults(pd.DataFrame([row], columns=["name", "fault", "held_to", "injected", "survived", "note"]))
    assert "| `kill -9`" in text
    assert "1,200 |" in text
    assert "1,199 |" in text


@pytest.mark.parametrize("text", ["", bench.BEGIN, bench.END + bench.BEGIN, (bench.BEGIN + bench.END) * 2])
def test_a_readme_without_the_marks_is_an_error(text):
    with pytest.raises(UserError, match=r"^README\.md: the marks "):
        bench.replaced(text, "new", Path("README.md"))


def ran(monkeypatch, tmp_path, status: int, *more: str) -> tuple[int, dict[str, list[str]]]:
    """The status of the script of all benches, and bench -> its options, where each ends so."""
    options = {}

    def note(words):
        options[Path(words[1]).stem] = list(map(str, words[2:]))
        return SimpleNamespace(returncode=status)

    monkeypatch.setattr("subprocess.run", note)
    return run(monkeypatch, all_benches, "--data", tmp_path, "--out", tmp_path, *more), options


def test_all_benches_run_in_turn_and_shapes_alone_where_they_are_named(monkeypatch, tmp_path):
    status, options = ran(monkeypatch, tmp_path, 0)
    assert (status, list(options)) == (0, ["decoding", "scaling", "precision", "shapes"])
    assert options["shapes"][-4:] == ["--shapes", "100m", "--prompts", "64"]
    assert options["precision"][-1] == str(tmp_path / "bfloat16.csv")
    status, options = ran(monkeypatch, tmp_path, 0, "--shapes", "7b", "13b")
    assert (status, list(options)) == (0, ["shapes"])
    assert options["shapes"][-3:] == ["--shapes", "7b", "13b"]


def test_a_bench_that_fails_ends_all(monkeypatch, tmp_path):
    status, options = ran(monkeypatch, tmp_path, 2)
    assert (status, list(options)) == (2, ["decoding"])


def test_processors_allow_every_way_to_spell_a_statement():
    loaded = load("tiny-base")
    ids_of = {spelled: token for token, spelled in token_bytes(loaded.tokenizer).items()}
    letters = [ids_of[bytes([byte])] for byte in b" nothing, Box 1 contains the car, Box 2 contains"]
    width = loaded.model.config.vocab_size
    for make in decoding.processors(loaded.model, loaded.tokenizer).values():
        processor = make()
        for count, letter in enumerate(letters):
            ids = torch.tensor([[0, *letters[:count]]])
            assert processor(ids, torch.zeros(1, width))[0, letter] == 0
