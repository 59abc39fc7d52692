"""Which GPUs there are, and how many of them, or what share of the cores, a model takes."""

import pytest

from boxes.records import UserError
from boxes.runs.devices import Machine, needed, visible

GB = 10**9


def machine(tmp_path, there: dict[str, int], cores: int = 2, jobs: int = 2, **asked) -> Machine:
    return Machine(tmp_path, there, cores, jobs, **asked)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("0,-1,1", ["0"]),  # CUDA stops at -1
        ("1,7,0", ["1"]),
        ("NoDevFiles", []),
        ("none", []),
        ("0,0", []),
        (" 1 , 0", ["1", "0"]),
        ("GPU-aa01", ["GPU-aa01"]),
        ("GPU-aa", []),  # it could be either
        ("GPU-ab,0", ["GPU-ab", "0"]),
        ("MIG-1234,0", ["MIG-1234", "0"]),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_reads_it(named, expected):
    assert visible(named, ["0", "GPU-aa01", "1", "GPU-aa02", "2", "GPU-abcd"]) == expected
    assert visible(named, []) == []


def test_a_model_takes_as_many_gpus_as_its_weights_need():
    assert needed("Llama-2-7b-hf", 2, [24 * GB] * 8) == 1
    assert needed("Llama-2-70b-hf", 2, [80 * GB] * 8) == 3
    assert needed("Llama-2-70b-hf", 2, [180 * GB] * 8) == 1
    assert needed("Llama-2-70b-hf", 2, [24 * GB] * 4) == 4  # all; doctor says that they are too few
    assert needed("Llama-2-70b-hf", 2, [0, 0]) == 1  # their memory is not known
    assert needed(None, 2, [80 * GB]) == 1


def test_placement_heeds_what_was_asked(tmp_path):
    there = {"0": 80 * GB, "1": 80 * GB}
    smaller = {"0": 40 * GB, "1": 40 * GB}
    assert machine(tmp_path, there).gpu_placement("Llama-2-70b-hf") == (["0", "1"], 2)
    assert machine(tmp_path, there, asked=1).gpu_placement("Llama-2-70b-hf") == (["0", "1"], 1)
    assert machine(tmp_path, smaller, dtype="float32").gpu_placement("Llama-2-13b-hf")[1] == 2
    assert machine(tmp_path, {}, asked=2).gpu_placement("Llama-2-70b-hf") == ([], 0)
    with pytest.raises(UserError, match="GPUS_PER_MODEL=3"):
        machine(tmp_path, there, asked=3).gpu_placement(None)


@pytest.mark.parametrize(
    ("model", "jobs", "cores", "expected"),
    [
        ("tiny-base", 2, 8, (["cpu0", "cpu1"], 1, 4)),
        ("tiny-base", 16, 2, (["cpu0", "cpu1"], 1, 1)),
        ("tiny-base", 1, 8, (["cpu0"], 1, 8)),
        ("Llama-2-7b-hf", 2, 8, (["cpu0", "cpu1"], 2, 8)),  # all shares, all threads
        (None, 2, 8, (["cpu0", "cpu1"], 2, 8)),
    ],
)
def test_the_cpu_is_shared_by_size(tmp_path, model, jobs, cores, expected):
    assert machine(tmp_path, {}, cores, jobs).cpu_placement(model) == expected
