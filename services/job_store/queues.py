"""The queues that attempts wait in, by priority and by what they need: one definition for all.

A job that names no device waits in `training:{priority}`, for any worker. One that names a
device waits in a sibling, `training:{priority}:cuda` or `training:{priority}:cpu`, where only
workers that have the device look.
"""

from __future__ import annotations

from enum import StrEnum

from job_store.records import Priority

_PREFIX = "training:"
RUN_ATTEMPT = "training_worker.attempt.run_attempt"
"""What a message must name in place of a function; its arguments are (job_id, attempt). No worker
calls a function by a message's name, and none has this one."""


RUN_PLACE = "training_worker.place.run_place"
"""The same for a place in an attempt over several workers; its arguments are (job_id, attempt,
claim_id, place, host, port, device)."""


class ResourceClass(StrEnum):
    """What a job needs of its worker."""

    CUDA = "cuda"
    ANY = "any"
    CPU = "cpu"


_CUDA_WORKER = (ResourceClass.CUDA, ResourceClass.ANY, ResourceClass.CPU)
_CPU_WORKER = (ResourceClass.CPU, ResourceClass.ANY)


def resource_class(device: str) -> ResourceClass:
    """Return the class of a job whose `execution.device` is this."""
    kind = device.partition(":")[0]
    return ResourceClass(kind) if kind in ("cuda", "cpu") else ResourceClass.ANY


def worker_classes(device: str) -> tuple[ResourceClass, ...]:
    """Return the classes that a worker takes, in its order; `device` as in its `WorkerRecord`.

    A worker with a GPU takes jobs for the CPU as well, but those last: others can have them.
    """
    return _CUDA_WORKER if device.startswith("cuda") else _CPU_WORKER


def queue_name(priority: str, device: str) -> str:
    """Return the queue that a job with this `execution.device` waits in."""
    return _name(priority, resource_class(device))


def own_queue(job_id: str) -> str:
    """Return the queue of a job over several workers that are there for it alone."""
    return f"{_PREFIX}{job_id}"


def worker_queues(device: str) -> tuple[str, ...]:
    """Return a worker's queues in order: a lower priority waits until the upper is empty."""
    return tuple(_name(priority, kind) for priority in Priority for kind in worker_classes(device))


def _name(priority: str, kind: ResourceClass) -> str:
    name = f"{_PREFIX}{priority}"
    return name if kind is ResourceClass.ANY else f"{name}:{kind}"


QUEUE_NAMES = tuple(_name(priority, kind) for priority in Priority for kind in ResourceClass)
"""All of them."""
