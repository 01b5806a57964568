"""Saves checkpoints beside the training: a step waits for a copy in memory, not for the disk.

The copy is taken at a step boundary, so no checkpoint mixes two steps, and its memory is used
again by the next save: saving costs one copy of the saved state, however often it happens.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from app.training.checkpoint import CheckpointManager
from app.training.checkpoint_file import CheckpointInfo


class Snapshot:
    """Memory that holds a copy of nested state, reused as long as its shapes stay the same."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def take(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of `state` that later steps do not change, tensors on the CPU."""
        used: dict[str, Tensor] = {}
        shared: dict[tuple[int, tuple[int, ...], tuple[int, ...], torch.dtype], Tensor] = {}
        asynchronous = False

        def copy(value: Any, path: str) -> Any:
            nonlocal asynchronous
            if isinstance(value, Mapping):
                return {key: copy(item, f"{path}/{key}") for key, item in value.items()}
            if isinstance(value, list | tuple):
                return type(value)(copy(item, f"{path}/{i}") for i, item in enumerate(value))
            if not isinstance(value, Tensor):
                return value
            identity = (value.data_ptr(), tuple(value.shape), value.stride(), value.dtype)
            if value.numel() and identity in shared:
                return shared[identity]
            buffer = self._buffer(path, value)
            asynchronous |= value.is_cuda
            buffer.copy_(value.detach(), non_blocking=True)
            used[path] = shared[identity] = buffer
            return buffer

        snapshot = {key: copy(value, key) for key, value in state.items()}
        if asynchronous:
            torch.cuda.synchronize()  # the copies are queued; the next step must not overtake them
        self._buffers = used
        return snapshot

    def _buffer(self, path: str, like: Tensor) -> Tensor:
        buffer = self._buffers.get(path)
        if buffer is not None and buffer.shape == like.shape and buffer.dtype == like.dtype:
            return buffer
        return torch.empty(like.shape, dtype=like.dtype, pin_memory=like.is_cuda)


class AsyncSaver:
    """Writes one checkpoint at a time in a thread and returns its result or error.

    Args:
        manager: the manager of the folder to write to.
        before_rename: see `write_checkpoint`; runs in the thread.
    """

    def __init__(
        self, manager: CheckpointManager, before_rename: Callable[[], object] | None = None
    ) -> None:
        self._manager = manager
        self._before_rename = before_rename
        self._snapshot = Snapshot()
        self._latest: tuple[dict[str, Any], tuple[str, float] | None] = ({}, None)
        self._thread: threading.Thread | None = None
        self._done: CheckpointInfo | None = None
        self._error: BaseException | None = None
        self.write_seconds: float | None = None
        """How long the newest write took; None before the first."""

    def submit(self, state: Mapping[str, Any], metric: tuple[str, float] | None) -> None:
        """Copy `state` and write it in the background. Call only when no save is in progress."""
        if self._thread is not None:
            raise RuntimeError("a save is in progress; wait for it before the next")
        self._latest = (self._snapshot.take(state), metric)
        self.submit_again()

    def submit_again(self) -> None:
        """Write the newest copy again after a failure. Call only when no save is in progress."""
        if self._thread is not None:
            raise RuntimeError("a save is in progress; wait for it before the next")
        # Not a daemon: an interpreter that exits waits until the file is whole.
        self._thread = threading.Thread(
            target=self._write, args=self._latest, name="checkpoint-save"
        )
        self._thread.start()

    def _write(self, state: dict[str, Any], metric: tuple[str, float] | None) -> None:
        began = time.monotonic()
        try:
            self._done = self._manager.write(state, metric, self._before_rename)
            self.write_seconds = time.monotonic() - began
        except BaseException as error:
            self._error = error

    def poll(self) -> CheckpointInfo | None:
        """Return the save that has become complete since the last call.

        Raise its error if it failed.
        """
        if self._thread is None or self._thread.is_alive():
            return None
        return self.wait()

    def wait(self) -> CheckpointInfo | None:
        """Like `poll`, after waiting for the save in progress, if any."""
        if self._thread is None:
            return None
        self._thread.join()
        self._thread = None
        done, error = self._done, self._error
        self._done = self._error = None
        if error is not None:
            raise error
        return done
