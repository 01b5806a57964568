"""An attempt in several processes: rank 0 is the attempt as ever, the others only train along.

The forked horse becomes the launcher and keeps what its parent relies on: its process id, its
signals, its exit code. Rank 0 alone talks to the store; it tells the others, over the run's own
process group, which files to use.
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

logger = logging.getLogger(__name__)

_DECIDED_BY_RANK_0 = ("dataset_path", "val_dataset_path", "resume_from_checkpoint")
_OUTCOMES = (OutcomeKind.HANDED_BACK, OutcomeKind.STOPPED)
_AGENT_NOTICES_SECONDS = 10.0
_FAILURE_FILE = "failure.{rank}.json"


class StopPipe:
    """A pipe from the launcher, which takes the signals, to rank 0, which obeys them.

    A wish that comes before anybody reads is not lost.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()

    def send(self, outcome: OutcomeKind) -> None:
        """Ask rank 0 to stop; safe in a signal handler."""
        os.write(self._writer, bytes([_OUTCOMES.index(outcome)]))

    def obey(self, ask: Callable[[OutcomeKind], None]) -> None:
        """Call `ask` for every wish, in a thread, for as long as the process lives."""

        def read() -> None:
            while data := os.read(self._reader, 1):
                try:
                    ask(_OUTCOMES[data[0]])
                except Exception:  # the next one has to be heard all the same
                    logger.exception("a request to stop could not be passed on")

        threading.Thread(target=read, name="wishes", daemon=True).start()


def launch_ranks(processes: int, lead: Callable[[], End], follow: Callable[[], None]) -> int:
    """Run `lead` in rank 0 and `follow` in the others; return the launcher's exit code.

    `lead` reports the attempt's end itself and returns what it means for the others. A launcher
    whose process died of a signal dies of the same one: its parent then reports that.
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
        launch(run, processes)
    except ProcessFailedError as error:
        print(error, flush=True)
        if error.exit_code < 0:
            _die_of(signal.Signals(-error.exit_code))
        known = {EXIT_REPORTED: EXIT_OK, EXIT_FENCED: EXIT_FENCED}
        return known.get(error.exit_code, EXIT_FAILED)
    return EXIT_OK


def _die_of(number: signal.Signals) -> None:
    if number is not signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _lead(lead: Callable[[], End]) -> None:
    """Rank 0: the agent, which ends all processes when one has failed, lets it report that."""
    end_requested = threading.Event()
    ignore_signals_except_from_parent(end_requested.set)
    end = lead()
    if end is End.TOGETHER:
        return
    if end is End.AFTER_ANOTHER:
        # Else the agent might take this process for the one that failed first.
        end_requested.wait(_AGENT_NOTICES_SECONDS)
    raise SystemExit(EXIT_REPORTED)


def agree_on_files(ranks: Ranks, config: Any) -> None:
    """Rank 0's choice of dataset and checkpoint, in the configuration of every process."""
    mine = [getattr(config, name) for name in _DECIDED_BY_RANK_0]
    sources = [source.path for source in config.data.sources]
    decided, paths = json.loads(ranks.broadcast(json.dumps([mine, sources])))
    for name, value in zip(_DECIDED_BY_RANK_0, decided, strict=True):
        setattr(config, name, value)
    for source, path in zip(config.data.sources, paths, strict=True):
        source.path = path


def note_failure(folder: Path, rank: int, outcome: Outcome) -> None:
    """Leave word of a failure for rank 0, which will only see a broken connection."""
    error = outcome.error or JobError("TRAINER_ERROR", outcome.message)
    note = {"kind": outcome.kind, "reason": error.reason, "message": error.message}
    path = folder / _FAILURE_FILE.format(rank=rank)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(note))
    temporary.replace(path)


def noted_failure(folder: Path, log_tail: str) -> Outcome | None:
    """Return what another process failed with, if one has left word."""
    for path in sorted(folder.glob(_FAILURE_FILE.format(rank="*"))):
        note = json.loads(path.read_text())
        error = JobError(note["reason"], note["message"], log_tail)
        return Outcome(OutcomeKind(note["kind"]), error)
    return None
