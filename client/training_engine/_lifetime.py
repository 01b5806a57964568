"""When a blocking transport may be used: until it is closed, and by one process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event

from training_engine._transport import Transport
from training_engine.errors import TrainingEngineError


def engine_closed() -> TrainingEngineError:
    """Return the error for whatever is asked of an engine after its end."""
    return TrainingEngineError("this engine was closed; make a new one", code="engine_closed")


class Lifetime:
    """Holds a transport from its first connection to its end.

    A forked process gets a connection of its own: two that speak over one would garble both.
    """

    def __init__(self, connect: Callable[[], Transport]) -> None:
        self._connect = connect
        self._transport = connect()
        self._process = os.getpid()
        self._closed = Event()

    @contextmanager
    def transport(self) -> Iterator[Transport]:
        """Lend the transport to one call; whatever fails because of `close` says so."""
        if self._closed.is_set():
            raise engine_closed()
        if self._process != os.getpid():
            self._parents = self._transport  # kept: letting go of it would end it for the parent
            self._transport, self._process = self._connect(), os.getpid()
        try:
            yield self._transport
        except Exception as error:
            if self._closed.is_set():
                raise engine_closed() from error
            raise

    def close(self) -> None:
        """Let go of the connection, unless it is a parent process's."""
        self._closed.set()
        if self._process == os.getpid():
            self._transport.close()
