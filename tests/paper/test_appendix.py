"""CLAIMS.md: the committed file is what is generated, names real models and switches, and measures nothing by itself."""

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
from scripts_fixture import ROOT, refusal

from boxes.claims.sentences import claims_of
from boxes.models.table import MODELS, choose
from paper import claims_page

TEXT = claims_page.render(ROOT / "data/reference", ROOT / "data/bench")
LLAMA, LLEMMA, LARGE = (MODELS[name] for name in ("Llama-2-7b-hf", "llemma_34b", "Llama-2-70b-hf"))


def shapes_csv(folder: Path, *rows: dict) -> pd.DataFrame:
    """Rows of shapes.csv, a measurement of the shape 7b but for what they name; as the appendix reads them."""
    measured = {"shape": "7b", "device": "NVIDIA H200", "dtype": "bfloat16", "prompts": 714, "seconds": 6.0,
                "peak_memory_mb": 60000.0, "status": "measured"}  # fmt: skip
    pd.DataFrame([measured | row for row in rows]).to_csv(folder / "shapes.csv", index=False)
    return claims_page.measured_shapes(folder)


def test_the_committed_file_is_what_is_generated():
    assert (ROOT / "CLAIMS.md").read_text() == TEXT, "make claims writes it anew"


def test_every_claim_of_the_paper_has_what_a_reviewer_needs():
    parts = dict(re.findall(r"#### `(\S+)` [^\n]*\n(.*?)(?=\n####? |\n## |\Z)", TEXT, re.DOTALL))
    assert parts.keys() == {claim.id for claim in claims_of("paper")}
    for claim in claims_of("paper"):
        part = parts[claim.id]
        assert claim.text in part
        for label in ("run", "expected", "holds if", "GPU minutes", "GPU memory", "disk"):
            assert part.count(f"\n- {label}: ") == 1, (claim.id, label)
        named = re.search(r'MODELS="([^"]*)"', part)
        specs = choose("paper", named[1].split() if named else ())
        assert {spec.name for spec in specs} == set(claim.test.models)
        assert claim.test.why in part
    for claim in claims_of("tiny"):
        assert f"`{claim.id}`" in TEXT


@pytest.mark.parametrize(
    ("name", "expected"),
    [  # of the paper's text and Table 6
        ("code-nontrivial-13b", "22.51 [20.50, 24.50]; verdict: **holds**\n"),
        ("alignment-code-llama-worse", "-7.04 [-15.99, 2.00]; verdict: **holds**, a close call"),
        ("constrained-decoding", "7.18 [5.26, 9.10]; verdict: **holds**"),
        ("alignment-base-greater", "(of 5): 3; verdict: **holds**"),
        ("prompt-format", "not printed; verdict: **not judged on the printed numbers**"),
    ],
)
def test_expected_values(name, expected):
    assert expected in TEXT.partition(f"#### `{name}`")[2].partition("####")[0]


def test_kicking_the_tires_takes_less_than_a_quarter_of_an_hour():
    table = TEXT.partition("## Kick the tires")[2].partition("\n## ")[0]
    minutes = [float(line.split("|")[-2]) for line in table.splitlines() if line.startswith("| `make")]
    assert len(minutes) == 5
    assert 0 < sum(minutes) < 15


# --- costs ---


def test_nothing_is_measured_without_the_bench(tmp_path):
    shapes = claims_page.measured_shapes(tmp_path)
    assert claims_page.gpu_minutes([LLAMA], shapes) == "not measured"
    assert claims_page.gpu_memory([LLAMA, LARGE], shapes) == (
        "not measured; 138.0 GB for the weights of Llama-2-70b-hf (estimate: parameters × 2 bytes)"
    )
    assert claims_page.disk([LLAMA]) == "13.5 GB of weights (estimate: parameters × 2 bytes)"
    assert claims_page.disk([LLEMMA]).startswith("135.0 GB of weights (estimate: parameters × 2 bytes, × 4 for Llemma")
    text = claims_page.render(ROOT / "data/reference", tmp_path)
    assert set(re.findall(r"^- GPU minutes: (.*)$", text, re.MULTILINE)) == {"not measured"}


def test_what_the_bench_measured_is_taken_from_it(tmp_path):
    shapes = shapes_csv(tmp_path, {}, {"shape": "70b", "seconds": 60.0, "peak_memory_mb": 140000.0})
    assert claims_page.gpu_minutes([LLAMA, LLAMA, LARGE], shapes).startswith("1.2 for decoding, measured on models")
    assert "(NVIDIA H200, bfloat16)" in claims_page.gpu_minutes([LLAMA], shapes)
    assert claims_page.gpu_memory([LLAMA], shapes).startswith("60.0 GB, measured on a model of Llama-2-7b-hf's shape")
    assert claims_page.gpu_memory([LLAMA, LARGE], shapes).startswith("140.0 GB, measured")
    wider = shapes_csv(tmp_path, {"peak_memory_mb": 150000.0}, {"shape": "70b", "peak_memory_mb": 140000.0})
    assert claims_page.gpu_memory([LLAMA, LARGE], wider).startswith("150.0 GB, measured on a model of Llama-2-7b-hf's")
    assert claims_page.gpu_memory([LLAMA, LLEMMA], wider).startswith(
        "not measured; 67.5 GB for the weights of llemma_34b"
    )
    assert claims_page.gpu_minutes([LLAMA, LLEMMA], shapes) == "not measured"  # 34b is not there
    shapes_csv(tmp_path, {}, {"shape": "70b", "seconds": 60.0})
    text = claims_page.render(ROOT / "data/reference", tmp_path)
    assert "GPU minutes: 0.2 for decoding, measured on models of these shapes" in text  # two of 7b


@pytest.mark.parametrize("row", [{"device": "AMD EPYC, 2 threads"}, {"status": "failed"}, {"status": "not measured"}])
def test_what_is_no_measurement_of_a_gpu_does_not_count(tmp_path, row):
    assert claims_page.gpu_minutes([LLAMA], shapes_csv(tmp_path, row)) == "not measured"


# --- deviations ---


def switches() -> list[str]:
    """Every NAME=value among the switches."""
    cells = " ".join(code for row in claims_page.DEVIATIONS for code in re.findall(r"`([^`]*=[^`]*)`", row[-1]))
    return shlex.split(cells)


def test_every_switch_is_a_variable_of_make():
    variables = set(re.findall(r"^([A-Z_]+) \?=", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {switch.partition("=")[0] for switch in switches()} == {"DECODE", "HARDWARE", "DATA", "RELEASE_ZIP"}
    assert {switch.partition("=")[0] for switch in switches()} <= variables


def test_every_option_in_a_switch_is_one_of_decoding(tmp_path, capsys):
    options = [value.split() for name, _, value in (switch.partition("=") for switch in switches())
               if name in ("DECODE", "HARDWARE")]  # fmt: skip
    assert len(options) == 3
    for option in options:
        run = ("--model", "tiny-base", "--data", tmp_path / "no.jsonl", "--out", tmp_path / "out", *option)
        assert "no.jsonl: no such file" in refusal(capsys, "04_decode.py", *run)  # the options were taken
        assert "see --help" in refusal(capsys, "04_decode.py", *run, "--no-such-option")


def test_deviations_stand_in_one_place():
    readme = (ROOT / "README.md").read_text()
    assert "CLAIMS.md#deviations" in readme
    assert "--prompt-style" not in readme
    table = TEXT.partition("## Deviations")[2]
    assert TEXT.count("--prompt-style released") == table.count("--prompt-style released") == 2
    for word in ("2255", "two in the chat rows", "Wald", "`sample_id`", "0 to 12", "Code Llama 2", "outlines 0.1.13", "is part",
                 "release_scoring", "Okay."):  # fmt: skip
        assert word in table, word
