"""Where a job waits and who looks there."""

from __future__ import annotations

import pytest

from job_store.queues import QUEUE_NAMES, queue_name, worker_queues


@pytest.mark.parametrize(
    ("device", "priority", "name"),
    [
        ("auto", "high", "training:high"),
        ("mps", "default", "training:default"),
        ("cpu", "default", "training:default:cpu"),
        ("cuda", "low", "training:low:cuda"),
        ("cuda:3", "high", "training:high:cuda"),
    ],
)
def test_the_device_and_the_priority_choose_the_queue(
    device: str, priority: str, name: str
) -> None:
    assert queue_name(priority, device) == name
    assert name in QUEUE_NAMES


def test_a_cpu_worker_leaves_cuda_jobs_alone() -> None:
    assert worker_queues("cpu") == (
        "training:high:cpu",
        "training:high",
        "training:default:cpu",
        "training:default",
        "training:low:cpu",
        "training:low",
    )


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "cuda (NVIDIA L4)"])
def test_a_cuda_worker_takes_all_and_those_for_the_cpu_last(device: str) -> None:
    assert worker_queues(device) == (
        *("training:high:cuda", "training:high", "training:high:cpu"),
        *("training:default:cuda", "training:default", "training:default:cpu"),
        *("training:low:cuda", "training:low", "training:low:cpu"),
    )
    assert worker_queues(device) == QUEUE_NAMES
