"""An attempt in several processes: rank 0 runs it like a single process, the others only train.

The forked horse becomes the launcher and keeps what its parent relies on: its process id, its
signals, its exit code. Rank 0 alone talks to the store; it sends the others, over the run's own
process group, the names of the files to use.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.training.parent_signals import ignore_signals_except_from_parent
from job_store.records import JobError, Outcome, OutcomeKind
from training_worker.exits import EXIT_FAILED, EXIT_FENCED, EXIT_OK, EXIT_REPORTED, End

if TYPE_CHECKING:
    from app.training.distributed import Ranks
    from app.training.node import Node

logger = logging.getLogger(__name__)

_DECIDED_BY_RANK_0 = (
    "dataset_path",
    "val_dataset_path",
    "resume_from_checkpoint",
    "initial_weights",
)
_OUTCOMES = (OutcomeKind.HANDED_BACK, OutcomeKind.STOPPED)
_AGENT_NOTICES_SECONDS = 10.0
_FAILURE_FILE = "failure.{rank}.json"


class StopPipe:
    """A pipe that carries stop requests from the launcher, which gets the signals, to rank 0.

    A request that comes before rank 0 reads is not lost.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()

    def send(self, outcome: OutcomeKind) -> None:
        """Send rank 0 a stop request; safe in a signal handler."""
        os.write(self._writer, bytes([_OUTCOMES.index(outcome)]))

    def forward_to(self, request_stop: Callable[[OutcomeKind], None]) -> None:
        """Call `request_stop` for every stop request, in a thread that lives as long as rank 0."""

        def read() -> None:
            while data := os.read(self._reader, 1):
                try:
                    request_stop(_OUTCOMES[data[0]])
                except Exception:  # the next request must still be read
                    logger.exception("a request to stop could not be passed on")

        threading.Thread(target=read, name="stop requests", daemon=True).start()


def launch_ranks(
    processes: int, lead: Callable[[], End], follow: Callable[[], None], node: Node | None
) -> int:
    """Run `lead` in rank 0 and `follow` in the others; return the launcher's exit code.

    `node`: where other machines take part; rank 0 is in the first one.

    `lead` reports the attempt's end itself and returns what it means for the others. Where one of
    the processes died of a signal, the launcher ends itself by the same one: its parent reports it.
    """
    from app.training.distributed_launch import ProcessFailedError, launch

    def run() -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        if os.environ["RANK"] == "0":
            _lead(lead)
        else:
            ignore_signals_except_from_parent()
            follow()

    try:
        launch(run, processes, node)
    except ProcessFailedError as error:
        print(error, flush=True)
        if error.exit_code < 0:
            _die_of(signal.Signals(-error.exit_code))
        own_codes = {EXIT_REPORTED: EXIT_OK, EXIT_FENCED: EXIT_FENCED}
        return own_codes.get(error.exit_code, EXIT_FAILED)
    return EXIT_OK


def _die_of(number: signal.Signals) -> None:
    if number is not signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _lead(lead: Callable[[], End]) -> None:
    """Run `lead` in rank 0.

    The agent ends all processes when one has failed; rank 0 reports that before it leaves.
    """
    end_requested = threading.Event()
    ignore_signals_except_from_parent(end_requested.set)
    end = lead()
    if end is End.TOGETHER:
        return
    if end is End.PEER_FAILED:
        # Else the agent might take this process for the one that failed first. One on another node
        # it does not see.
        alone = int(os.environ["LOCAL_WORLD_SIZE"]) == 1
        end_requested.wait(0 if alone else _AGENT_NOTICES_SECONDS)
    raise SystemExit(EXIT_REPORTED)


def agree_on_files(ranks: Ranks, config: Any) -> None:
    """Write rank 0's choice of data files and checkpoint into every process's configuration."""
    own_paths = [getattr(config, name) for name in _DECIDED_BY_RANK_0]
    sources = [source.path for source in config.data.sources]
    decided, paths = json.loads(ranks.broadcast(json.dumps([own_paths, sources])))
    for name, value in zip(_DECIDED_BY_RANK_0, decided, strict=True):
        setattr(config, name, value)
    for source, path in zip(config.data.sources, paths, strict=True):
        source.path = path


def write_failure(folder: Path, rank: int, outcome: Outcome) -> None:
    """Write a failure to a file for rank 0, which will only see a broken connection."""
    error = outcome.error or JobError("TRAINER_ERROR", outcome.message)
    note = {"kind": outcome.kind, "reason": error.reason, "message": error.message}
    path = folder / _FAILURE_FILE.format(rank=rank)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(note))
    temporary.replace(path)


def read_failure(folder: Path, log_tail: str) -> Outcome | None:
    """Return what another process failed with, if it has written that to its file."""
    for path in sorted(folder.glob(_FAILURE_FILE.format(rank="*"))):
        note = json.loads(path.read_text())
        error = JobError(note["reason"], note["message"], log_tail)
        return Outcome(OutcomeKind(note["kind"]), error)
    return None
