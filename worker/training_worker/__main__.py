"""Runs a worker: `python -P -m training_worker --help`."""

from __future__ import annotations

import logging
import signal
import sys
from typing import TYPE_CHECKING

from service_runtime.logs import configure_logging
from service_runtime.process import fail, tie_to_parent
from service_runtime.settings import SettingsError, parse_settings
from service_runtime.telemetry import start_metrics_server
from training_worker.settings import WorkerSettings

if TYPE_CHECKING:
    from training_worker.witness import Witness


def main() -> int:
    """Read the settings, import torch, and work until a signal. Returns the exit code."""
    settings = parse_settings(WorkerSettings, "python -P -m training_worker")
    configure_logging(settings, "training_worker")
    if settings.exit_with_parent:
        tie_to_parent(signal.SIGTERM)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)  # until the worker takes over
    try:
        return _run(settings)
    except (SettingsError, OSError, ValueError) as error:
        return fail("training_worker", str(error))


def _run(settings: WorkerSettings) -> int:
    from training_worker.own_callbacks import own_callbacks
    from training_worker.preload import preload
    from training_worker.respawn import fork_worker
    from training_worker.witness import Witness, process_of_stack

    stack = process_of_stack()
    if settings.respawn:
        own_callbacks(settings.callbacks)
        preload()
        if (code := fork_worker()) is not None:
            return code
    start_metrics_server(settings)
    url = settings.resolved_redis_url()
    witness = Witness(url, stack)
    witness.ensure()  # first: it has what is imported by now
    own_callbacks(settings.callbacks)  # a wrong name is said at once, and what is right imported
    return _work(settings, url, witness)


def _work(settings: WorkerSettings, url: str, witness: Witness) -> int:
    from training_worker.connections import patient_client, prompt_connection, wait_for_redis
    from training_worker.preload import describe_device, preload

    wait_for_redis(url)
    preload()
    from training_worker.worker import TrainingWorker

    worker = TrainingWorker(
        settings,
        patient_client(url),
        prompt_connection(url),
        describe_device(settings.device),
        witness,
    )
    logging.getLogger("rq.worker").setLevel(logging.WARNING)
    worker.work(burst=settings.burst, logging_level=None)
    if worker.ended_in_order:
        # With 0, Kubernetes would take the work of a drained pod as done, and start no other one.
        return 128 + signal.SIGTERM if settings.only_job else 0
    # RQ's loop catches every error, logs it, and returns as if all were well.
    return fail("training_worker", "the loop that takes jobs ended by an error; see the log above")


def _leave(number: int, frame: object) -> None:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
