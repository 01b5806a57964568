# Generated from the protos by client/generate_calls.py; run: make protos
"""Every call of the contract, for gRPC and for REST alike."""

from __future__ import annotations

from collections.abc import Sequence

from training_engine._call import Call, ListCall, RecordCall, new_request_id, texts
from training_engine._config_source import ConfigSource
from training_engine.records import (
    Alerts,
    BatchGetJobsResponse,
    Checkpoint,
    Config,
    ConfigReport,
    Dataset,
    Inspection,
    JobRecord,
    LogLine,
    MetricPoint,
    Plain,
    SampledStep,
    SeriesSet,
    Sweep,
    SystemMetrics,
    Throughput,
    Worker,
)


def list_checkpoints(
    job_id: str, *, page_size: int | None = None, page_token: str | None = None
) -> ListCall[Checkpoint]:
    """Lists a job's checkpoints, ascending by step."""
    return ListCall(
        "CheckpointService/ListCheckpoints",
        "GET",
        "/api/training/jobs/{job_id}/checkpoints",
        {"job_id": job_id, "page_size": page_size, "page_token": page_token},
        record=Checkpoint,
        rows="checkpoints",
    )


def get_checkpoint(checkpoint_id: str) -> RecordCall[Checkpoint]:
    """Returns one checkpoint.

    CHECKPOINT_NOT_FOUND where there is none.
    """
    return RecordCall(
        "CheckpointService/GetCheckpoint",
        "GET",
        "/api/training/checkpoints/{checkpoint_id}",
        {"checkpoint_id": checkpoint_id},
        record=Checkpoint,
        answer="checkpoint",
    )


def download_checkpoint(
    checkpoint_id: str,
    *,
    offset: int | None = None,
    length: int | None = None,
    accepts_url: bool | None = None,
) -> Call:
    """Sends a checkpoint's file in chunks of at most 1 MiB, in order.

    A file whose bytes are not those that were registered ends with ARTIFACT_DAMAGED, before its
    last chunk at the latest.
    """
    return Call(
        "CheckpointService/DownloadCheckpoint",
        "GET",
        "/api/training/checkpoints/{checkpoint_id}/download",
        {
            "checkpoint_id": checkpoint_id,
            "offset": offset,
            "length": length,
            "accepts_url": accepts_url,
        },
    )


def evaluate_checkpoint(
    checkpoint_id: str,
    *,
    dataset_path: str | None = None,
    stride: int | None = None,
    averaged: bool | None = None,
    separate_documents: bool | None = None,
) -> Call:
    """Measures how well a checkpoint's model predicts data.

    The last message has the result; those before say how far it is. A worker ends the work when
    the caller leaves; where a worker dies, another one begins it again. INVALID_DATA where the
    data cannot be read, or does not fit the model's tokenizer.
    """
    return Call(
        "CheckpointService/EvaluateCheckpoint",
        "POST",
        "/api/training/checkpoints/{checkpoint_id}/evaluate",
        {
            "checkpoint_id": checkpoint_id,
            "dataset_path": dataset_path,
            "stride": stride,
            "averaged": averaged,
            "separate_documents": separate_documents,
        },
        has_body=True,
    )


def delete_checkpoint(checkpoint_id: str) -> Call:
    """Deletes a checkpoint.

    IN_USE for the one that an active job would resume from.
    """
    return Call(
        "CheckpointService/DeleteCheckpoint",
        "DELETE",
        "/api/training/checkpoints/{checkpoint_id}",
        {"checkpoint_id": checkpoint_id},
        request_id=new_request_id(),
    )


def create_config(
    *, name: str | None = None, config: ConfigSource | None = None
) -> RecordCall[Config]:
    """Validates a configuration and stores it.

    Every problem is reported at once.
    """
    return RecordCall(
        "ConfigService/CreateConfig",
        "POST",
        "/api/training/configs",
        {"name": name, "config": config},
        has_body=True,
        request_id=new_request_id(),
        record=Config,
        answer="config",
    )


def get_config(config_id: str) -> RecordCall[Config]:
    """Returns one stored configuration.

    CONFIG_NOT_FOUND where there is none.
    """
    return RecordCall(
        "ConfigService/GetConfig",
        "GET",
        "/api/training/configs/{config_id}",
        {"config_id": config_id},
        record=Config,
        answer="config",
    )


def list_configs(
    *, page_size: int | None = None, page_token: str | None = None
) -> ListCall[Config]:
    """Lists stored configurations, newest first."""
    return ListCall(
        "ConfigService/ListConfigs",
        "GET",
        "/api/training/configs",
        {"page_size": page_size, "page_token": page_token},
        record=Config,
        rows="configs",
    )


def delete_config(config_id: str) -> Call:
    """Deletes one stored configuration.

    Jobs started from it keep their own copy.
    """
    return Call(
        "ConfigService/DeleteConfig",
        "DELETE",
        "/api/training/configs/{config_id}",
        {"config_id": config_id},
        request_id=new_request_id(),
    )


def validate_config(
    *,
    config: ConfigSource | None = None,
    dataset_path: str | None = None,
    val_dataset_path: str | None = None,
) -> RecordCall[ConfigReport]:
    """Says whether a start with this configuration would be accepted; nothing is stored."""
    return RecordCall(
        "ConfigService/ValidateConfig",
        "POST",
        "/api/training/configs/validate",
        {"config": config, "dataset_path": dataset_path, "val_dataset_path": val_dataset_path},
        has_body=True,
        record=ConfigReport,
    )


def upload_dataset(*, name: str | None = None, sha256: str | None = None) -> RecordCall[Dataset]:
    """Takes a file in chunks: the first message carries the header, the others data."""
    return RecordCall(
        "DatasetService/UploadDataset",
        "POST",
        "/api/training/datasets",
        {"name": name, "sha256": sha256},
        request_id=new_request_id(),
        record=Dataset,
        answer="dataset",
    )


def get_dataset(dataset_id: str) -> RecordCall[Dataset]:
    """Returns one dataset.

    DATASET_NOT_FOUND where there is none.
    """
    return RecordCall(
        "DatasetService/GetDataset",
        "GET",
        "/api/training/datasets/{dataset_id}",
        {"dataset_id": dataset_id},
        record=Dataset,
        answer="dataset",
    )


def list_datasets(
    *, page_size: int | None = None, page_token: str | None = None
) -> ListCall[Dataset]:
    """Lists datasets, newest first."""
    return ListCall(
        "DatasetService/ListDatasets",
        "GET",
        "/api/training/datasets",
        {"page_size": page_size, "page_token": page_token},
        record=Dataset,
        rows="datasets",
    )


def delete_dataset(dataset_id: str) -> Call:
    """Deletes a dataset.

    IN_USE while a job that has not ended names it.
    """
    return Call(
        "DatasetService/DeleteDataset",
        "DELETE",
        "/api/training/datasets/{dataset_id}",
        {"dataset_id": dataset_id},
        request_id=new_request_id(),
    )


def inspect_dataset(
    *, config: ConfigSource | None = None, dataset_path: str | None = None
) -> RecordCall[Inspection]:
    """Says what training would learn of data, after a look of bounded time.

    Nothing is stored. WORKER_UNAVAILABLE where the control plane does not see the files.
    """
    return RecordCall(
        "DatasetService/InspectDataset",
        "POST",
        "/api/training/datasets/inspect",
        {"config": config, "dataset_path": dataset_path},
        has_body=True,
        record=Inspection,
    )


def generate(
    checkpoint_id: str,
    *,
    prompt: str | None = None,
    max_tokens: int | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    messages: Sequence[Plain] | None = None,
    stop: Sequence[str] | None = None,
    stop_token_ids: Sequence[int] | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    num_samples: int | None = None,
    logprobs: int | None = None,
    averaged: bool | None = None,
    prompts: Sequence[str] | None = None,
    frequency_penalty: float | None = None,
    presence_penalty: float | None = None,
    prompt_ids: Sequence[int] | None = None,
    prompt_logprobs: int | None = None,
) -> Call:
    """Streams tokens as they are sampled, also while the job still trains."""
    return Call(
        "GenerationService/Generate",
        "POST",
        "/api/training/checkpoints/{checkpoint_id}/generate",
        {
            "checkpoint_id": checkpoint_id,
            "prompt": prompt,
            "max_tokens": max_tokens,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "seed": seed,
            "messages": messages,
            "stop": texts("stop", stop),
            "stop_token_ids": stop_token_ids,
            "min_p": min_p,
            "repetition_penalty": repetition_penalty,
            "num_samples": num_samples,
            "logprobs": logprobs,
            "averaged": averaged,
            "prompts": texts("prompts", prompts),
            "frequency_penalty": frequency_penalty,
            "presence_penalty": presence_penalty,
            "prompt_ids": prompt_ids,
            "prompt_logprobs": prompt_logprobs,
        },
        has_body=True,
    )


def start_job(
    *,
    config: ConfigSource | None = None,
    config_id: str | None = None,
    dataset_path: str | None = None,
    val_dataset_path: str | None = None,
    name: str | None = None,
    execution: Plain | None = None,
    tags: Sequence[str] | None = None,
    notes: str | None = None,
) -> RecordCall[JobRecord]:
    """Validates the whole configuration, stores the job and queues its first attempt."""
    return RecordCall(
        "JobService/StartJob",
        "POST",
        "/api/training/jobs/start",
        {
            "config": config,
            "config_id": config_id,
            "dataset_path": dataset_path,
            "val_dataset_path": val_dataset_path,
            "name": name,
            "execution": execution,
            "tags": texts("tags", tags),
            "notes": notes,
        },
        has_body=True,
        request_id=new_request_id(),
        record=JobRecord,
        answer="job",
    )


def batch_get_jobs(*, job_ids: Sequence[str] | None = None) -> RecordCall[BatchGetJobsResponse]:
    """Returns several jobs, their configurations included, in the order asked for.

    JOB_NOT_FOUND where one of them is not there.
    """
    return RecordCall(
        "JobService/BatchGetJobs",
        "GET",
        "/api/training/jobs/batch",
        {"job_ids": texts("job_ids", job_ids)},
        record=BatchGetJobsResponse,
    )


def get_job(job_id: str) -> RecordCall[JobRecord]:
    """Returns one job, its configuration included.

    JOB_NOT_FOUND where there is none.
    """
    return RecordCall(
        "JobService/GetJob",
        "GET",
        "/api/training/jobs/{job_id}",
        {"job_id": job_id},
        record=JobRecord,
        answer="job",
    )


def list_jobs(
    *,
    page_size: int | None = None,
    page_token: str | None = None,
    status: str | None = None,
    name: str | None = None,
    job_id_prefix: str | None = None,
    tags: Sequence[str] | None = None,
    search: str | None = None,
) -> ListCall[JobRecord]:
    """Lists jobs, newest first, without their configurations."""
    return ListCall(
        "JobService/ListJobs",
        "GET",
        "/api/training/jobs",
        {
            "page_size": page_size,
            "page_token": page_token,
            "status": status,
            "name": name,
            "job_id_prefix": job_id_prefix,
            "tags": texts("tags", tags),
            "search": search,
        },
        record=JobRecord,
        rows="jobs",
    )


def update_job(
    job_id: str,
    *,
    add_tags: Sequence[str] | None = None,
    remove_tags: Sequence[str] | None = None,
    notes: str | None = None,
) -> RecordCall[JobRecord]:
    """Changes the tags and the notes of a job, in any state; what is absent stays as it is.

    JOB_NOT_FOUND where there is none.
    """
    return RecordCall(
        "JobService/UpdateJob",
        "PATCH",
        "/api/training/jobs/{job_id}",
        {
            "job_id": job_id,
            "add_tags": texts("add_tags", add_tags),
            "remove_tags": texts("remove_tags", remove_tags),
            "notes": notes,
        },
        has_body=True,
        request_id=new_request_id(),
        record=JobRecord,
        answer="job",
    )


def fork_job(
    *,
    checkpoint_id: str | None = None,
    job_id: str | None = None,
    config: ConfigSource | None = None,
    optimizer: str | None = None,
    dataset_path: str | None = None,
    val_dataset_path: str | None = None,
    name: str | None = None,
    execution: Plain | None = None,
    tags: Sequence[str] | None = None,
    notes: str | None = None,
) -> RecordCall[JobRecord]:
    """Starts a job from a checkpoint of another, with what changes in its configuration.

    Nothing changes in the other job. CHECKPOINT_NOT_FOUND where the checkpoint was deleted.
    """
    return RecordCall(
        "JobService/ForkJob",
        "POST",
        "/api/training/jobs/fork",
        {
            "checkpoint_id": checkpoint_id,
            "job_id": job_id,
            "config": config,
            "optimizer": optimizer,
            "dataset_path": dataset_path,
            "val_dataset_path": val_dataset_path,
            "name": name,
            "execution": execution,
            "tags": texts("tags", tags),
            "notes": notes,
        },
        has_body=True,
        request_id=new_request_id(),
        record=JobRecord,
        answer="job",
    )


def stop_job(job_id: str) -> RecordCall[JobRecord]:
    """Asks a job to save a checkpoint at the next step boundary and stop.

    A queued job stops at once. STATE_FORBIDS for a job that has ended.
    """
    return RecordCall(
        "JobService/StopJob",
        "POST",
        "/api/training/jobs/{job_id}/stop",
        {"job_id": job_id},
        request_id=new_request_id(),
        record=JobRecord,
        answer="job",
    )


def resume_job(
    job_id: str,
    *,
    checkpoint_id: str | None = None,
    max_steps: int | None = None,
    from_start: bool | None = None,
) -> RecordCall[JobRecord]:
    """Queues a new attempt of a job that has ended.

    STATE_FORBIDS for one that has not, and for a succeeded one without a larger max_steps or an
    earlier checkpoint.
    """
    return RecordCall(
        "JobService/ResumeJob",
        "POST",
        "/api/training/jobs/{job_id}/resume",
        {
            "job_id": job_id,
            "checkpoint_id": checkpoint_id,
            "max_steps": max_steps,
            "from_start": from_start,
        },
        has_body=True,
        request_id=new_request_id(),
        record=JobRecord,
        answer="job",
    )


def delete_job(job_id: str) -> Call:
    """Deletes a job that is not running: record, history, logs and checkpoints."""
    return Call(
        "JobService/DeleteJob",
        "DELETE",
        "/api/training/jobs/{job_id}",
        {"job_id": job_id},
        request_id=new_request_id(),
    )


def list_logs(
    job_id: str, *, page_size: int | None = None, page_token: str | None = None
) -> ListCall[LogLine]:
    """Returns what the trainer printed, oldest first."""
    return ListCall(
        "JobService/ListLogs",
        "GET",
        "/api/training/jobs/{job_id}/logs",
        {"job_id": job_id, "page_size": page_size, "page_token": page_token},
        record=LogLine,
        rows="lines",
    )


def list_alerts(job_id: str) -> RecordCall[Alerts]:
    """Returns which rules of a job's alerts have fired.

    JOB_NOT_FOUND where there is none.
    """
    return RecordCall(
        "JobService/ListAlerts",
        "GET",
        "/api/training/jobs/{job_id}/alerts",
        {"job_id": job_id},
        record=Alerts,
    )


def watch_job(job_id: str, *, after: str | None = None, after_step: int | None = None) -> Call:
    """Replays what happened to a job, then follows it live; ends after its terminal state."""
    return Call(
        "JobService/WatchJob",
        "GET",
        "/api/training/jobs/{job_id}/stream",
        {"job_id": job_id, "after": after, "after_step": after_step},
    )


def get_metrics(job_id: str) -> RecordCall[MetricPoint]:
    """Returns the latest value of each metric.

    METRICS_NOT_FOUND before the first logged step.
    """
    return RecordCall(
        "MetricsService/GetMetrics",
        "GET",
        "/api/training/jobs/{job_id}/metrics",
        {"job_id": job_id},
        record=MetricPoint,
        answer="metrics",
    )


def list_metrics(
    job_id: str,
    *,
    page_size: int | None = None,
    page_token: str | None = None,
    after_step: int | None = None,
    from_step: int | None = None,
    to_step: int | None = None,
    max_points: int | None = None,
) -> ListCall[MetricPoint]:
    """Lists logged steps, ascending, each once.

    They come in full by pages, or downsampled by max_points.
    """
    return ListCall(
        "MetricsService/ListMetrics",
        "GET",
        "/api/training/jobs/{job_id}/metrics/history",
        {
            "job_id": job_id,
            "page_size": page_size,
            "page_token": page_token,
            "after_step": after_step,
            "from_step": from_step,
            "to_step": to_step,
            "max_points": max_points,
        },
        record=MetricPoint,
        rows="points",
    )


def get_series(
    *,
    job_ids: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    x_axis: str | None = None,
    max_points: int | None = None,
    smoothing: float | None = None,
    from_x: float | None = None,
    to_x: float | None = None,
    log_x: bool | None = None,
    after: str | None = None,
) -> RecordCall[SeriesSet]:
    """Returns curves of several jobs, thinned to what a chart has room for.

    They are smoothed over all points before they are thinned, so that a part of a curve shows
    the same values as the whole. JOB_NOT_FOUND where one of the jobs is not there.
    INVALID_CURSOR where `after` is of another call.
    """
    return RecordCall(
        "MetricsService/GetSeries",
        "GET",
        "/api/training/metrics/series",
        {
            "job_ids": texts("job_ids", job_ids),
            "metrics": texts("metrics", metrics),
            "x_axis": x_axis,
            "max_points": max_points,
            "smoothing": smoothing,
            "from_x": from_x,
            "to_x": to_x,
            "log_x": log_x,
            "after": after,
        },
        record=SeriesSet,
    )


def list_system_metrics(job_id: str) -> RecordCall[SystemMetrics]:
    """Returns what the job's processes used, each 5 seconds: CPU, memory, disk, network, GPUs.

    Samples go by time and are no part of the history of steps. JOB_NOT_FOUND where there is
    none.
    """
    return RecordCall(
        "MetricsService/ListSystemMetrics",
        "GET",
        "/api/training/jobs/{job_id}/metrics/system",
        {"job_id": job_id},
        record=SystemMetrics,
    )


def list_samples(
    job_id: str,
    *,
    page_size: int | None = None,
    page_token: str | None = None,
    from_step: int | None = None,
    to_step: int | None = None,
) -> ListCall[SampledStep]:
    """Lists what the model made of sample_prompts after each evaluation.

    Steps ascend, each comes once. JOB_NOT_FOUND where there is none.
    """
    return ListCall(
        "MetricsService/ListSamples",
        "GET",
        "/api/training/jobs/{job_id}/samples",
        {
            "job_id": job_id,
            "page_size": page_size,
            "page_token": page_token,
            "from_step": from_step,
            "to_step": to_step,
        },
        record=SampledStep,
        rows="steps",
    )


def get_throughput(job_id: str) -> RecordCall[Throughput]:
    """Returns how fast the job trains, over its latest logging interval."""
    return RecordCall(
        "MetricsService/GetThroughput",
        "GET",
        "/api/training/jobs/{job_id}/throughput",
        {"job_id": job_id},
        record=Throughput,
    )


def stream_metrics(job_id: str, *, after: str | None = None, after_step: int | None = None) -> Call:
    """Replays logged steps, then follows them live; ends when the job does."""
    return Call(
        "MetricsService/StreamMetrics",
        "GET",
        "/api/training/jobs/{job_id}/stream",
        {"job_id": job_id, "after": after, "after_step": after_step},
    )


def start_sweep(
    *,
    document: str | None = None,
    dataset_path: str | None = None,
    val_dataset_path: str | None = None,
    name: str | None = None,
) -> RecordCall[Sweep]:
    """Checks the sweep and every child's configuration, stores it and starts the first children."""
    return RecordCall(
        "SweepService/StartSweep",
        "POST",
        "/api/training/sweeps",
        {
            "document": document,
            "dataset_path": dataset_path,
            "val_dataset_path": val_dataset_path,
            "name": name,
        },
        has_body=True,
        request_id=new_request_id(),
        record=Sweep,
        answer="sweep",
    )


def get_sweep(sweep_id: str) -> RecordCall[Sweep]:
    """Returns one sweep with its children, their scores and ranks.

    SWEEP_NOT_FOUND where there is none.
    """
    return RecordCall(
        "SweepService/GetSweep",
        "GET",
        "/api/training/sweeps/{sweep_id}",
        {"sweep_id": sweep_id},
        record=Sweep,
        answer="sweep",
    )


def list_sweeps(*, page_size: int | None = None, page_token: str | None = None) -> ListCall[Sweep]:
    """Lists sweeps, newest first, without their children."""
    return ListCall(
        "SweepService/ListSweeps",
        "GET",
        "/api/training/sweeps",
        {"page_size": page_size, "page_token": page_token},
        record=Sweep,
        rows="sweeps",
    )


def stop_sweep(sweep_id: str) -> RecordCall[Sweep]:
    """Stops all children, each with a checkpoint; no other is started.

    STATE_FORBIDS for a sweep that does not run.
    """
    return RecordCall(
        "SweepService/StopSweep",
        "POST",
        "/api/training/sweeps/{sweep_id}/stop",
        {"sweep_id": sweep_id},
        request_id=new_request_id(),
        record=Sweep,
        answer="sweep",
    )


def resume_sweep(sweep_id: str) -> RecordCall[Sweep]:
    """Continues a stopped sweep, its failed children included.

    STATE_FORBIDS for another one.
    """
    return RecordCall(
        "SweepService/ResumeSweep",
        "POST",
        "/api/training/sweeps/{sweep_id}/resume",
        {"sweep_id": sweep_id},
        request_id=new_request_id(),
        record=Sweep,
        answer="sweep",
    )


def delete_sweep(sweep_id: str) -> Call:
    """Deletes a sweep that does not run, with all its children.

    STATE_FORBIDS for one that does.
    """
    return Call(
        "SweepService/DeleteSweep",
        "DELETE",
        "/api/training/sweeps/{sweep_id}",
        {"sweep_id": sweep_id},
        request_id=new_request_id(),
    )


def list_workers(
    *, page_size: int | None = None, page_token: str | None = None
) -> ListCall[Worker]:
    """Lists the workers that were heard of lately."""
    return ListCall(
        "WorkerService/ListWorkers",
        "GET",
        "/api/training/workers",
        {"page_size": page_size, "page_token": page_token},
        record=Worker,
        rows="workers",
    )
