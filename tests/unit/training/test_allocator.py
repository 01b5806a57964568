"""Freed buffers are used again without page faults."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import resource, sys
import torch
from app.training.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def step():
    activations = [torch.ones(1 << 19) for _ in range(32)]  # 2 MiB each, all freed at the end
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode: str) -> int:
    command = [sys.executable, "-P", "-c", SCRIPT, mode]
    # Fixed thresholds: otherwise glibc adapts them, and what it does by default varies.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072"}
    ended = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return int(ended.stdout)


def test_freed_buffers_cost_no_page_faults() -> None:
    assert page_faults("keep") * 10 < page_faults("default")
