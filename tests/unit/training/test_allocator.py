"""Freed buffers are used again without page faults, and lie in huge pages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import resource, sys
import torch
from app.training.allocator import ask_for_huge_pages, keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory() and ask_for_huge_pages()
def step():
    activations = [torch.ones(1 << 19) for _ in range(32)]  # 2 MiB each, all freed at the end
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
with open("/proc/self/smaps_rollup") as lines:
    huge = sum(int(line.split()[1]) for line in lines if line.startswith("AnonHugePages"))
print(faults, huge << 10)
"""


def faults_and_huge_bytes(mode: str) -> tuple[int, int]:
    command = [sys.executable, "-P", "-c", SCRIPT, mode]
    # Fixed thresholds: otherwise glibc adapts them, and what it does by default varies.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072"}
    ended = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    faults, huge = ended.stdout.split()
    return int(faults), int(huge)


def test_freed_buffers_cost_no_page_faults() -> None:
    assert faults_and_huge_bytes("keep")[0] * 10 < faults_and_huge_bytes("default")[0]


def test_buffers_lie_in_huge_pages() -> None:
    switch = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not switch.exists() or "[never]" in switch.read_text():
        pytest.skip("this system gives no huge pages")
    assert faults_and_huge_bytes("keep")[1] >= 32 << 20
