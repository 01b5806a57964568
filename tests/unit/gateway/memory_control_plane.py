"""A control plane in memory: the real protocol over a real socket, without a store behind it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from memory_state import BEGAN, ENDED, State, not_found, read_config

from control_plane.rpc_errors import RpcError
from service_runtime.duties import NOT_READY_METADATA
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

CHUNK = 64 << 10


class Aborting(grpc.aio.ServerInterceptor):
    """Turns RpcErrors into statuses, as the real control plane does; notes who calls."""

    def __init__(self, state: State) -> None:
        self._credentials = state.credentials

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = await continuation(details)
        self._credentials += [v for k, v in details.invocation_metadata if k == "authorization"]
        if handler is None or details.method.startswith("/grpc."):
            return handler
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(handler.unary_stream),
                handler.request_deserializer,
                handler.response_serializer,
            )
        make, behaviour = (
            (grpc.stream_unary_rpc_method_handler, handler.stream_unary)
            if handler.request_streaming
            else (grpc.unary_unary_rpc_method_handler, handler.unary_unary)
        )
        return make(
            self._unary(behaviour), handler.request_deserializer, handler.response_serializer
        )

    def _unary(self, behaviour: Any) -> Any:
        async def wrapped(request: Any, context: Any) -> Any:
            try:
                return await behaviour(request, context)
            except RpcError as error:
                await context.abort_with_status(error.to_grpc_status())

        return wrapped

    def _stream(self, behaviour: Any) -> Any:
        async def wrapped(request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                async for message in behaviour(request, context):
                    yield message
            except RpcError as error:
                await context.abort_with_status(error.to_grpc_status())

        return wrapped


class Service:
    def __init__(self, state: State) -> None:
        self.state = state


class Configs(Service, config_pb2_grpc.ConfigServiceServicer):
    async def CreateConfig(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        config = config_pb2.Config(
            config_id=f"cfg_{len(self.state.configs) + 1}",
            name=request.name,
            config=read_config(request.config_document),
            created_at=BEGAN,
        )
        self.state.configs[config.config_id] = config
        warning = config_pb2.FieldProblem(field="warmup_steps", message="longer than the run")
        return config_pb2.CreateConfigResponse(config=config, warnings=[warning])

    async def GetConfig(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        if request.config_id not in self.state.configs:
            raise not_found("config", request.config_id)
        return config_pb2.GetConfigResponse(config=self.state.configs[request.config_id])

    async def ListConfigs(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        return config_pb2.ListConfigsResponse(
            configs=list(self.state.configs.values()), next_page_token="more"
        )

    async def DeleteConfig(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        if self.state.configs.pop(request.config_id, None) is None:
            raise not_found("config", request.config_id)
        return config_pb2.DeleteConfigResponse()

    async def ValidateConfig(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        try:
            read_config(request.config_document)
        except RpcError as error:
            return config_pb2.ValidateConfigResponse(
                errors=[
                    config_pb2.FieldProblem(field=v.field, message=v.message)
                    for v in error.violations
                ]
            )
        return config_pb2.ValidateConfigResponse(
            valid=True,
            num_parameters=124_439_808,
            memory_estimate=config_pb2.MemoryEstimate(parameters_bytes=2**40, total_bytes=2**41),
        )


class Jobs(Service, job_pb2_grpc.JobServiceServicer):
    async def StartJob(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        config = read_config(request.config_document or "{}")
        job_id = f"job_{len(self.state.jobs) + 1}"
        job = job_pb2.Job(
            job_id=job_id,
            name=request.name or job_id,
            status=job_pb2.JOB_STATUS_QUEUED,
            max_steps=config.max_steps or 100_000,
            attempt=1,
            created_at=BEGAN,
            config=config,
            config_id=request.config_id,
            dataset_path=request.dataset_path,
            execution=request.execution,
        )
        self.state.jobs[job_id] = job
        self.state.points[job_id] = []
        self.state.events[job_id] = []
        await self.state.happen(job_id, state=job)
        return job_pb2.StartJobResponse(job=job)

    async def GetJob(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        return job_pb2.GetJobResponse(job=self.state.job(request.job_id))

    async def BatchGetJobs(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        return job_pb2.BatchGetJobsResponse(jobs=map(self.state.job, request.job_ids))

    async def ListJobs(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        rows = [
            job
            for job in reversed(self.state.jobs.values())
            if request.status in (job_pb2.JOB_STATUS_UNSPECIFIED, job.status)
            and request.name in ("", job.name)
        ]
        return job_pb2.ListJobsResponse(jobs=rows)

    async def StopJob(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        job = self.state.job(request.job_id)
        if job.status in ENDED:
            raise RpcError(
                grpc.StatusCode.FAILED_PRECONDITION, "STATE_FORBIDS", "the job has ended"
            )
        await self.state.become(request.job_id, job_pb2.JOB_STATUS_STOPPING)
        return job_pb2.StopJobResponse(job=job)

    async def ResumeJob(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        job = self.state.job(request.job_id)
        await self.state.become(
            request.job_id, job_pb2.JOB_STATUS_QUEUED, attempt=job.attempt + 1, resumed_from_step=20
        )
        return job_pb2.ResumeJobResponse(job=job)

    async def DeleteJob(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        self.state.job(request.job_id)
        del self.state.jobs[request.job_id]
        return job_pb2.DeleteJobResponse()

    async def ListLogs(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        self.state.job(request.job_id)
        line = job_pb2.LogLine(sequence=1, attempt=1, stream="stderr", text="é", created_at=BEGAN)
        return job_pb2.ListLogsResponse(lines=[line])

    async def ListAlerts(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        self.state.job(request.job_id)
        alert = job_pb2.Alert(rule=0, text="the job has failed", step=3, created_at=BEGAN)
        return job_pb2.ListAlertsResponse(alerts=[alert])

    async def WatchJob(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.state.served(request)
        self.state.job(request.job_id)
        events = self.state.events[request.job_id]
        position = self._position(request.after, len(events))
        self.state.open_watches += 1
        try:
            while True:
                for event in events[position:]:
                    position += 1
                    known = request.after_step if not request.after else 0
                    if not event.HasField("metrics") or event.metrics.step > known:
                        yield event
                if position < len(events):  # one came while another was sent
                    continue
                if self.state.jobs[request.job_id].status in ENDED:
                    return
                async with self.state.changed:
                    await self.state.changed.wait_for(lambda: len(events) > position)  # noqa: B023
        finally:
            self.state.open_watches -= 1

    def _position(self, after: str, count: int) -> int:
        if not after:
            return 0
        digits = after.removeprefix("c-")
        if digits == after or not digits.isdigit() or int(digits) > count:
            raise RpcError(
                grpc.StatusCode.INVALID_ARGUMENT, "INVALID_CURSOR", f"{after!r} is no cursor"
            )
        return int(digits)


class Metrics(Service, metrics_pb2_grpc.MetricsServiceServicer):
    async def GetMetrics(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        self.state.job(request.job_id)
        points = self.state.points[request.job_id]
        if not points:
            raise RpcError(grpc.StatusCode.NOT_FOUND, "METRICS_NOT_FOUND", "nothing logged yet")
        latest = metrics_pb2.MetricPoint()
        latest.CopyFrom(points[-1])
        latest.ClearField("attempt")  # gathered from several points, as the real one's
        latest.ClearField("created_at")
        return metrics_pb2.GetMetricsResponse(metrics=latest)

    async def ListMetrics(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        self.state.job(request.job_id)
        points = [p for p in self.state.points[request.job_id] if p.step > request.after_step]
        return metrics_pb2.ListMetricsResponse(points=points)

    async def GetSeries(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        for job_id in request.job_ids:
            self.state.job(job_id)
        drawn = metrics_pb2.Series(job_id="job_1", metric="loss", x=[1.0], y=[2.5], count=1)
        return metrics_pb2.GetSeriesResponse(series=[drawn], metric_names=["loss"], cursor="1.1")

    async def ListSystemMetrics(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        self.state.job(request.job_id)
        sample = metrics_pb2.SystemSample(created_at=BEGAN, attempt=1, values={"system/x": 1.5})
        return metrics_pb2.ListSystemMetricsResponse(samples=[sample])

    async def ListSamples(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        self.state.job(request.job_id)
        text = metrics_pb2.SampledText(prompt="Once", text=" upon")
        step = metrics_pb2.SampledStep(step=3, created_at=BEGAN, attempt=1, samples=[text])
        return metrics_pb2.ListSamplesResponse(steps=[step])

    async def GetThroughput(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        return metrics_pb2.GetThroughputResponse(
            step=3, steps_per_second=2.5, tokens_per_second=float("inf"), tokens_seen=2**53 + 1
        )


EVALUATION = {"loss": 2.5, "perplexity": 12.18, "tokens": 9, "context": 8, "stride": 3}


class Checkpoints(Service, checkpoint_pb2_grpc.CheckpointServiceServicer):
    async def EvaluateCheckpoint(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.state.served(request)
        self.state.checkpoint(request.checkpoint_id)
        yield checkpoint_pb2.EvaluateCheckpointResponse(tokens_done=4, tokens_total=9)
        await asyncio.sleep(self.state.token_delay)
        yield checkpoint_pb2.EvaluateCheckpointResponse(
            tokens_done=9,
            tokens_total=9,
            evaluation=checkpoint_pb2.Evaluation(**EVALUATION),
        )

    async def ListCheckpoints(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        self.state.job(request.job_id)
        rows = [each for each in self.state.checkpoints.values() if each.job_id == request.job_id]
        return checkpoint_pb2.ListCheckpointsResponse(checkpoints=rows)

    async def GetCheckpoint(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        return checkpoint_pb2.GetCheckpointResponse(
            checkpoint=self.state.checkpoint(request.checkpoint_id)
        )

    async def DownloadCheckpoint(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.state.served(request)
        data = self.state.files[request.checkpoint_id]
        end = request.offset + request.length if request.length else len(data)
        self.state.open_downloads += 1
        try:
            for offset in range(request.offset, end, CHUNK):
                if offset >= self.state.break_downloads_after:
                    raise RpcError(
                        grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", "the store went away"
                    )
                yield checkpoint_pb2.DownloadCheckpointResponse(
                    offset=offset, data=data[offset : min(offset + CHUNK, end)]
                )
        finally:
            self.state.open_downloads -= 1

    async def DeleteCheckpoint(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        self.state.checkpoint(request.checkpoint_id)
        raise RpcError(grpc.StatusCode.FAILED_PRECONDITION, "IN_USE", "a job would resume from it")


class Datasets(Service, dataset_pb2_grpc.DatasetServiceServicer):
    async def UploadDataset(self, requests: Any, context: Any) -> Any:
        header, data, digest = None, 0, hashlib.sha256()
        complete = False
        try:
            async for message in requests:
                if message.WhichOneof("part") == "header":
                    if header is not None:
                        raise RpcError(
                            grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", "second header"
                        )
                    header = message.header
                    self.state.served(header)
                    continue
                data += len(message.data)
                digest.update(message.data)
                if data > self.state.max_dataset_bytes:
                    complete = True
                    raise RpcError(
                        grpc.StatusCode.RESOURCE_EXHAUSTED, "PAYLOAD_TOO_LARGE", "too large"
                    )
            complete = True
        finally:
            if not complete:
                self.state.uploads_broken_off += 1
        assert header is not None
        dataset = dataset_pb2.Dataset(
            dataset_id=f"ds_{len(self.state.datasets) + 1}",
            name=header.name,
            size_bytes=data,
            sha256=digest.hexdigest(),
            created_at=BEGAN,
        )
        self.state.datasets[dataset.dataset_id] = dataset
        return dataset_pb2.UploadDatasetResponse(dataset=dataset)

    async def GetDataset(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        if request.dataset_id not in self.state.datasets:
            raise not_found("dataset", request.dataset_id)
        return dataset_pb2.GetDatasetResponse(dataset=self.state.datasets[request.dataset_id])

    async def ListDatasets(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        return dataset_pb2.ListDatasetsResponse(datasets=list(self.state.datasets.values()))

    async def DeleteDataset(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        self.state.datasets.pop(request.dataset_id, None)
        return dataset_pb2.DeleteDatasetResponse()


class Generation(Service, generation_pb2_grpc.GenerationServiceServicer):
    async def Generate(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.state.served(request)
        self.state.checkpoint(request.checkpoint_id)
        self.state.open_generations += 1
        try:
            for sample in range(request.num_samples or 1):
                for index in range(request.max_tokens or 256):
                    if self.state.breaks_after == index:
                        raise RpcError(
                            grpc.StatusCode.DATA_LOSS, "ARTIFACT_DAMAGED", "the file differs"
                        )
                    yield self._token(request, sample, index)
                    await asyncio.sleep(self.state.token_delay)
        finally:
            self.state.open_generations -= 1

    def _token(self, request: Any, sample: int, index: int) -> Any:
        letter = chr(65 + index % 26)
        token = generation_pb2.GenerateResponse(
            index=index, token_id=ord(letter), text=letter, sample=sample
        )
        if index == request.max_tokens - 1:
            token.finish_reason = generation_pb2.FINISH_REASON_LENGTH
        if index == 0:
            token.prompt_tokens = len(request.prompt or request.prompt_ids)
            token.dropped_prompt_tokens = max(0, token.prompt_tokens - self.state.context)
        if index == 0 and request.HasField("prompt_logprobs"):
            token.prompt_text = request.prompt or "".join(map(chr, request.prompt_ids))
            for place, each in enumerate(token.prompt_text):
                scored = token.prompt_logprobs.add(token_id=ord(each), text=each)
                if place:
                    scored.logprob = -0.25 * place
                if place and request.prompt_logprobs:
                    scored.top_logprobs.add(token_id=64, text="@", logprob=-0.125)
        if request.HasField("logprobs"):
            token.logprob, token.token_text = -0.5, letter
            if request.logprobs:
                token.top_logprobs.add(token_id=ord(letter), text=letter, logprob=-0.5)
        return token


class Sweeps(Service, sweep_pb2_grpc.SweepServiceServicer):
    """One sweep, whatever is asked; a start keeps its document."""

    document = "{}"

    def _sweep(self, **changes: Any) -> sweep_pb2.Sweep:
        return sweep_pb2.Sweep(sweep_id="swp_1", name="rates", created_at=BEGAN, **changes)

    async def StartSweep(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        self.document = request.document
        return sweep_pb2.StartSweepResponse(sweep=self._sweep(document=self.document))

    async def GetSweep(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        child = sweep_pb2.SweepChild(number=1, values={"learning_rate": "0.1"}, score=2.5, rank=1)
        sweep = self._sweep(document=self.document, children=[child])
        return sweep_pb2.GetSweepResponse(sweep=sweep)

    async def ListSweeps(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        return sweep_pb2.ListSweepsResponse(sweeps=[self._sweep()])

    async def StopSweep(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        return sweep_pb2.StopSweepResponse(sweep=self._sweep())

    async def ResumeSweep(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        return sweep_pb2.ResumeSweepResponse(sweep=self._sweep())

    async def DeleteSweep(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        return sweep_pb2.DeleteSweepResponse()


class Workers(Service, worker_pb2_grpc.WorkerServiceServicer):
    async def ListWorkers(self, request: Any, context: Any) -> Any:
        self.state.served(request)
        worker = worker_pb2.Worker(
            worker_id="w1",
            state=worker_pb2.WORKER_STATE_IDLE,
            device="cpu",
            hostname="h",
            pid=2**40,
            last_heartbeat=BEGAN,
        )
        return worker_pb2.ListWorkersResponse(workers=[worker])


class Health(health_pb2_grpc.HealthServicer):
    """Says with NOT_SERVING what is wrong, as the control plane does."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def Check(self, request: Any, context: Any) -> Any:
        answer = health_pb2.HealthCheckResponse
        if not self._state.problem:
            return answer(status=answer.SERVING)
        said = (NOT_READY_METADATA, self._state.problem.encode())
        context.set_trailing_metadata((said,))
        return answer(status=answer.NOT_SERVING)


@contextlib.asynccontextmanager
async def serving(state: State, port: int = 0) -> AsyncIterator[int]:
    """Serve `state` on a loopback port, yielded, until the block ends."""
    server = grpc.aio.server(interceptors=[Aborting(state)], options=[("grpc.so_reuseport", 0)])
    config_pb2_grpc.add_ConfigServiceServicer_to_server(Configs(state), server)
    job_pb2_grpc.add_JobServiceServicer_to_server(Jobs(state), server)
    metrics_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(state), server)
    checkpoint_pb2_grpc.add_CheckpointServiceServicer_to_server(Checkpoints(state), server)
    dataset_pb2_grpc.add_DatasetServiceServicer_to_server(Datasets(state), server)
    generation_pb2_grpc.add_GenerationServiceServicer_to_server(Generation(state), server)
    sweep_pb2_grpc.add_SweepServiceServicer_to_server(Sweeps(state), server)
    worker_pb2_grpc.add_WorkerServiceServicer_to_server(Workers(state), server)
    health_pb2_grpc.add_HealthServicer_to_server(Health(state), server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(None)
