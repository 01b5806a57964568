"""Requests to measure a checkpoint's loss on data, and the results; see `inference_requests`."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from job_store.connection import AsyncConnection, Connection
from job_store.inference_requests import RequestClient, RequestInbox, RequestKind
from job_store.records import CheckpointRecord

# A worker tells how far it is each second, so a short silence shows that it has died; the request
# then goes to another one.
_KIND = RequestKind(
    "evaluation", wanted="an evaluation", reply="a sign of it", taken_ms=10_000, waits=True
)


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """What to measure: which file's model, on which data."""

    artifact: str
    """Name of the checkpoint in the artifact store."""
    size_bytes: int
    sha256: str
    checkpoint_id: str
    dataset_path: str
    """A path at the workers, or `dataset://ID`."""
    data_roots: tuple[str, ...]
    """Folders that the data may be read from."""
    stride: int | None = None
    averaged: bool = False
    request_id: str = ""
    """Made by the client."""

    @staticmethod
    def of(checkpoint: CheckpointRecord, dataset_path: str, **options: Any) -> EvaluationRequest:
        """Return a request about a registered checkpoint; `options` are the other fields."""
        names = ("artifact", "size_bytes", "sha256", "checkpoint_id")
        of_checkpoint = {name: getattr(checkpoint, name) for name in names}
        return EvaluationRequest(**of_checkpoint, dataset_path=dataset_path, **options)


@dataclass(frozen=True, slots=True)
class EvaluationReply:
    """How far an evaluation is, and in the last reply its result."""

    tokens_done: int
    tokens_total: int
    """0 while the model and the data are read."""
    result: Mapping[str, Any] | None = None
    """The fields of the protos' `Evaluation`, by name."""


class EvaluationClient:
    """The control plane's side."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._requests = RequestClient(connection, _KIND)

    async def evaluate(
        self, request: EvaluationRequest, timeout_seconds: float = 30.0
    ) -> AsyncIterator[EvaluationReply]:
        """Yield replies up to the result; leaving the iterator ends the work within seconds.

        The request waits while workers are busy with others. Raises what `RequestClient.ask`
        raises.
        """
        replies = self._requests.ask(dataclasses.asdict(request), timeout_seconds)
        async with aclosing(replies):  # type: ignore[type-var]
            async for fields in replies:
                reply = EvaluationReply(*fields)
                yield reply
                if reply.result is not None:
                    return


class EvaluationInbox:
    """A worker's side (synchronous)."""

    def __init__(self, connection: Connection) -> None:
        self._inbox = RequestInbox(connection, _KIND)

    def take(self, seconds: int = 1) -> EvaluationRequest | None:
        """Return the oldest waiting request, see `RequestInbox.take`."""
        try:
            fields = self._inbox.take(seconds)
            return None if fields is None else EvaluationRequest(**fields)
        except TypeError:  # of another release
            return None

    def send(self, request: EvaluationRequest, reply: EvaluationReply) -> bool:
        """Deliver a reply; return False where the reader is gone: stop measuring then."""
        return self._inbox.send(request.request_id, [dataclasses.astuple(reply)])

    def fail(self, request: EvaluationRequest, code: str, message: str, field: str = "") -> None:
        """End the answer with an error about a field of the request, or about none."""
        self._inbox.fail(request.request_id, code, message, field)
