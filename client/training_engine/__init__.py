"""The SDK of the training engine: start jobs, follow them, fetch what they made.

    from training_engine import TrainingEngine

    with TrainingEngine() as engine:
        job = engine.jobs.start(config="config.yaml", dataset_path="/data/text")
        print(job.wait().status)

Names are imported on first use, so that importing the package costs next to nothing.

For those who change it: the asyncio modules (`aio`, `_aio_*`) are written by hand, and `make sync`
writes their blocking twins from them. In order of reading:

- `aio`, `engine`: the two engines, with the resources that they offer.
- `_aio_jobs`, `_jobs`, `_aio_resources`, `_resources`: the resources.
- `_aio_methods`, `_methods`: their unary calls, generated from the protos; the resources extend
  these classes.
- `_aio_resource`, `_resource`, `_aio_job`, `_job`: what the resources share; a job with its
  methods.
- `records`, `_record_base`, `errors`, `reasons`: what calls return and raise. `records` is
  generated from the protos.
- `_calls`, `_call`, `descriptions`: every call of the contract, for gRPC and REST alike, generated
  from the protos; what a call is; the texts of the contract.
- `_aio_link`, `_link`, `_retry`, `_following`, `_polling`: calls and streams that outlive a lost
  connection.
- `_aio_transport`, `_transport`, `_options`: what is asked of a transport, and how it is made.
- `_aio_grpc_transport`, `_grpc_transport`, `_grpc`, `call_status`, `error_details`: the transport
  over gRPC.
- `_aio_rest`, `_rest`, `_aio_rest_upload`, `_rest_upload`, `_http`, `proxies`: the transport over
  REST.
- `_aio_presigned`, `_presigned`: a file that the service has in a bucket, straight from there.
- `_aio_lifetime`, `_lifetime`, `_aio_guard`, `_guard`: until when an engine may be used, and by
  whom.
- `_config_source`, `_yaml`, `messages`: configurations and messages as plain values.
- `comparison`, `report`: several jobs side by side; jobs as one HTML page.
- `_files`, `_finding`, `_generation`, `_home`, `_texts`: downloads, jobs by name, sampled text,
  `~`, text that can be sent.
- `cli`: the command line.
- `v1`: the generated stubs.
- `__main__`, `_version`: `python -m training_engine`; the version.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from training_engine._version import __version__

if TYPE_CHECKING:
    from training_engine._aio_job import AsyncJob
    from training_engine._generation import PromptToken, TextPiece, TokenLogprob
    from training_engine._job import Job
    from training_engine.aio import AsyncTrainingEngine
    from training_engine.comparison import Comparison
    from training_engine.engine import TrainingEngine
    from training_engine.errors import (
        ArtifactDamagedError,
        ConflictError,
        DeadlineExceededError,
        FieldProblem,
        InternalError,
        InvalidArgumentError,
        InvalidConfigError,
        NotFoundError,
        PayloadTooLargeError,
        PermissionDeniedError,
        RateLimitedError,
        StateForbidsError,
        TrainingEngineError,
        UnauthenticatedError,
        UnavailableError,
    )
    from training_engine.records import (
        BulkResult,
        Checkpoint,
        Config,
        ConfigReport,
        Dataset,
        Evaluation,
        EventKind,
        Execution,
        JobEvent,
        JobRecord,
        JobStatus,
        LogLine,
        MemoryEstimate,
        MetricPoint,
        Page,
        Rewind,
        Series,
        SeriesSet,
        Throughput,
        Worker,
    )

__all__ = [
    "ArtifactDamagedError",
    "AsyncJob",
    "AsyncTrainingEngine",
    "BulkResult",
    "Checkpoint",
    "Comparison",
    "Config",
    "ConfigReport",
    "ConflictError",
    "Dataset",
    "DeadlineExceededError",
    "Evaluation",
    "EventKind",
    "Execution",
    "FieldProblem",
    "InternalError",
    "InvalidArgumentError",
    "InvalidConfigError",
    "Job",
    "JobEvent",
    "JobRecord",
    "JobStatus",
    "LogLine",
    "MemoryEstimate",
    "MetricPoint",
    "NotFoundError",
    "Page",
    "PayloadTooLargeError",
    "PermissionDeniedError",
    "PromptToken",
    "RateLimitedError",
    "Rewind",
    "Series",
    "SeriesSet",
    "StateForbidsError",
    "TextPiece",
    "Throughput",
    "TokenLogprob",
    "TrainingEngine",
    "TrainingEngineError",
    "UnauthenticatedError",
    "UnavailableError",
    "Worker",
    "__version__",
]

_HOMES = {
    "AsyncJob": "_aio_job",
    "AsyncTrainingEngine": "aio",
    "Comparison": "comparison",
    "Job": "_job",
    "PromptToken": "_generation",
    "TrainingEngine": "engine",
    "TextPiece": "_generation",
    "TokenLogprob": "_generation",
}
"""Modules of what is neither an error nor a record."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    usual = "errors" if name.endswith(("Error", "Problem")) else "records"
    home = importlib.import_module(f"{__name__}.{_HOMES.get(name, usual)}")
    value = globals()[name] = getattr(home, name)
    return value


def __dir__() -> list[str]:
    return __all__
