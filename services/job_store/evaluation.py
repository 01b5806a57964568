"""Requests to measure a checkpoint's loss on data, and the results; see `inference_requests`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from job_store.inference_requests import InferenceRequest, RequestClient, RequestInbox, RequestKind

# A worker tells how far it is each second, so a short silence shows that it has died; the request
# then goes to another one.
_KIND = RequestKind(
    "evaluation", wanted="an evaluation", reply="a sign of it", taken_ms=10_000, waits=True
)


@dataclass(frozen=True, slots=True)
class EvaluationRequest(InferenceRequest):
    """What to measure: which file's model, on which data."""

    dataset_path: str
    """A path at the workers, or `dataset://ID`."""
    data_roots: tuple[str, ...]
    """Folders that the data may be read from."""
    stride: int | None = None
    separate_documents: bool = False


@dataclass(frozen=True, slots=True)
class EvaluationReply:
    """How far an evaluation is, and in the last reply its result."""

    tokens_done: int
    tokens_total: int
    """0 while the model and the data are read."""
    result: Mapping[str, Any] | None = None
    """The fields of the protos' `Evaluation`, by name."""


class EvaluationClient(RequestClient):
    """The control plane's side."""

    kind = _KIND

    async def evaluate(
        self, request: EvaluationRequest, timeout_seconds: float = 30.0
    ) -> AsyncIterator[EvaluationReply]:
        """Yield replies up to the result; leaving the iterator ends the work within seconds.

        The request waits while workers are busy with others. Raises what `ask` raises.
        """
        replies = self.ask(request, timeout_seconds)
        async with aclosing(replies):  # type: ignore[type-var]
            async for fields in replies:
                reply = EvaluationReply(*fields)
                yield reply
                if reply.result is not None:
                    return


class EvaluationInbox(RequestInbox[EvaluationRequest]):
    """A worker's side (synchronous); its replies are `EvaluationReply`s."""

    kind, request = _KIND, EvaluationRequest
