"""The forked process that trains: its signals, output and connections, before the attempt runs.

RQ calls it the work horse. It ends with its parent, opens its own connections, prints to a file,
and handles two signals: SIGTERM (the worker leaves: save and hand back) and SIGUSR1 (the job is to
stop: save and end).
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from artifact_store import ArtifactStoreAwayError, GuardedStore
from job_store.attempts import AttemptStore
from job_store.connection import Connection
from job_store.durability import DiskWatch
from job_store.records import Claimed, OutcomeKind
from job_store.workers import WorkerRegistry
from service_runtime.process import tie_to_parent
from training_worker.attempt import Attempt, Stores
from training_worker.board import Board
from training_worker.exits import EXIT_AWAY, EXIT_FAILED, EXIT_FENCED, EXIT_OK, End
from training_worker.failures import describe_failure
from training_worker.follower import follow
from training_worker.output import redirect_output
from training_worker.ranks import FailureNotes, StopPipe, launch_ranks
from training_worker.set_up import attempt_folder, processes_of_node, resolve_configuration
from training_worker.settings import WorkerSettings
from training_worker.stop_request import StopRequest
from training_worker.temporary_files import use_folder

if TYPE_CHECKING:
    from app.training.node import Node

SIGNALS = {signal.SIGTERM: OutcomeKind.HANDED_BACK, signal.SIGUSR1: OutcomeKind.STOPPED}


def run_horse(
    claimed: Claimed,
    settings: WorkerSettings,
    board: Board,
    artifacts: GuardedStore,
    worker: int,
    temporary: Path | None,
    node: Node | None = None,
) -> NoReturn:
    """Train the attempt and leave; never returns into the code of the parent, process `worker`.

    Args:
        temporary: the folder for temporary files, which the parent removes afterwards.
        node: this machine's part, where several train the attempt together.
    """
    code = EXIT_FAILED
    try:
        stop = _become_horse(worker)
        use_folder(temporary)
        folder = attempt_folder(artifacts, claimed)
        # The attempt's output is what the first node prints.
        redirect_output(temporary or folder if node and node.place else folder)
        _log_to_output()
        config = resolve_configuration(claimed, folder, settings)

        def lead() -> End:
            return _attempt(claimed, settings, board, stop, artifacts).run()

        processes = processes_of_node(config, node.count if node else 1)
        if node is not None or processes > 1:
            requests = StopPipe()

            def follow_rank() -> None:
                follow(claimed, config, settings, artifacts, requests, board)

            code = _launch(processes, lead, follow_rank, stop, requests, node)
        else:
            lead()
            code = EXIT_OK
    except ArtifactStoreAwayError as error:
        board.show_failed_save(0, str(error))
        code = EXIT_AWAY
    except BaseException as error:
        traceback.print_exc()
        if node is not None and node.place:  # the file with the traceback is a temporary one
            notes = FailureNotes(artifacts, claimed.token, node.count)
            notes.write(f"place-{node.place}", describe_failure(error, ""))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Not sys.exit: handlers and stacks copied from the parent must not unwind here.
        os._exit(code)


def _attempt(
    claimed: Claimed,
    settings: WorkerSettings,
    board: Board,
    stop: StopRequest,
    artifacts: GuardedStore,
) -> Attempt:
    """Return the attempt, on connections of this process."""
    url = settings.resolved_redis_url()
    connection = Connection.open(url, retries=0)
    publishing = Connection.open(url, retries=0, announce_renewal=True)
    stores = Stores(
        AttemptStore(connection),
        AttemptStore(publishing, max_raw_points=settings.max_raw_points),
        DiskWatch(Connection.open(url, retries=0, announce_renewal=True)),
        WorkerRegistry(connection),
        artifacts,
    )
    return Attempt(claimed, stores, settings, board, stop, _leave_fenced)


def _launch(
    processes: int,
    lead: Callable[[], End],
    follow: Callable[[], None],
    stop: StopRequest,
    stop_requests: StopPipe,
    node: Node | None,
) -> int:
    """Become the launcher of several processes, and pass the signals on."""
    for number, outcome in SIGNALS.items():
        signal.signal(number, lambda *_, outcome=outcome: stop_requests.send(outcome))

    def lead_with_requests() -> End:
        stop_requests.forward_to(stop.request)
        return lead()

    return launch_ranks(processes, lead_with_requests, follow, node)


def _become_horse(worker: int) -> StopRequest:
    """Handle the signals in the main thread, after the process is tied to its parent."""
    tie_to_parent(signal.SIGKILL, worker)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop = StopRequest()
    for number, outcome in SIGNALS.items():
        signal.signal(number, lambda *_, outcome=outcome: stop.request(outcome))
    # Blocked since before the fork, so that none could arrive without a handler.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    faulthandler.enable(file=sys.__stderr__ or sys.stderr)
    return stop


def _log_to_output() -> None:
    """Send the trainer's log to the job's output."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)


def _leave_fenced(error: Exception) -> NoReturn:
    """Exit at once, since another attempt has taken over and nothing more may be written."""
    print(f"leaving at once: {error}", file=sys.stderr)
    os._exit(EXIT_FENCED)
