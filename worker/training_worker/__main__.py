"""Runs a worker: `python -P -m training_worker --help`."""

from __future__ import annotations

import logging
import signal
import sys

from service_runtime.logs import configure_logging
from service_runtime.process import fail, tie_to_parent
from service_runtime.settings import SettingsError, parse_settings
from service_runtime.telemetry import start_metrics_server
from training_worker.settings import WorkerSettings


def main() -> int:
    """Read the settings, import torch, and work until a signal. Returns the exit code."""
    settings = parse_settings(WorkerSettings, "python -P -m training_worker")
    configure_logging(settings, "training_worker")
    if settings.exit_with_parent:
        tie_to_parent(signal.SIGTERM)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)  # until the worker takes over
    try:
        start_metrics_server(settings)
        return _work(settings, settings.resolved_redis_url())
    except (SettingsError, OSError, ValueError) as error:
        return fail("training_worker", str(error))


def _work(settings: WorkerSettings, url: str) -> int:
    from training_worker.connections import patient_client, prompt_connection, wait_for_redis
    from training_worker.own_callbacks import own_callbacks
    from training_worker.preload import describe_device, preload
    from training_worker.witness import Witness

    witness = Witness(url)
    witness.ensure()  # first: it has what is imported by now
    own_callbacks(settings.callbacks)  # a wrong name is said at once, and what is right imported
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
        return 0
    # RQ's loop catches every error, logs it, and returns as if all were well.
    return fail("training_worker", "the loop that takes jobs ended by an error; see the log above")


def _leave(number: int, frame: object) -> None:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
