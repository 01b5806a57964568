"""Averages, rates and norms."""

from __future__ import annotations

import math

import pytest
import torch

from app.training.metrics import (
    MetricsTracker,
    Stopwatch,
    compute_gradient_norm,
    compute_perplexity,
    get_gpu_memory_usage,
    peak_flops,
)


class Clock:
    """Seconds that a test moves by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_perplexity_is_the_exponential_and_never_raises() -> None:
    assert compute_perplexity(0.0) == 1.0
    assert compute_perplexity(math.log(50257)) == pytest.approx(50257)
    assert compute_perplexity(1e6) == math.inf


def test_averages_are_over_the_window() -> None:
    tracker = MetricsTracker(window_size=2)
    for loss in (9.0, 2.0, 4.0):
        tracker.update({"loss": loss})
    tracker.update({"lr": 0.5})
    assert tracker.get_averages() == {"loss": 3.0, "lr": 0.5}
    assert tracker.get_latest() == {"loss": 4.0, "lr": 0.5}
    tracker.reset()
    assert tracker.get_averages() == {}


def test_throughput_counts_the_steps_of_the_window() -> None:
    clock = Clock()
    tracker = MetricsTracker(window_size=3, clock=clock)
    assert tracker.get_throughput(10) == {"steps_per_second": 0.0, "tokens_per_second": 0.0}
    for seconds in (1.0, 2.0, 2.0, 2.0):
        clock.now += seconds
        tracker.update({"loss": 1.0}, steps=4)
    assert tracker.get_throughput(10) == {"steps_per_second": 2.0, "tokens_per_second": 20.0}


def test_a_window_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="`window_size` is 0; it must be at least 1; try 100"):
        MetricsTracker(window_size=0)


def test_the_stopwatch_leaves_breaks_out() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    watch.start()
    clock.now += 2.0
    watch.count(10)
    watch.pause()
    clock.now += 50.0
    watch.start()
    assert watch.lap() == {"steps_per_second": 0.5, "tokens_per_second": 5.0}
    clock.now += 2.0
    watch.count(30)
    assert watch.lap() == {"steps_per_second": 0.5, "tokens_per_second": 15.0}
    assert watch.total() == {"steps_per_second": 0.5, "tokens_per_second": 10.0}


def test_gradient_norm_is_of_all_parameters_together() -> None:
    model = torch.nn.Linear(2, 1)
    assert compute_gradient_norm(model) == 0.0
    model.weight.grad = torch.tensor([[3.0, 0.0]])
    model.bias.grad = torch.tensor([4.0])
    assert compute_gradient_norm(model) == 5.0


@pytest.mark.skipif(torch.cuda.is_available(), reason="tells of a machine without CUDA")
def test_gpu_memory_is_zero_without_a_gpu() -> None:
    assert get_gpu_memory_usage() == {
        "allocated_gb": 0.0,
        "reserved_gb": 0.0,
        "max_allocated_gb": 0.0,
    }


def test_flops_use_is_known_only_for_devices_in_the_table() -> None:
    assert peak_flops("NVIDIA A100-SXM4-80GB", "bf16") == 312e12
    assert peak_flops("NVIDIA A100-SXM4-80GB", None) == 156e12
    assert peak_flops("NVIDIA H100 PCIe", "bf16") == 756e12
    assert peak_flops("Some future GPU", "bf16") is None
