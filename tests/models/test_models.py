"""The table of models: the rows of Table 6, their checkpoints, and the pairs and panels that follow
from them."""

import csv
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from boxes.models.pairs import figure_panels, pairs
from boxes.models.table import MODELS, MORE, PROFILES, lineage, models_of, spec_of
from boxes.records import UserError

ROOT = Path(__file__).resolve().parents[2]
# Table 6, row by row: label and repository.
TABLE6 = """\
Llama 2-7B|meta-llama/Llama-2-7b-hf
Llama 2-7B Chat|meta-llama/Llama-2-7b-chat-hf
Llama 2-13B|meta-llama/Llama-2-13b-hf
Llama 2-13B Chat|meta-llama/Llama-2-13b-chat-hf
Llama-2 70B|meta-llama/Llama-2-70b-hf
Llama-2 70B Chat|meta-llama/Llama-2-70b-chat-hf
Code Llama 7B|codellama/CodeLlama-7b-hf
Code Llama 7B Instruct|codellama/CodeLlama-7b-Instruct-hf
Code Llama 13B|codellama/CodeLlama-13b-hf
Code Llama 13B Instruct|codellama/CodeLlama-13b-Instruct-hf
Code Llama 34B|codellama/CodeLlama-34b-hf
Code Llama 34B Instruct|codellama/CodeLlama-34b-Instruct-hf
Code Llama 70B|codellama/CodeLlama-70b-hf
Code Llama 70B Instruct|codellama/CodeLlama-70b-Instruct-hf
Llemma 7B|EleutherAI/llemma_7b
Llemma 34B|EleutherAI/llemma_34b
DeepSeek 7B|deepseek-ai/deepseek-llm-7b-base
DeepSeek 7B Chat|deepseek-ai/deepseek-llm-7b-chat
DeepSeek 7B Coder Base|deepseek-ai/deepseek-coder-7b-base-v1.5
DeepSeek 7B Coder Instruct|deepseek-ai/deepseek-coder-7b-instruct-v1.5
DeepSeek 7B Math Base|deepseek-ai/deepseek-math-7b-base
Gemma-7B|google/gemma-7b
Gemma-7B Instruct|google/gemma-7b-it
CodeGemma-7B|google/codegemma-7b
CodeGemma-7B Instruct|google/codegemma-7b-it
Mistral 7B|mistralai/Mistral-7B-v0.1
OpenMathMistral|nvidia/OpenMath-Mistral-7B-v0.1-hf
LLama 7B|huggyllama/llama-7b
Float 7B Instruct|nikhil07prakash/float-7b"""
# Section 2: what was trained from what. The base of Code Llama 34B was never released.
PAIRS = {
    1: """\
deepseek-llm-7b-base deepseek-coder-7b-base-v1.5 DeepSeek (7B)
gemma-7b codegemma-7b Gemma (8B)
Llama-2-7b-hf CodeLlama-7b-hf Llama 2 (7B)
Llama-2-13b-hf CodeLlama-13b-hf Llama 2 (13B)
Llama-2-70b-hf CodeLlama-70b-hf Llama 2 (70B)""",
    2: """\
llama-7b float-7b FLoat (7B)
Mistral-7B-v0.1 OpenMath-Mistral-7B-v0.1-hf OpenMathMistral (7B)
deepseek-coder-7b-base-v1.5 deepseek-math-7b-base DeepSeek-Math (7B)
CodeLlama-7b-hf llemma_7b Llemma (7B)
CodeLlama-34b-hf llemma_34b Llemma (34B)""",
    3: """\
CodeLlama-7b-hf CodeLlama-7b-Instruct-hf Code Llama (7B)
CodeLlama-13b-hf CodeLlama-13b-Instruct-hf Code Llama (13B)
CodeLlama-34b-hf CodeLlama-34b-Instruct-hf Code Llama (34B)
CodeLlama-70b-hf CodeLlama-70b-Instruct-hf Code Llama (70B)
codegemma-7b codegemma-7b-it CodeGemma (8B)
deepseek-llm-7b-base deepseek-llm-7b-chat DeepSeek (7B)
deepseek-coder-7b-base-v1.5 deepseek-coder-7b-instruct-v1.5 DeepSeek-Coder (7B)
gemma-7b gemma-7b-it Gemma (8B)
Llama-2-7b-hf Llama-2-7b-chat-hf Llama 2 (7B)
Llama-2-13b-hf Llama-2-13b-chat-hf Llama 2 (13B)
Llama-2-70b-hf Llama-2-70b-chat-hf Llama 2 (70B)""",
}
FIVE = ["DeepSeek (7B)", "Gemma (8B)", "Llama 2 (7B)", "Llama 2 (13B)", "Llama 2 (70B)"]
WITH_CODE = ["DeepSeek-Coder (7B)", "CodeGemma (8B)",
             "Code Llama (7B)", "Code Llama (13B)", "Code Llama (70B)"]  # fmt: skip


def names(specs, which=lambda spec: True) -> list[str]:
    return [spec.name for spec in specs if which(spec)]


@pytest.mark.parametrize("profile", ["paper", "reported"])
def test_the_rows_are_those_of_table_6(profile):
    rows = models_of(profile)
    assert [f"{spec.label}|{spec.hub_id}" for spec in rows] == TABLE6.splitlines()
    with open(ROOT / "data/reported/table6.csv") as file:
        reported = list(dict.fromkeys(row["model"] for row in csv.DictReader(file)))
    assert ["Random", *(spec.name for spec in rows)] == reported


def test_a_name_is_one_folder_and_one_model():
    assert len(MODELS) == 71
    for name, spec in MODELS.items():
        assert name == spec.name
        assert re.fullmatch(r"[A-Za-z0-9._-]+", name)
        if spec.hub_id:
            assert name == spec.hub_id.split("/")[1]
    assert len(set(map(str.lower, MODELS))) == 71  # some file systems do not tell case apart


def test_every_checkpoint_is_pinned_at_a_commit():
    # None is known from public sources: pinned at the first download.
    assert names(models_of("paper"), lambda spec: not spec.revision) == ["codegemma-7b"]
    pinned = [spec.revision for spec in models_of("paper") if spec.revision]
    assert all(re.fullmatch(r"[0-9a-f]{40}", revision) for revision in pinned)
    assert len(set(pinned)) == len(pinned) == 28


def test_formats_of_prompts_and_of_weights():
    paper = models_of("paper")
    assert names(paper, lambda spec: spec.prompt_format == "chat") == [
        "Llama-2-7b-chat-hf", "Llama-2-13b-chat-hf", "Llama-2-70b-chat-hf", "deepseek-llm-7b-chat"
    ]  # fmt: skip
    assert {spec.prompt_format for spec in paper} == {"plain", "chat"}
    assert names(paper, lambda spec: spec.weights == "bin") == [
        "llemma_7b", "llemma_34b", "deepseek-llm-7b-base", "deepseek-llm-7b-chat",
        "deepseek-math-7b-base", "float-7b"
    ]  # fmt: skip
    without_system = names(paper, lambda spec: spec.system_role is False)
    assert without_system == ["deepseek-llm-7b-chat", "deepseek-coder-7b-instruct-v1.5"]
    instruct = names(paper, lambda spec: spec.instruct_data)
    assert instruct == ["OpenMath-Mistral-7B-v0.1-hf", "float-7b"]
    assert {spec.name: spec.tokenizer for spec in paper if spec.tokenizer} == {
        "float-7b": ("huggyllama/llama-7b", MODELS["llama-7b"].revision)
    }


def test_gated_repositories_are_those_of_llama_2_and_gemma():
    for spec in models_of("paper"):
        assert spec.gated == (spec.hub_id.split("/")[0] in ("meta-llama", "google")), spec.name


def test_every_lineage_ends():
    for spec in MODELS.values():
        line = []
        for ancestor in lineage(spec):
            assert ancestor not in line
            line.append(ancestor)
            assert ancestor.profile == spec.profile
            assert ancestor.base is None or ancestor.base in MODELS
            if ancestor.added not in ("code", "math", "alignment", "vision", MORE):
                assert ancestor.added is ancestor.base is None
        assert line[-1].added is None or line[-1].name == "CodeLlama-34b-hf"
    back = names(lineage(MODELS["llemma_7b"]))
    assert back == ["llemma_7b", "CodeLlama-7b-hf", "Llama-2-7b-hf"]


def test_sizes_agree_within_a_pair():
    for experiment in (1, 2, 3):
        for pair in pairs(experiment, "paper"):
            assert pair.base.size == pair.treated.size


@pytest.mark.parametrize("profile", ["paper", "reported"])
@pytest.mark.parametrize("experiment", [1, 2, 3])
def test_the_pairs_are_the_papers(experiment, profile):
    found = pairs(experiment, profile)
    for pair, line in zip(found, PAIRS[experiment].splitlines(), strict=True):
        assert f"{pair.base.name} {pair.treated.name} {pair.panel}" == line
        assert (pair.experiment, pair.treated.base) == (experiment, pair.base.name)


def test_the_tiny_models_are_a_pair_an_experiment_and_one_against_the_control():
    assert names(models_of("tiny")) == ["tiny-base", "tiny-more", "tiny-code", "tiny-math", "tiny-chat"]
    for experiment, treated in ((1, "tiny-code"), (2, "tiny-math"), (3, "tiny-chat")):
        pair, control = pairs(experiment, "tiny")
        assert (pair.base.name, pair.treated.name, pair.controlled) == ("tiny-base", treated, False)
        assert (control.base.name, control.treated.name, control.controlled) == ("tiny-more", treated, True)
        assert control.panel == f"{pair.panel}, control"
    for profile in PROFILES:
        if profile != "tiny":  # the paper has no control, nor do the others
            assert not any(pair.controlled for number in (1, 2, 3) for pair in pairs(number, profile))
    for spec in models_of("tiny"):
        assert (spec.folder / "model.safetensors").is_file()
        assert (spec.folder / "tokenizer.json").is_file()


# Of the profile `small`: repository, what it was trained from and on.
SMALL = """\
Qwen/Qwen2.5-0.5B
Qwen/Qwen2.5-0.5B-Instruct|Qwen2.5-0.5B|alignment
Qwen/Qwen2.5-Coder-0.5B|Qwen2.5-0.5B|code
Qwen/Qwen2.5-Coder-0.5B-Instruct|Qwen2.5-Coder-0.5B|alignment
Qwen/Qwen2.5-1.5B
Qwen/Qwen2.5-1.5B-Instruct|Qwen2.5-1.5B|alignment
Qwen/Qwen2.5-Coder-1.5B|Qwen2.5-1.5B|code
Qwen/Qwen2.5-Coder-1.5B-Instruct|Qwen2.5-Coder-1.5B|alignment
Qwen/Qwen2.5-Math-1.5B|Qwen2.5-1.5B|math
Qwen/Qwen2.5-Math-1.5B-Instruct|Qwen2.5-Math-1.5B|alignment
HuggingFaceTB/SmolLM2-135M
HuggingFaceTB/SmolLM2-135M-Instruct|SmolLM2-135M|alignment
HuggingFaceTB/SmolLM2-360M
HuggingFaceTB/SmolLM2-360M-Instruct|SmolLM2-360M|alignment
google/gemma-3-270m
google/gemma-3-270m-it|gemma-3-270m|alignment
google/gemma-3-1b-pt
google/gemma-3-1b-it|gemma-3-1b-pt|alignment
meta-llama/Llama-3.2-1B
meta-llama/Llama-3.2-1B-Instruct|Llama-3.2-1B|alignment
allenai/OLMo-2-0425-1B
allenai/OLMo-2-0425-1B-Instruct|OLMo-2-0425-1B|alignment"""
PACKAGED = ["smollm2-135m-instruct-q4_1", "gemma-3-270m-q4_k_m"]
SMALL_CODE = ["Qwen2.5 (0.5B)", "Qwen2.5 (1.5B)"]
LICENCES = {"Qwen": "apache-2.0", "HuggingFaceTB": "apache-2.0", "google": "gemma",
            "meta-llama": "llama3.2", "allenai": "apache-2.0"}  # fmt: skip


def test_the_small_models_are_pairs_of_the_hub():
    rows = [spec for spec in models_of("small") if spec.hub_id]
    said = ["|".join(filter(None, (spec.hub_id, spec.base, spec.added))) for spec in rows]
    assert said == SMALL.splitlines()
    for spec in rows:
        owner = spec.hub_id.split("/")[0]
        assert spec.licence == LICENCES[owner]
        assert spec.gated == (owner in ("google", "meta-llama"))
        assert (spec.revision, spec.prompt_format) == (None, "plain")  # pinned when it is fetched
        assert spec.base is None or MODELS[spec.base].size == spec.size


def test_the_pairs_and_panels_of_the_small_models():
    assert [pair.panel for pair in pairs(1, "small")] == SMALL_CODE
    assert [pair.panel for pair in pairs(2, "small")] == ["Qwen2.5-Math (1.5B)"]
    assert len(pairs(3, "small")) == 11
    sizes = [pair.panel for pair in pairs(3, "small") if "Gemma" in pair.panel]
    assert sizes == ["Gemma 3 (270M)", "Gemma 3 (1B)"]  # by size: M is less than B
    panels = figure_panels(3, "small")
    assert [panel.title for panel in panels if panel.row][:2] == ["Qwen2.5-Coder (0.5B)", "Qwen2.5-Coder (1.5B)"]
    assert len(panels) == 11


def test_models_of_packages_are_of_no_pair():
    rows = [spec for spec in models_of("small") if spec.packaged]
    assert names(rows) == PACKAGED
    for spec in rows:
        assert (spec.base, spec.added, spec.hub_id) == (None, None, None)
        assert spec.name.rsplit("-", 1)[1].upper() in spec.label  # its quantisation
        assert re.fullmatch(r"[0-9a-f]{64}", spec.packaged.sha256)
        assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+", package) for package, _ in spec.packaged.parts)
        assert spec.folder.parts[-2:] == ("gguf", spec.name)
    families = [spec.family for spec in models_of("small")]
    assert all(families.count(spec.family) == 1 for spec in rows)  # Table 1 has a line for each


def panel_lines(figure: int) -> list[list[tuple[str, str, str]]]:
    found = []
    for panel in figure_panels(figure, "paper"):
        found.append([(legend, spec.name, role) for legend, spec, role in panel.lines])
    return found


@pytest.mark.parametrize("figure", [1, 2])
def test_figures_1_and_2_have_a_panel_a_pair(figure):
    panels = figure_panels(figure, "paper")
    assert [panel.title for panel in panels] == [pair.panel for pair in pairs(figure, "paper")]
    assert len(panels) == 5
    for lines, pair in zip(panel_lines(figure), pairs(figure, "paper"), strict=True):
        (_, *base), (_, *treated) = lines
        assert base == [pair.base.name, "base"]
        assert treated == [pair.treated.name, {1: "code", 2: "math"}[figure]]


def test_figure_3_has_the_panels_of_figure_1_without_and_with_code():
    panels = figure_panels(3, "paper")
    assert [panel.title for panel in panels] == FIVE + WITH_CODE
    assert [panel.row for panel in panels] == [0] * 5 + [1] * 5
    aligned = {pair.base.name: pair.treated.name for pair in pairs(3, "paper")}
    for (base, treated), pair in zip(panel_lines(3)[:5], pairs(1, "paper"), strict=True):
        assert base[1:] == (pair.base.name, "base")
        assert treated[1:] == (aligned[pair.base.name], "aligned")
    for (base, treated), pair in zip(panel_lines(3)[5:], pairs(1, "paper"), strict=True):
        assert base[1:] == (pair.treated.name, "base")
        assert treated[1:] == (aligned[pair.treated.name], "aligned")
    assert panel_lines(3)[0] == [
        ("DeepSeek", "deepseek-llm-7b-base", "base"),
        ("DeepSeek-Chat", "deepseek-llm-7b-chat", "aligned"),
    ]
    assert panel_lines(3)[6][1] == ("CodeGemma-Instruct", "codegemma-7b-it", "aligned")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("CodeLlama-7b", "did you mean CodeLlama-7b-hf, "),
        ("tiny-bse", "did you mean tiny-base, "),
        ("codellama-70b-instruct-hf", "CodeLlama-70b-Instruct-hf"),
        ("§", "known: Llama-2-7b-hf, "),
    ],
)
def test_an_unknown_name_brings_the_closest_ones(name, hint):
    with pytest.raises(UserError) as caught:
        spec_of(name)
    assert str(caught.value).startswith(f"unknown model '{name}'; ")
    assert hint in str(caught.value)


def test_an_unknown_profile_brings_the_known_ones():
    said = r"^unknown profile 'full'; choose one of reported, tiny, small, paper, modern$"
    for ask in (models_of, partial(pairs, 1), partial(figure_panels, 3)):
        with pytest.raises(UserError, match=said):
            ask("full")


def test_the_table_is_read_without_any_package():
    """The Makefile reads it before anything is installed: -I -S leaves the standard library."""
    path = f"import sys; sys.path.insert(0, {str(ROOT)!r})"
    code = f"{path}; from boxes.models import table; print(len(table.MODELS))"
    line = [sys.executable, "-I", "-S", "-c", code]
    ran = subprocess.run(line, capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("71\n", "")
