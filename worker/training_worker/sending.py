"""Sends an attempt's saved checkpoints to a store whose files are not on this machine.

In this order, so that a checkpoint that is complete in the store has all that a successor on
another machine needs: the configuration, the points before it, the checkpoint, its manifest.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from artifact_store import ArtifactError, GuardedStore, checkpoint_keys
from service_runtime.backoff import pause_seconds
from training_worker import spool

logger = logging.getLogger(__name__)

_CONFIG = "config.yaml"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0


class CheckpointSender:
    """Sends one checkpoint after another from a thread of its own, for as long as that takes.

    Where the trainer writes into the store itself, it has nothing to do.

    Args:
        prefix: of the attempt.
        on_sent: called from the thread after each.
    """

    def __init__(self, artifacts: GuardedStore, prefix: str, on_sent: Callable[[], None]) -> None:
        self._artifacts, self._prefix, self._on_sent = artifacts, prefix, on_sent
        self._is_needed = artifacts.local_path(prefix) is None
        self._waiting: deque[tuple[str, int]] = deque()
        self._changed = threading.Condition()
        self._spool_sent = 0
        self._sent_config = False
        self._thread = threading.Thread(target=self._run, name="checkpoint-sender", daemon=True)

    def send(self, artifact: str, spool_end: int) -> None:
        """Send a checkpoint and the points before it; returns at once."""
        if not self._is_needed:
            return
        with self._changed:
            self._waiting.append((artifact, spool_end))
            self._changed.notify_all()
        if self._thread.ident is None:
            self._thread.start()

    def has_sent(self, artifact: str) -> bool:
        """Whether the checkpoint is in the store, or never will be."""
        return all(artifact != waiting for waiting, _ in tuple(self._waiting))

    def wait_for_room(self, seconds: float) -> bool:
        """Return whether all is sent, after so long at most.

        A save that waits for it needs room on this machine's disk for one checkpoint.
        """
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, timeout=seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
            self._send_patiently(*self._waiting[0])
            with self._changed:
                self._waiting.popleft()
                self._changed.notify_all()
            self._on_sent()

    def _send_patiently(self, artifact: str, spool_end: int) -> None:
        failures = 0
        while True:
            try:
                self._send(artifact, spool_end)
            except FileNotFoundError as error:
                logger.error("a checkpoint is not on this machine any more: %s", error)
                return
            except (ArtifactError, OSError) as error:
                if failures == 0:
                    logger.warning("sending a checkpoint waits: %s", error)
                failures += 1
                time.sleep(pause_seconds(failures, _FIRST_PAUSE, _LONGEST_PAUSE))
            else:
                return

    def _send(self, artifact: str, spool_end: int) -> None:
        if not self._sent_config:
            self._artifacts.send(f"{self._prefix}/{_CONFIG}")
            self._sent_config = True
        if spool_end > self._spool_sent:
            part = spool.part_name(self._spool_sent)
            self._artifacts.put(f"{self._prefix}/{part}", [self._spooled(spool_end)])
            self._spool_sent = spool_end
        manifest, checkpoint = checkpoint_keys(artifact)
        self._artifacts.send(checkpoint)
        self._artifacts.send(manifest, once=True)
        self._artifacts.folder(checkpoint).unlink()

    def _spooled(self, end: int) -> bytes:
        with (self._artifacts.folder(self._prefix) / spool.FILE_NAME).open("rb") as file:
            file.seek(self._spool_sent)
            return file.read(end - self._spool_sent)
