"""The asyncio SDK: `engine` with `await`."""

from __future__ import annotations

import os
from types import TracebackType
from typing import NoReturn, Self

from training_engine._aio_guard import AsyncGuardedTransport
from training_engine._aio_jobs import AsyncJobs
from training_engine._aio_link import AsyncLink
from training_engine._aio_resources import (
    AsyncCheckpoints,
    AsyncConfigs,
    AsyncDatasets,
    AsyncMetrics,
    AsyncWorkers,
)
from training_engine._transport import (
    ADDRESS_VARIABLE,
    DEFAULT_ADDRESS,
    DEFAULT_URL,
    URL_VARIABLE,
    AsyncTransport,
    Options,
    chosen_token,
)

__all__ = ["AsyncTrainingEngine"]


class AsyncTrainingEngine:
    """A training engine's control plane, over gRPC, for asyncio; see `TrainingEngine`.

        async with AsyncTrainingEngine() as engine:
            job = await engine.jobs.start(config="config.yaml", dataset_path="/data/text")
            async for point in job.stream_metrics():
                print(point.step, point.loss)

    An engine belongs to the event loop that first uses it.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        token: str | None = None,
        tls: bool = False,
        timeout: float = Options.timeout,
        retry_for: float = Options.retry_for,
        reconnect_for: float = Options.reconnect_for,
    ) -> None:
        """Make an engine; the arguments are those of `TrainingEngine`."""
        from training_engine._grpc import AsyncGrpcTransport  # gRPC takes 0.1 s to import

        options = Options(timeout, retry_for, reconnect_for, chosen_token(token), tls)
        address = address or os.environ.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS
        self._assemble(AsyncGrpcTransport(address, options), options)

    @classmethod
    def over_rest(
        cls,
        url: str | None = None,
        *,
        token: str | None = None,
        timeout: float = Options.timeout,
        retry_for: float = Options.retry_for,
        reconnect_for: float = Options.reconnect_for,
    ) -> Self:
        """Make the same engine over REST; the arguments are those of `TrainingEngine.over_rest`."""
        from training_engine._rest import AsyncRestTransport

        options = Options(timeout, retry_for, reconnect_for, chosen_token(token))
        url = url or os.environ.get(URL_VARIABLE) or DEFAULT_URL
        engine = cls.__new__(cls)
        engine._assemble(AsyncRestTransport(url, options), options)
        return engine

    def _assemble(self, transport: AsyncTransport, options: Options) -> None:
        self._link = link = AsyncLink(AsyncGuardedTransport(transport), options)
        self.configs = AsyncConfigs(link, options)
        self.jobs = AsyncJobs(link, options, self)
        self.metrics = AsyncMetrics(link, options)
        self.checkpoints = AsyncCheckpoints(link, options)
        self.datasets = AsyncDatasets(link, options)
        self.workers = AsyncWorkers(link, options)

    async def close(self) -> None:
        """Let go of the connection; open streams end with an error, `engine_closed`."""
        await self._link.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an engine holds a connection and cannot be pickled or copied, nor can a job that "
            "belongs to it; pass job.job_id or job.to_dict(), and make an engine where it is used"
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
