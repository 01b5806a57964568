"""An attempt in several processes: rank 0 runs it like a single process, the others only train.

The forked horse becomes the launcher and keeps what its parent relies on: its process id, its
signals, its exit code. Rank 0 alone talks to Redis and saves; it sends the others, over the run's
own process group, the names of the files to use.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from app.training.parent_signals import ignore_signals_except_from_parent
from artifact_store import ArtifactError, GuardedStore, attempt_prefix
from job_store.records import FencingToken, JobError, Outcome, OutcomeKind
from training_worker.exits import EXIT_FAILED, EXIT_FENCED, EXIT_OK, EXIT_REPORTED, End
from training_worker.stored_files import StoredFiles

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
_FAILURE_FILE = "failure.{who}.json"


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


def agree_on_files(ranks: Ranks, config: Any, files: StoredFiles) -> None:
    """Write rank 0's choice of data files and checkpoint into every process's configuration.

    What comes from the artifact store is brought to each machine that does not see it.

    Raises:
        ArtifactError: The store does not give one of them.
    """
    sources = config.data.sources
    chosen = [getattr(config, name) for name in _DECIDED_BY_RANK_0] + [s.path for s in sources]
    decided = json.loads(ranks.broadcast(json.dumps([files.describe(each) for each in chosen])))
    with ranks.first_of_node_first():
        paths = [files.resolve(each) for each in decided]
    first_source = len(_DECIDED_BY_RANK_0)
    for name, value in zip(_DECIDED_BY_RANK_0, paths[:first_source], strict=True):
        setattr(config, name, value)
    for source, path in zip(sources, paths[first_source:], strict=True):
        source.path = path


class FailureNotes:
    """What processes of an attempt died of, in files for rank 0, which sees only a lost connection.

    Where the attempt is over several `nodes` without a folder in common, the store carries them.
    """

    def __init__(self, artifacts: GuardedStore, token: FencingToken, nodes: int) -> None:
        self._prefix = attempt_prefix(token.job_id, token.attempt, token.claim_id)
        self._artifacts, self._folder = artifacts, artifacts.folder(self._prefix)
        self._are_sent = nodes > 1 and artifacts.local_path(self._prefix) is None

    def write(self, who: int | str, outcome: Outcome) -> None:
        """Write what a process dies of: the one with this rank, or another with this name."""
        error = outcome.error or JobError("TRAINER_ERROR", outcome.message)
        note = {"kind": outcome.kind, "reason": error.reason, "message": error.message}
        path = self._folder / _FAILURE_FILE.format(who=who)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(note))
        temporary.replace(path)
        if self._are_sent:
            try:
                self._artifacts.send(f"{self._prefix}/{path.name}")
            except ArtifactError as failure:
                logger.warning("rank 0 will not hear of it: %s", failure)

    def read(self, log_tail: str) -> Outcome | None:
        """Return what another process failed with, if it has written that."""
        if self._are_sent:
            self._bring()
        for path in sorted(self._folder.glob(_FAILURE_FILE.format(who="*"))):
            note = json.loads(path.read_text())
            error = JobError(note["reason"], note["message"], log_tail)
            return Outcome(OutcomeKind(note["kind"]), error)
        return None

    def _bring(self) -> None:
        try:
            for name in self._artifacts.names(self._prefix, _FAILURE_FILE.partition("{")[0]):
                content = b"".join(self._artifacts.open_range(f"{self._prefix}/{name}"))
                (self._folder / name).write_bytes(content)
        except ArtifactError as error:
            logger.warning("what another process died of cannot be read: %s", error)
