"""A small real gRPC service whose answers a test writes down beforehand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from training_engine.v1 import (
    checkpoint_pb2,
    checkpoint_pb2_grpc,
    config_pb2,
    config_pb2_grpc,
    dataset_pb2,
    dataset_pb2_grpc,
    generation_pb2,
    generation_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    metrics_pb2,
    metrics_pb2_grpc,
    sweep_pb2,
    sweep_pb2_grpc,
    worker_pb2,
    worker_pb2_grpc,
)


def refuse(
    context: Any,
    code: int,
    reason: str,
    message: str,
    fields: dict[str, str] | None = None,
    retry_seconds: int = 0,
) -> None:
    """End a call with the rich status of the contract."""
    details: list[Any] = [
        error_details_pb2.ErrorInfo(reason=reason, domain="training_engine"),
    ]
    if fields:
        bad = error_details_pb2.BadRequest()
        for field, text in fields.items():
            bad.field_violations.add(field=field, description=text)
        details.append(bad)
    if retry_seconds:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.seconds = retry_seconds
        details.append(retry)
    status = status_pb2.Status(code=code, message=message)
    for detail in details:
        packed = Packed()
        packed.Pack(detail)
        status.details.append(packed)
    context.abort_with_status(rpc_status.to_status(status))


def job(job_id: str = "j1", status: str = "RUNNING", **fields: Any) -> job_pb2.Job:
    """A job as the service would tell it."""
    record = job_pb2.Job(
        job_id=job_id, name=job_id, status=f"JOB_STATUS_{status}", attempt=1, max_steps=10, **fields
    )
    record.created_at.FromJsonString("2030-01-01T12:00:00Z")
    return record


def point(
    step: int, loss: float = 1.0, attempt: int = 1, **custom: float
) -> metrics_pb2.MetricPoint:
    """A logged step."""
    return metrics_pb2.MetricPoint(step=step, loss=loss, attempt=attempt, custom=custom)


class ScriptedService:
    """Answers by the functions in `on`, one for each method; keeps what it was asked.

    Attributes:
        on: Method name to a function of (request, context).
        requests: (method name, request) of every call, in order.
    """

    def __init__(self) -> None:
        self.on: dict[str, Callable[[Any, Any], Any]] = {}
        self.requests: list[tuple[str, Any]] = []
        self.metadata: list[dict[str, str]] = []
        self.port = 0
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen; on the port of before where there was one."""
        self._server = grpc.server(
            ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)], maximum_concurrent_rpcs=8
        )
        for module, names in _SERVICES:
            for name in names:
                servicer = _servicer(self, module, name)
                getattr(module, f"add_{name}Servicer_to_server")(servicer, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def stop(self) -> None:
        """Stop at once, as a killed process would."""
        self._server.stop(None).wait()

    def asked(self, method: str) -> list[Any]:
        """The requests of one method."""
        return [request for name, request in self.requests if name == method]

    def answer(self, method: str, request: Any, context: Any) -> Any:
        self.requests.append((method, request))
        self.metadata.append(dict(context.invocation_metadata()))
        return self.on[method](request, context)


_SERVICES: list[tuple[Any, list[str]]] = [
    (job_pb2_grpc, ["JobService"]),
    (metrics_pb2_grpc, ["MetricsService"]),
    (checkpoint_pb2_grpc, ["CheckpointService"]),
    (config_pb2_grpc, ["ConfigService"]),
    (dataset_pb2_grpc, ["DatasetService"]),
    (generation_pb2_grpc, ["GenerationService"]),
    (sweep_pb2_grpc, ["SweepService"]),
    (worker_pb2_grpc, ["WorkerService"]),
]
_STREAMS = ("WatchJob", "StreamMetrics", "DownloadCheckpoint", "Generate")


def _servicer(service: ScriptedService, module: Any, name: str) -> Any:
    base = getattr(module, f"{name}Servicer")

    def unary(method: str) -> Any:
        return lambda self, request, context: service.answer(method, request, context)

    def stream(method: str) -> Any:
        def run(self: Any, request: Any, context: Any) -> Iterator[Any]:
            yield from service.answer(method, request, context)

        return run

    methods = {
        method: (stream if method in _STREAMS else unary)(method)
        for method in vars(base)
        if not method.startswith("_")
    }
    return type(name, (base,), methods)()


class CheckpointFile:
    """A file to download, in small chunks, with an answer that may break off."""

    def __init__(self, size: int = 1000, chunk: int = 100) -> None:
        self.data = bytes(index % 251 for index in range(size))
        self.chunk = chunk
        self.break_after: list[int] = []
        self.url = ""
        """Named to callers that accept an address."""

    def record(self, **changes: Any) -> checkpoint_pb2.Checkpoint:
        fields = {
            "checkpoint_id": "ckpt_1",
            "job_id": "j1",
            "step": 7,
            "size_bytes": len(self.data),
            "sha256": hashlib.sha256(self.data).hexdigest(),
        }
        return checkpoint_pb2.Checkpoint(**{**fields, **changes})

    def get(self, request: Any, context: Any) -> Any:
        return checkpoint_pb2.GetCheckpointResponse(checkpoint=self.record())

    def download(self, request: Any, context: Any) -> Iterator[Any]:
        if self.url and request.accepts_url:
            yield checkpoint_pb2.DownloadCheckpointResponse(offset=request.offset, url=self.url)
            return
        chunks = self.break_after.pop(0) if self.break_after else None
        for count, offset in enumerate(range(request.offset, len(self.data), self.chunk)):
            if count == chunks:
                refuse(context, code_pb2.UNAVAILABLE, "SHUTTING_DOWN", "the service is stopping")
            data = self.data[offset : offset + self.chunk]
            yield checkpoint_pb2.DownloadCheckpointResponse(offset=offset, data=data)


__all__ = [
    "CheckpointFile",
    "ScriptedService",
    "checkpoint_pb2",
    "code_pb2",
    "config_pb2",
    "dataset_pb2",
    "generation_pb2",
    "job",
    "job_pb2",
    "metrics_pb2",
    "point",
    "refuse",
    "sweep_pb2",
    "worker_pb2",
]
