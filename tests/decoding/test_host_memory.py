"""What a process may still take, where its machine, its container or its job of a cluster sets the limit."""

import pytest
import torch

from boxes.decoding import host_memory, memory
from boxes.records import UserError

FREE = 8 * 2**30


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with FREE bytes, in whose folder control groups can be written."""
    files = {"MEMORY": tmp_path / "meminfo", "GROUPS": tmp_path / "cgroup", "ROOT": tmp_path / "groups"}
    for name, path in files.items():
        monkeypatch.setattr(host_memory, name, path)
    files["MEMORY"].write_text(f"MemTotal: 99999999 kB\nMemAvailable: {FREE // 1024} kB\n")
    return tmp_path


def group(folder, **files):
    """A control group; "." is "_" in the files' names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("_", ".", 1)).write_text(f"{content}\n")


def version_2(folder, most, used, **more):
    group(
        folder,
        memory_max=most,
        memory_current=used,
        memory_stat="anon 1\ninactive_file 25\nactive_file 35\nfile_mapped 10",
        **more,
    )


def version_1(folder, most, used):
    files = {"memory_limit_in_bytes": most, "memory_usage_in_bytes": used}
    group(
        folder,
        **files,
        memory_stat="inactive_file 1\ntotal_inactive_file 100\ntotal_active_file 250\ntotal_mapped_file 50",
    )


def said(machine, *lines) -> int:
    """What is available to a process of these groups."""
    (machine / "cgroup").write_text("".join(f"{line}\n" for line in lines))
    return host_memory.available_bytes()


def test_without_a_limit_it_is_what_the_machine_has(machine):
    assert host_memory.available_bytes() == FREE  # no such file
    assert said(machine, "0::/") == FREE
    version_2(machine / "groups/a", "max", 5)
    assert said(machine, "4:memory:/nowhere", "0::/a") == memory.free_bytes(torch.device("cpu")) == FREE


@pytest.mark.parametrize(("inner", "left"), [("max", 450), (900, 350)])
def test_a_service_or_the_slice_around_it_has_a_limit(machine, inner, left):
    version_2(machine / "groups/slice", 1000, 600)
    version_2(machine / "groups/slice/scope", inner, 600)
    assert said(machine, "0::/slice/scope") == left


def test_beyond_the_lower_one_of_two_limits_a_process_is_slowed_down(machine):
    version_2(machine / "groups", 1000, 600, memory_high=700)  # a container that sees its own group as the first
    assert said(machine, "0::/") == said(machine, "0::/../other") == 150


def test_what_cannot_be_dropped_is_not_said(machine):
    group(machine / "groups/a", memory_max=1000, memory_current=600)
    assert said(machine, "0::/a") == 400


@pytest.mark.parametrize(("used", "left"), [(700, 600), (1400, 0)])
def test_version_1_of_control_groups(machine, used, left):
    version_1(machine / "groups/memory/job", 1000, used)
    assert said(machine, "5:cpu,cpuacct:/", "4:memory:/job/step", "0::/") == left


def test_a_container_whose_own_path_is_not_seen_in_it(machine):
    version_1(machine / "groups/memory", 1000, 700)
    assert said(machine, "4:memory:/docker/abc") == 600


def test_a_machine_that_does_not_say(machine):
    (machine / "meminfo").write_text("MemTotal: 1 kB\n")
    with pytest.raises(UserError, match="does not say how much memory is available; give --batch-size"):
        host_memory.available_bytes()
