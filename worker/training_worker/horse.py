"""The forked process that trains: what it is before it becomes an attempt.

RQ calls it the work horse. It ends with its parent, keeps its own connections, prints to a file,
and takes two signals: SIGTERM (the worker leaves: save and hand back) and SIGUSR1 (the job is to
stop: save and end).
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import traceback
from typing import NoReturn

from artifact_store import FolderStore
from job_store.attempts import AttemptStore
from job_store.connection import Connection
from job_store.records import Claimed, OutcomeKind
from job_store.workers import WorkerRegistry
from service_runtime.process import tie_to_parent
from training_worker.attempt import Attempt, StopRequest, Stores, attempt_folder
from training_worker.board import Board
from training_worker.output import redirect_output
from training_worker.settings import WorkerSettings

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_FENCED = 3

SIGNALS = {signal.SIGTERM: OutcomeKind.HANDED_BACK, signal.SIGUSR1: OutcomeKind.STOPPED}


def run_horse(claimed: Claimed, settings: WorkerSettings, board: Board) -> NoReturn:
    """Train the attempt and leave; never returns into the parent's code."""
    code = EXIT_FAILED
    try:
        stop = _become_horse()
        artifacts = FolderStore(settings.artifact_root)
        redirect_output(attempt_folder(artifacts, claimed))
        _log_to_output()
        url = settings.resolved_redis_url()
        connection = Connection.open(url, retries=0)
        publishing = Connection.open(url, retries=0, announce_renewal=True)
        stores = Stores(
            AttemptStore(connection),
            AttemptStore(publishing, max_raw_points=settings.max_raw_points),
            WorkerRegistry(connection),
            artifacts,
        )
        Attempt(claimed, stores, settings, board, stop, _leave_fenced).run()
        code = EXIT_OK
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Not sys.exit: handlers and stacks copied from the parent must not unwind here.
        os._exit(code)


def _become_horse() -> StopRequest:
    """Take the signals in the main thread, after death with the parent is certain."""
    tie_to_parent(signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop = StopRequest()
    for number, outcome in SIGNALS.items():
        signal.signal(number, lambda *_, outcome=outcome: stop.ask(outcome))
    # Blocked since before the fork, so that none could arrive without a handler.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    faulthandler.enable(file=sys.__stderr__ or sys.stderr)
    return stop


def _log_to_output() -> None:
    """The trainer's log is part of what the job prints."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)


def _leave_fenced(error: Exception) -> NoReturn:
    """Another attempt has taken over: be gone before anything else is written."""
    print(f"leaving at once: {error}", file=sys.stderr)
    os._exit(EXIT_FENCED)
