"""How every benchmark measures: rivals take turns in one run, and medians are compared.

A rival is a function that does the work once and returns a figure. Taking turns spreads whatever
else the machine does evenly over all of them.
"""

from __future__ import annotations

import platform
import resource
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Claim:
    """One measured figure and the bound that it has to keep."""

    name: str
    value: float
    bound: float
    at_least: bool
    """True: value >= bound is good. False: value <= bound is."""
    unit: str = "x"
    detail: str = ""

    @property
    def holds(self) -> bool:
        """Whether the figure keeps its bound."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def __str__(self) -> str:
        relation = "≥" if self.at_least else "≤"
        verdict = "holds" if self.holds else "MISSED"
        line = f"{self.name}: {self.value:.4g} {self.unit} ({relation} {self.bound:g}: {verdict})"
        return f"{line}\n    {self.detail}" if self.detail else line


def interleave(
    rivals: Mapping[str, Callable[[], float]], rounds: int = 5
) -> dict[str, list[float]]:
    """Run all rivals in turn, `rounds` times; the order turns around every round."""
    figures: dict[str, list[float]] = {name: [] for name in rivals}
    names = list(rivals)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            figures[name].append(rivals[name]())
    return figures


def medians(figures: Mapping[str, list[float]]) -> dict[str, float]:
    """Return the median of each rival's figures."""
    return {name: statistics.median(values) for name, values in figures.items()}


def describe(figures: Mapping[str, list[float]], unit: str) -> str:
    """Return each rival's median and range, in one line."""
    return ", ".join(
        f"{name} {statistics.median(values):,.4g} {unit} ({min(values):,.4g}–{max(values):,.4g})"
        for name, values in figures.items()
    )


def machine(device: str) -> str:
    """Describe the machine that the figures are from."""
    import torch  # here, so that a benchmark without it can measure its own memory

    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    where = f"{model}, {torch.get_num_threads()} threads"
    if device.startswith("cuda"):
        where = f"{torch.cuda.get_device_name()}, {where}"
    return f"{where}, torch {torch.__version__}, Python {platform.python_version()}"


def own_peak() -> int:
    """Return this process's peak in KiB; that of `getrusage` begins with the parent's size."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
