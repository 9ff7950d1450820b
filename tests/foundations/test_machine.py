"""What a container allows, read from control groups laid out by hand as the kernel's documents describe them."""

from __future__ import annotations

import math
from pathlib import Path

import psutil
import pytest

from pipeline import machine


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty tree of groups, of which this process names the file `own`."""
    monkeypatch.setattr(machine, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(machine, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(16)))
    (tmp_path / "own").write_text("0::/\n")
    return tmp_path / "groups"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def test_without_limits_everything_may_be_used(groups: Path) -> None:
    assert machine.num_processors() == 16
    assert machine.processor_quota() == math.inf
    write(groups / "cpu.max", "max 100000")
    write(groups / "memory.max", "max")
    assert machine.num_processors() == 16
    assert machine.usable_memory_bytes() == psutil.virtual_memory().total
    (groups.parent / "own").unlink()  # a system without control groups
    assert machine.num_processors() == 16


def test_a_container_has_its_limits_at_the_root_of_the_tree(groups: Path) -> None:
    write(groups / "cpu.max", "250000 100000")  # docker run --cpus 2.5
    write(groups / "memory.max", "500000000")
    assert machine.processor_quota() == 2.5
    assert machine.num_processors() == 3
    assert machine.usable_memory_bytes() == 500_000_000
    write(groups / "cpu.max", "5000 100000")  # a twentieth of a processor is still one to work with
    assert machine.num_processors() == 1


def test_the_tightest_of_a_group_and_those_above_it_holds(groups: Path) -> None:
    (groups.parent / "own").write_text("0::/user.slice/job.scope\n")
    write(groups / "user.slice" / "cpu.max", "400000 100000")
    write(groups / "user.slice" / "job.scope" / "cpu.max", "800000 100000")
    write(groups / "user.slice" / "job.scope" / "memory.max", "700000000")
    write(groups / "elsewhere" / "cpu.max", "100000 100000")
    assert machine.num_processors() == 4
    assert machine.usable_memory_bytes() == 700_000_000


def test_the_first_version_has_a_tree_a_controller(groups: Path) -> None:
    (groups.parent / "own").write_text(
        "4:memory:/docker/abc\n3:cpuacct,cpu:/docker/abc\n1:name=systemd:/docker/abc\n0::/\n"
    )
    write(groups / "cpu" / "cpu.cfs_quota_us", "150000")
    write(groups / "cpu" / "cpu.cfs_period_us", "50000")
    write(groups / "memory" / "docker" / "abc" / "memory.limit_in_bytes", "600000000")
    write(groups / "memory" / "memory.limit_in_bytes", "9223372036854771712")  # how it says that there is none
    assert machine.num_processors() == 3
    assert machine.usable_memory_bytes() == 600_000_000
    write(groups / "cpu" / "cpu.cfs_quota_us", "-1")
    assert machine.num_processors() == 16
