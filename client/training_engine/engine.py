# Generated from aio.py by client/generate_sync.py; run: make sync
"""The blocking SDK: an engine and its resources, over gRPC or REST."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NoReturn, Self

from training_engine._guard import GuardedTransport
from training_engine._jobs import Jobs
from training_engine._link import Link
from training_engine._options import (
    ADDRESS_VARIABLE,
    DEFAULT_ADDRESS,
    DEFAULT_URL,
    URL_VARIABLE,
    Options,
    chosen_token,
)
from training_engine._resources import (
    Checkpoints,
    Configs,
    Datasets,
    Metrics,
    Sweeps,
    Workers,
)
from training_engine._transport import Transport

__all__ = ["TrainingEngine"]


class TrainingEngine:
    """A training engine's control plane, over gRPC; `over_rest` for its gateway.

        with TrainingEngine("localhost:50051") as engine:
            job = engine.jobs.start(config="config.yaml", dataset_path="/data/text")
            for point in job.stream_metrics():
                print(point.step, point.loss)

    Every call has a deadline. Calls are tried again while the service is away, which is safe:
    they only read, or carry a generated request id under which the service acts once.
    Engines may be shared by threads.

    Attributes:
        configs: Stored configurations.
        jobs: Jobs.
        metrics: What jobs measure.
        checkpoints: Checkpoints, and text sampled from them.
        datasets: Uploaded datasets.
        sweeps: Searches over values of a configuration.
        workers: The processes that train.
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
        """Make an engine; nothing is sent before the first call.

        Args:
            address: `HOST:PORT`; default `TRAINING_ENGINE_ADDRESS`, else `localhost:50051`.
            token: Access token; default `TRAINING_ENGINE_TOKEN`, else none.
            tls: Encrypt the connection.
            timeout: Seconds that one call may take.
            retry_for: Seconds for which a call is retried while the service is away.
            reconnect_for: The same for streams, downloads and `wait`.
        """
        # Not at the top, for gRPC takes 0.1 s to import.
        from training_engine._grpc_transport import GrpcTransport

        options = Options(timeout, retry_for, reconnect_for, chosen_token(token), tls)
        address = address or os.environ.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS
        self._assemble(lambda: GrpcTransport(address, options), options)

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
        """Make the same engine over REST.

        Args:
            url: The gateway; default `TRAINING_ENGINE_URL`, else `http://localhost:8000`.
            token: As for gRPC, like all that follow.
            timeout: Seconds that one call may take.
            retry_for: Seconds for which a call is retried while the service is away.
            reconnect_for: The same for streams, downloads and `wait`.
        """
        from training_engine._rest import RestTransport

        options = Options(timeout, retry_for, reconnect_for, chosen_token(token))
        url = url or os.environ.get(URL_VARIABLE) or DEFAULT_URL
        engine = cls.__new__(cls)
        engine._assemble(lambda: RestTransport(url, options), options)
        return engine

    def _assemble(self, connect: Callable[[], Transport], options: Options) -> None:
        self._link = link = Link(GuardedTransport(connect), options)
        self.configs = Configs(link, options)
        self.jobs = Jobs(link, options, self)
        self.metrics = Metrics(link, options)
        self.checkpoints = Checkpoints(link, options)
        self.datasets = Datasets(link, options)
        self.sweeps = Sweeps(link, options)
        self.workers = Workers(link, options)

    def close(self) -> None:
        """Let go of the connection; open streams end with an error, `engine_closed`."""
        self._link.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an engine holds a connection and cannot be pickled or copied, nor can a job that "
            "belongs to it; pass job.job_id or job.to_dict(), and make an engine where it is used"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
