"""The metrics of a run: averages over recent steps, throughput, memory, model FLOPs use."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

_GIB = 1024**3


def compute_perplexity(loss: float) -> float:
    """exp(loss) for a mean cross-entropy in nats; infinite where a float cannot hold it."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def compute_gradient_norm(model: nn.Module) -> float:
    """Return the L2 norm of all gradients taken together; 0.0 before any backward pass."""
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    return float(total_norm(grads)) if grads else 0.0


def total_norm(tensors: list[Tensor]) -> Tensor:
    """Return the L2 norm of several tensors as if they were one vector, on their device."""
    # One call for all: a Python loop over parameters costs more than the arithmetic.
    norms: tuple[Tensor, ...] = torch._foreach_norm(tensors)
    total: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    return total


def get_gpu_memory_usage(device: torch.device | None = None) -> dict[str, float]:
    """Return the memory of this process on a CUDA device, in GiB.

    The keys are `allocated_gb, reserved_gb, max_allocated_gb`. All are 0.0 without a device.
    """
    names = ("allocated_gb", "reserved_gb", "max_allocated_gb")
    if not torch.cuda.is_available() or (device is not None and device.type != "cuda"):
        return dict.fromkeys(names, 0.0)
    sizes = (
        torch.cuda.memory_allocated(device),
        torch.cuda.memory_reserved(device),
        torch.cuda.max_memory_allocated(device),
    )
    return {name: size / _GIB for name, size in zip(names, sizes, strict=True)}


def take_gpu_peak_gb(device: torch.device) -> float:
    """Return the most memory that tensors held on a CUDA device since the last call, in GiB."""
    peak = get_gpu_memory_usage(device)["max_allocated_gb"]
    torch.cuda.reset_peak_memory_stats(device)
    return peak


class MetricsTracker:
    """Averages of recent metrics, and how fast they came.

    Args:
        window_size: updates that count, >= 1; older ones are forgotten.
        clock: seconds that only go forward.
    """

    def __init__(
        self, window_size: int = 100, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        if window_size < 1:
            raise ValueError(f"`window_size` is {window_size}; it must be at least 1; try 100")
        self.window_size = window_size
        self._clock = clock
        self._values: dict[str, deque[float]] = {}
        self._latest: dict[str, float] = {}
        self._sums: dict[str, tuple[float, int]] = {}
        self._marks: deque[tuple[float, int]] = deque(maxlen=window_size + 1)
        self.reset()

    def update(self, metrics: Mapping[str, float], steps: int = 1) -> None:
        """Add one value for each name given; `steps` have passed since the last update."""
        for name, value in metrics.items():
            if name not in self._values:
                self._values[name] = deque(maxlen=self.window_size)
            self._values[name].append(float(value))
            self._latest[name] = float(value)
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = total + float(value), count + 1
        self._marks.append((self._clock(), self._marks[-1][1] + steps))

    def get_averages(self) -> dict[str, float]:
        """Return the mean of each metric over the window."""
        return {name: sum(values) / len(values) for name, values in self._values.items()}

    def get_latest(self) -> dict[str, float]:
        """Return the newest value of each metric."""
        return dict(self._latest)

    def take_means(self) -> dict[str, float]:
        """Return the mean of each metric over the updates since the last call."""
        means = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums.clear()
        return means

    def get_throughput(self, tokens_per_batch: int) -> dict[str, float]:
        """`steps_per_second` and `tokens_per_second` over the window; 0.0 before any update."""
        (start, first), (end, last) = self._marks[0], self._marks[-1]
        rate = (last - first) / (end - start) if end > start else 0.0
        return {"steps_per_second": rate, "tokens_per_second": rate * tokens_per_batch}

    def reset(self) -> None:
        """Forget everything; time counts from now."""
        self._values.clear()
        self._latest.clear()
        self._sums.clear()
        self._marks.clear()
        self._marks.append((self._clock(), 0))


class Stopwatch:
    """Steps, tokens and seconds of this process's training, with breaks taken out.

    What a resumed run did before does not count, and neither does evaluation: a rate is what this
    process trains at.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._started: float | None = None
        self._seconds = 0.0
        self.steps = 0
        self.tokens = 0
        self._lap = (0.0, 0, 0)

    def start(self) -> None:
        """Start or continue the measurement of time."""
        if self._started is None:
            self._started = self._clock()

    def pause(self) -> None:
        """Stop the measurement of time until `start`."""
        self._seconds = self.seconds
        self._started = None

    @property
    def seconds(self) -> float:
        """Training time so far."""
        running = self._clock() - self._started if self._started is not None else 0.0
        return self._seconds + running

    def count(self, tokens: int) -> None:
        """Count an optimizer step in which the model worked on `tokens` tokens."""
        self.steps += 1
        self.tokens += tokens

    def total(self) -> dict[str, float]:
        """`steps_per_second` and `tokens_per_second` since the process began to train."""
        return _rates(self.seconds, self.steps, self.tokens)

    def lap(self) -> dict[str, float]:
        """Return the same since the last lap, and begin a new one."""
        seconds, steps, tokens = self._lap
        self._lap = now = (self.seconds, self.steps, self.tokens)
        return _rates(now[0] - seconds, now[1] - steps, now[2] - tokens)


def _rates(seconds: float, steps: int, tokens: int) -> dict[str, float]:
    if seconds <= 0.0:
        return {"steps_per_second": 0.0, "tokens_per_second": 0.0}
    return {"steps_per_second": steps / seconds, "tokens_per_second": tokens / seconds}


# Dense peaks in FLOP/s from the vendors' data sheets: (16-bit tensor cores, TF32). The first name
# found in the device's own counts, so longer names come before their prefixes.
_PEAK_FLOPS: tuple[tuple[str, float, float], ...] = (
    ("B200", 2250e12, 1125e12),
    ("H200", 989e12, 494e12),
    ("H100 PCIe", 756e12, 378e12),
    ("H100", 989e12, 494e12),
    ("A100", 312e12, 156e12),
    ("L40S", 362e12, 183e12),
    ("RTX A6000", 154.8e12, 77.4e12),
    ("A10G", 70e12, 35e12),
    ("RTX 4090", 165.2e12, 82.6e12),
    ("RTX 3090", 71e12, 35.6e12),
)


def peak_flops(device_name: str, precision: str | None) -> float | None:
    """Peak FLOP/s of a GPU at a `mixed_precision`, or None for a device that is not known."""
    for name, half, tf32 in _PEAK_FLOPS:
        if name in device_name:
            return half if precision else tf32
    return None
