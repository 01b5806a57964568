"""How many cores a process may use, and the warning where its threads do not get them."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from app.training.cores import ContentionWatch, YieldingThreads, cgroup_quota, usable_cores
from app.transformer.blas_threads import blas_threads, set_blas_threads

GROUP = "sys/fs/cgroup"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/\n", f"{GROUP}/cpu.max": "250000 100000\n"}, 2.5),
        ({"proc/self/cgroup": "0::/\n", f"{GROUP}/cpu.max": "max 100000\n"}, None),
        # The group of a pod limits the group of its container.
        (
            {
                "proc/self/cgroup": "0::/pod/container\n",
                f"{GROUP}/pod/container/cpu.max": "max 100000\n",
                f"{GROUP}/pod/cpu.max": "400000 100000\n",
                f"{GROUP}/cpu.max": "800000 100000\n",
            },
            4.0,
        ),
        (
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/docker/a\n0::/docker/a\n",
                f"{GROUP}/cpu/cpu.cfs_quota_us": "150000\n",
                f"{GROUP}/cpu/cpu.cfs_period_us": "100000\n",
            },
            1.5,
        ),
        (
            {
                "proc/self/cgroup": "0::/\n",
                f"{GROUP}/cpu/cpu.cfs_quota_us": "-1\n",
                f"{GROUP}/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
    ],
)
def test_the_quota_of_the_control_groups(
    tmp_path: Path, files: dict[str, str], cores: float | None
) -> None:
    assert cgroup_quota(write(tmp_path, files)) == cores


def test_a_process_may_use_the_cores_of_its_affinity() -> None:
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from app.training.cores import usable_cores; print(usable_cores())"
    )
    told = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, check=True)
    assert told.stdout.split() == [b"1"]
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))


class Machine:
    """Clocks and a load that are set by hand."""

    def __init__(self, load: float) -> None:
        self.wall = self.cpu = 0.0
        self.load = load

    def watch(self, threads: int, cores: int) -> ContentionWatch:
        return ContentionWatch(
            threads, cores, lambda: self.wall, lambda: self.cpu, lambda: self.load
        )

    def train(self, watch: ContentionWatch, seconds: float, used: float) -> None:
        """Steps of half a second on so many cores."""
        for _ in range(int(seconds * 2)):
            self.wall += 0.5
            self.cpu += 0.5 * used
            watch.check()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


def test_threads_that_do_not_get_their_cores_are_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    machine = Machine(load=8.4)
    machine.train(watch := machine.watch(threads=2, cores=2), seconds=60, used=0.37)
    (said,) = warnings(caplog)
    assert "2 threads got 0.4 cores' time of 2, and the machine's load is 8.4 on 2 cores" in said
    assert (
        "set TRAINING_ENGINE_THREADS=1 for `up` and workers, OMP_NUM_THREADS=1 for train.py" in said
    )
    machine.train(watch, seconds=60, used=0.37)
    assert len(warnings(caplog)) == 1


def test_load_that_comes_later_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine(load=2.0)
    watch = machine.watch(threads=2, cores=2)
    machine.train(watch, seconds=60, used=1.9)
    assert warnings(caplog) == []
    machine.load = 4.0
    machine.train(watch, seconds=31, used=0.5)
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize(
    ("threads", "load", "used"),
    [
        (2, 8.0, 1.5),  # they get their cores, whoever else runs
        (2, 2.0, 0.5),  # they wait for data, and no one else runs
        (1, 8.0, 0.3),  # one thread waits for no other
    ],
)
def test_nothing_is_said_without_cause(
    caplog: pytest.LogCaptureFixture, threads: int, load: float, used: float
) -> None:
    machine = Machine(load)
    machine.train(machine.watch(threads, cores=2), seconds=60, used=used)
    assert warnings(caplog) == []


def test_more_threads_than_cores_are_told_of_at_once(caplog: pytest.LogCaptureFixture) -> None:
    Machine(load=0.0).watch(threads=8, cores=2)
    (said,) = warnings(caplog)
    assert "this process has 8 threads for 2 cores" in said
    assert "OMP_NUM_THREADS=2" in said


@pytest.mark.parametrize(("used", "expected"), [(1.9, 4), (1.2, 1), (2.2, 2)])
def test_work_beside_other_work_goes_on_with_fewer_threads(
    used: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.training.cores.usable_cores", lambda: 4)
    machine, before, blas_before = Machine(load=64.0), torch.get_num_threads(), blas_threads()
    assert blas_before is not None
    clocks = {
        "clock": lambda: machine.wall,
        "cpu_clock": lambda: machine.cpu,
        "load_average": lambda: machine.load if expected < 4 else 0.0,
    }
    torch.set_num_threads(4)
    set_blas_threads(3)
    try:
        with YieldingThreads(**clocks) as threads, YieldingThreads(**clocks) as others:
            machine.train(threads, seconds=60, used=used)
            assert (torch.get_num_threads(), blas_threads()) == (expected, min(expected, 3))
            others.check()
        assert (torch.get_num_threads(), blas_threads()) == (4, 3)
    finally:
        torch.set_num_threads(before)
        set_blas_threads(blas_before)


def test_a_look_costs_a_step_next_to_nothing() -> None:
    watch = ContentionWatch(2, 2)
    began = time.process_time()
    for _ in range(10_000):
        watch.check()
    assert time.process_time() - began < 0.5
