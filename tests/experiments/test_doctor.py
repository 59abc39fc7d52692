"""What `make doctor` says, and that it fails where a run would."""

import importlib.util
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hub_fixture import Hub, Repository
from huggingface_hub import constants
from miniatures import TOKENIZERS
from tokenizer_fixture import KINDS, write_tokenizer

from boxes.decoding.constraint import compile_regex, token_bytes
from boxes.models import find_row, loading
from boxes.models.shapes import shape_of
from boxes.models.table import MODELS, TINY_FOLDER, ModelSpec, models_of
from boxes.prompting import STATEMENT_HEAD, STATEMENT_REGEX
from boxes.records import UserError, read_json, write_json, write_text
from experiments.tools import checkup, doctor, prediction
from experiments.tools.checkup import (
    STATEMENT,
    Checkup,
    accepts,
    check_access,
    check_memory,
    examine,
    seconds_of,
)

GB = 10**9
NOWHERE = Path("no-such-bench.csv")
COLUMNS = "shape,device,status,seconds\n"


@pytest.fixture(autouse=True)
def no_hub(tmp_path, monkeypatch):
    monkeypatch.delenv("MODELS_DIR", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("name", ["tiny-base", "tiny-chat"])
def test_a_model_that_is_here_passes(name):
    row = examine(MODELS[name], {}, None, NOWHERE, None)
    assert row.faults == []
    assert (row.weights, row.tokenizer, row.access) == ("here", "ok", "not needed")
    assert row.seconds is None


def test_what_is_not_here_is_not_checked():
    row = examine(MODELS["gemma-7b"], {"0": 80 * GB}, None, NOWHERE, "a GPU")
    assert (row.weights, row.tokenizer, row.access) == ("to fetch", "not here", "not asked")
    assert row.faults == []


@pytest.mark.parametrize(
    ("gpus", "asked", "short", "fault"),
    [
        ({"0": 80 * GB}, None, True, None),
        ({"0": 80 * GB, "1": 80 * GB, "2": 80 * GB}, None, False, None),
        ({"0": 80 * GB, "1": 80 * GB, "2": 80 * GB}, 1, True, None),
        ({"0": 180 * GB}, 2, False, "GPUS_PER_MODEL=2, but there are 1 GPUs"),
        ({"0": 0}, None, False, None),  # memory that nobody told
    ],
)
def test_memory_of_gpus(gpus, asked, short, fault):
    row = Checkup()
    check_memory(MODELS["Llama-2-70b-hf"], None, gpus, asked, row)
    assert (row.short, row.faults) == (short, [fault] if fault else [])


def test_memory_is_one_line_whatever_the_number_of_models():
    specs = models_of("paper", extra=False)
    rows = [Checkup() for _ in specs]
    for spec, row in zip(specs, rows, strict=True):
        check_memory(spec, None, {"0": 80 * GB}, None, row)
    line, [fault] = doctor.memory_line(specs, rows)
    assert line == "138.0 GB for Llama-2-70b-hf, the largest of 29; there are 68.0 GB on 1 GPU"
    names = "4 models (Llama-2-70b-hf, Llama-2-70b-chat-hf, CodeLlama-70b-hf, ...)"
    assert fault.startswith(f"too little memory for {names}: {line}; more GPUs")


def test_a_kind_of_fault_is_one_line():
    specs = [MODELS[name] for name in ("gemma-7b", "gemma-7b-it", "tiny-base", "codegemma-7b")]
    rows = [Checkup(faults=[f"{spec.hub_id} is gated; accept its licence"]) for spec in specs]
    rows[2] = Checkup(faults=["no weights"])
    gated = "google/gemma-7b is gated; accept its licence"
    assert doctor.one_a_kind(specs, rows) == [
        f"gemma-7b: {gated} (likewise gemma-7b-it, codegemma-7b)",
        "tiny-base: no weights",
    ]


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_tokenizers_own_spelling_is_accepted_and_another_is_not(kind):
    tokenizer = TOKENIZERS[kind]()
    spelled = token_bytes(tokenizer)
    automaton = compile_regex(STATEMENT_REGEX, tokenizer, len(tokenizer))
    for text, expected in ((STATEMENT, True), (STATEMENT[:-1], False), (STATEMENT + " And", False),
                           (STATEMENT.replace("Box 1", "Box 9"), False)):  # fmt: skip
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert accepts(automaton, spelled, ids, STATEMENT_HEAD) is expected


def repository(folder: Path, kind: str) -> ModelSpec:
    """A model of the paper whose weights are here, with a tokenizer of tokenizer_fixture.py."""
    name = "deepseek-llm-7b-chat" if kind == "deepseek-chat" else "CodeLlama-7b-hf"
    shutil.copytree(TINY_FOLDER / "tiny-base", folder / name)
    (folder / name / "chat_template.jinja").unlink()
    config = read_json(folder / name / "config.json")
    write_tokenizer(KINDS[kind], folder / name)
    write_json(folder / name / "config.json", config)
    return MODELS[name]


RIGHT = ("llama", "llama-chat", "deepseek", "deepseek-chat", "glm-chat", "smollm2")


@pytest.mark.parametrize("kind", RIGHT)
def test_a_tokenizer_whose_files_are_right_passes(kind, tmp_path, monkeypatch):
    """DeepSeek-Chat's BOS is written by the template, GLM's prefix is none: neither is a fault."""
    monkeypatch.setenv("MODELS_DIR", str(tmp_path))
    row = examine(repository(tmp_path, kind), {"0": 80 * GB}, None, NOWHERE, None)
    assert (row.tokenizer, row.faults) == ("ok", [])


def test_doctor_judges_by_the_files_as_the_engine_does(tmp_path, monkeypatch):
    """Both faults of which nothing was said: no BOS, and another token behind a BOS."""
    monkeypatch.setenv("MODELS_DIR", str(tmp_path))
    spec = repository(tmp_path, "deepseek")
    read = loading.read_tokenizer
    monkeypatch.setattr(loading, "read_tokenizer", lambda folder: without_bos(read(folder)))
    row = examine(spec, {"0": 80 * GB}, None, NOWHERE, None)
    assert row.tokenizer == "fails"
    [fault] = row.faults
    assert "token 0 of a plain prompt would be" in fault
    with pytest.raises(UserError) as refused:
        loading.load_tokenizer(find_row(spec))
    assert str(refused.value) == fault


def without_bos(tokenizer):
    tokenizer.add_bos_token = False
    return tokenizer


def test_a_damaged_checkpoint_is_a_fault(tmp_path, monkeypatch):
    shutil.copytree(TINY_FOLDER / "tiny-base", tmp_path / "CodeLlama-7b-hf")
    (tmp_path / "CodeLlama-7b-hf" / "tokenizer.json").write_text("{")
    monkeypatch.setenv("MODELS_DIR", str(tmp_path))
    [fault] = examine(MODELS["CodeLlama-7b-hf"], {"0": 80 * GB}, None, NOWHERE, None).faults
    assert "tokenizer" in fault


def test_times_are_those_that_were_measured_on_this_kind_of_device(tmp_path):
    bench = tmp_path / "shapes.csv"
    rows = ("7b,GPU A,measured,4.5", "13b,GPU A,not measured,", "7b,GPU B,measured,9",
            "34b,GPU A,failed,1")  # fmt: skip
    write_text(bench, COLUMNS + "\n".join(rows) + "\n")
    names = ("llemma_7b", "Llama-2-13b-hf", "llemma_34b", "tiny-base")
    times = [seconds_of(MODELS[name], bench, "GPU A") for name in names]
    assert times == [4.5, None, None, None]
    assert seconds_of(MODELS["Llama-2-7b-hf"], bench, "GPU B") == 9
    assert seconds_of(MODELS["Llama-2-7b-hf"], bench, "GPU C") is None
    assert seconds_of(MODELS["Llama-2-7b-hf"], bench, None) is None


@pytest.mark.parametrize(
    ("status", "error", "access", "fault"),
    [
        (200, "", "open", None),
        (403, "GatedRepo", "closed", "gated; accept its licence on the hub and set HF_TOKEN"),
        (404, "RepoNotFound", "closed", "not on the hub, or not visible with this HF_TOKEN"),
        (500, "", "no answer (", None),
    ],
)
def test_the_hub_is_asked_once(status, error, access, fault, monkeypatch):
    """Whether a repository is open."""
    spec = MODELS["gemma-7b"]
    hub = Hub({spec.hub_id: Repository("main", {"config.json": b"{}"}, status=status, error=error)})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    url = f"{hub.url}/{spec.hub_id}/resolve/main/config.json"
    monkeypatch.setattr(checkup, "config_url", lambda _: url)
    row = Checkup()
    check_access(spec, row)
    hub.server.shutdown()
    hub.server.server_close()
    assert row.access.startswith(access)
    assert row.faults == ([f"google/gemma-7b is {fault}"] if fault else [])


@pytest.mark.parametrize(
    ("variables", "said"),
    [({"HF_HUB_OFFLINE": "0"}, "asked"), ({"HF_HUB_OFFLINE": "1"}, "offline"),
     ({"TRANSFORMERS_OFFLINE": "1"}, "offline"),
     ({"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "1"}, "asked")],
)  # fmt: skip
def test_the_hub_is_offline_where_its_library_says_so(variables, said, monkeypatch, capsys):
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    spec = importlib.util.spec_from_file_location(constants.__name__, constants.__file__)
    as_read_anew = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(as_read_anew)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", as_read_anew.HF_HUB_OFFLINE)
    _, out, _ = ended(monkeypatch, capsys, "tiny", "tiny-base")
    assert f"\nhub       {said}; " in out


def test_the_disk_is_compared_with_what_is_to_be_fetched(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=20 * GB))
    specs = [MODELS["CodeLlama-7b-hf"], MODELS["llama-7b"]]
    line, [fault] = doctor.check_disk(specs, [Checkup("to fetch"), Checkup("to fetch")])
    assert line.startswith("27.0 GB to fetch, 20.0 GB free")
    assert fault.startswith(line)
    assert doctor.check_disk(specs, [Checkup("here"), Checkup("to fetch")])[1] == []


def ended(monkeypatch, capsys, profile: str, *models: str) -> tuple[int, str, str]:
    """The script's exit status and what it says."""
    chosen = ["--models", *models] if models else []
    line = ["tools/doctor.py", "--profile", profile, *chosen, "--bench", "none.csv"]
    monkeypatch.setattr(sys, "argv", line)
    with pytest.raises(SystemExit) as stopped:
        doctor.main()
    return stopped.value.code, *capsys.readouterr()


def test_the_last_line_says_whether_it_can_run(capsys, monkeypatch):
    status, out, err = ended(monkeypatch, capsys, "tiny", "tiny-base")
    assert (status, err, out.splitlines()[-1]) == (0, "", "can run")
    assert "tiny-code" not in out  # not chosen
    monkeypatch.setattr("boxes.models.table.TINY_FOLDER", Path("nowhere"))
    status, out, err = ended(monkeypatch, capsys, "tiny", "tiny-base", "tiny-code")
    assert (status, "can run" in out) == (1, False)
    assert err == (
        "\ncannot run, because tiny-base: nowhere/tiny-base: no weights here; "
        "`make train-tiny` trains them (likewise tiny-code)\n"
    )


def test_a_profile_that_is_not_here_is_a_few_lines(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "gpus", lambda: {str(number): 180 * GB for number in range(8)})
    monkeypatch.setattr(doctor, "gpu_name", lambda: "a GPU")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=9999 * GB))
    status, out, err = ended(monkeypatch, capsys, "paper")
    lines = out.splitlines()
    assert (status, err, len(lines)) == (0, "", 7)
    assert lines[2].startswith("weights   29 to fetch; 1200.1 GB to fetch")
    assert lines[-1] == "can run, once make weights PROFILE=paper has fetched 1200.1 GB"
    assert "hf_" not in out


def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch):
    asked = []

    def refuse(spec, row):
        asked.append(spec.name)
        row.access = "no answer (ConnectError)"

    monkeypatch.setattr(checkup, "check_access", refuse)
    specs = models_of("paper", extra=False)
    checkup.ask_hub(specs, [Checkup("here"), *(Checkup("to fetch") for _ in specs[1:])])
    assert asked == [specs[1].name]


# --- times on a processor ---


def test_operations_follow_from_the_shape():
    """A prompt's own tokens need the layers, what is written the output matrix, too."""
    shape = shape_of(MODELS["SmolLM2-135M"])
    one, two = (prediction.operations(shape, count) for count in (1, 2))
    assert two - one == 2 * (shape.layer_parameters * 226 + shape.head_parameters * 66)
    assert 2 * one - two == 2 * shape.layer_parameters * 360  # the prefix, once


def test_a_time_is_predicted_from_the_speed_of_this_processor(monkeypatch):
    asked = []

    def speed(*size: int) -> float:
        asked.append(size)
        return 1e11

    monkeypatch.setattr(prediction, "speed_of", speed)
    speeds: dict = {}
    plain = prediction.predicted_seconds(MODELS["SmolLM2-135M"], speeds)
    aligned = prediction.predicted_seconds(MODELS["SmolLM2-135M-Instruct"], speeds)
    assert asked == [(576, 1536)]  # measured once a shape
    operations = prediction.operations(shape_of(MODELS["SmolLM2-135M"]), 714)
    assert plain == pytest.approx(prediction.LONGER * operations / 1e11)
    assert aligned > 1.3 * plain  # both prompt formats on the development set
    assert prediction.predicted_seconds(MODELS["tiny-base"], speeds) is None


def test_the_speed_of_a_product_is_measured():
    assert 1e8 < prediction.speed_of(64, 128) < 1e14


def test_without_a_gpu_every_model_that_fits_has_a_row_and_a_predicted_time(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "gpus", dict)
    monkeypatch.setattr(doctor, "gpu_name", lambda: None)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=9999 * GB))
    monkeypatch.setattr("boxes.decoding.memory.free_bytes", lambda _: 4 * GB)
    monkeypatch.setattr(prediction, "speed_of", lambda *_: 1e11)
    status, out, err = ended(monkeypatch, capsys, "small", "SmolLM2-135M", "Qwen2.5-1.5B")
    assert (status, "too little memory for Qwen2.5-1.5B: 6.2 GB" in err) == (1, True)
    predicted = doctor.minutes(prediction.predicted_seconds(MODELS["SmolLM2-135M"], {}))
    assert f"\ntime      {predicted} predicted for 1 model on this processor\n" in out
    [row] = [line.split("  ") for line in out.splitlines() if line.startswith("SmolLM2-135M ")]
    cells = [cell.strip() for cell in row if cell.strip()]
    assert cells == ["SmolLM2-135M", "to fetch, 0.3 GB", "0.5 GB", "not here", f"predicted {predicted}"]


def test_files_of_packages_are_fetched_from_no_hub(capsys, monkeypatch):
    monkeypatch.setattr(prediction, "speed_of", lambda *_: 1e11)
    _, out, _ = ended(monkeypatch, capsys, "small", "gemma-3-270m-q4_k_m")
    assert "weights   1 to fetch; 0.3 GB to fetch, " in out
    assert "hub       offline; 1 not asked; " in out
