"""What a tree of processes uses, and what becomes of the samples."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from training_worker import gpus
from training_worker.process_tree import ProcessTree

BUSY = "print('child', flush=True)\nwhile True: pass"
PARENT = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1]]).wait()"


@pytest.fixture
def pid() -> Iterator[int]:
    """A process that waits for a child, which uses as much CPU as it gets."""
    command = [sys.executable, "-c", PARENT, BUSY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        subprocess.run(["kill", "-9", "--", f"-{process.pid}"], check=True)


def test_children_count(pid: int) -> None:
    tree = ProcessTree(pid)
    used = dict[str, float]()
    deadline = time.monotonic() + 30
    while used.get("system/cpu_percent", 0.0) <= 0 and time.monotonic() < deadline:
        time.sleep(0.05)
        used = tree.sample()
    assert 0 < used["system/cpu_percent"] < 1000
    assert used["system/memory_bytes"] > 2 * 5_000_000, "both processes"
    told = {"system/disk_read_bytes_per_second", "system/network_received_bytes_per_second"}
    assert told <= used.keys()
    assert all(value >= 0 for value in used.values())


def test_a_process_that_has_ended_uses_nothing() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert ProcessTree(ended.pid).sample() == {"system/memory_bytes": 0.0}


class Nvml(SimpleNamespace):
    """Two GPUs in place of a driver; the second, which process 7 uses, tells no power."""

    class NVMLError_NotSupported(Exception):  # noqa: N818
        pass

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, number: int) -> int:
        return number

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: int) -> list[Any]:
        return [SimpleNamespace(pid=6 + gpu, usedGpuMemory=1 << 30)]

    def nvmlDeviceGetUtilizationRates(self, gpu: int) -> Any:
        return SimpleNamespace(gpu=90 + gpu)

    def nvmlDeviceGetPowerUsage(self, gpu: int) -> int:
        if gpu == 1:
            raise self.NVMLError_NotSupported
        return 250_500


def test_gpus_are_told_where_nvml_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "_nvml", lambda: None)
    assert gpus.Gpus().sample([7]) == {}
    monkeypatch.setattr(gpus, "_nvml", Nvml)
    found = gpus.Gpus()
    used = {"system/gpu_1_percent": 91.0, "system/gpu_1_memory_bytes": float(1 << 30)}
    assert found.sample([7]) == used
    assert found.sample([6])["system/gpu_0_power_watts"] == 250.5
    monkeypatch.setattr(Nvml, "nvmlDeviceGetCount", lambda self: 1 // 0)
    assert (found.sample([7]), found.sample([7])) == ({}, {})
