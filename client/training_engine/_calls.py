"""Every call of the contract, spelled once for gRPC and for REST.

A `Call` says what to send over either transport; transports send it and answer with a plain dict
in the shape of the gRPC response, its `unwrap` field merged into the top level as REST has it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from training_engine._config_source import ConfigSource
from training_engine._home import expanded
from training_engine.errors import InvalidArgumentError
from training_engine.records import Execution, JobStatus, Plain, to_plain

ROOT = "/api/training"


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Attributes:
        rpc: `Service/Method`.
        message: Fields of the gRPC request; None means absent.
        verb: The HTTP method.
        path: The HTTP path.
        query: The HTTP query; None means absent.
        body: The JSON body, None for no body.
        unwrap: Field of the gRPC response that REST answers with directly.
        request_id: Makes a mutation safe to repeat; empty for reads.
    """

    rpc: str
    message: Plain
    verb: str
    path: str
    query: Plain = field(default_factory=dict)
    body: Plain | None = None
    unwrap: str = ""
    request_id: str = ""


def present(plain: Mapping[str, Any]) -> Plain:
    """Return the entries that are not None."""
    return {key: value for key, value in plain.items() if value is not None}


def new_request_id() -> str:
    """Return an id under which a mutation may be sent again."""
    return uuid.uuid4().hex


def _id(name: str, value: str) -> str:
    """Return the id as a path segment; an empty one would address the list instead."""
    if not isinstance(value, str) or not value:
        raise InvalidArgumentError(
            f"{name} is {value!r}; it must be a non-empty string as the service returned it"
        )
    return quote(value, safe="")


def _paging(page_size: int | None, page_token: str) -> Plain:
    return {"page_size": page_size, "page_token": page_token or None}


def _read_one(rpc: str, name: str, value: str, path: str, unwrap: str = "") -> Call:
    return Call(rpc, {name: value}, "GET", path.format(_id(name, value)), unwrap=unwrap)


def _delete(rpc: str, name: str, value: str, path: str) -> Call:
    request_id = new_request_id()
    message = {name: value, "request_id": request_id}
    return Call(rpc, message, "DELETE", path.format(_id(name, value)), request_id=request_id)


def _list(rpc: str, path: str, query: Plain, message: Plain | None = None) -> Call:
    return Call(rpc, {**query, **(message or {})}, "GET", path, query=present(query))


# --- configurations


def create_config(name: str, source: ConfigSource) -> Call:
    request_id = new_request_id()
    return Call(
        "ConfigService/CreateConfig",
        {"name": name, "config_document": source.document, "request_id": request_id},
        "POST",
        f"{ROOT}/configs",
        body={"name": name, "config": source.mapping},
        unwrap="config",
        request_id=request_id,
    )


def validate_config(
    source: ConfigSource, dataset_path: str | None, val_dataset_path: str | None
) -> Call:
    named = {"dataset_path": dataset_path, "val_dataset_path": val_dataset_path}
    data = {key: path for key, path in named.items() if path}
    return Call(
        "ConfigService/ValidateConfig",
        {"config_document": source.document, **data},
        "POST",
        f"{ROOT}/configs/validate",
        body={"config": source.mapping, **data},
    )


def get_config(config_id: str) -> Call:
    path = ROOT + "/configs/{}"
    return _read_one("ConfigService/GetConfig", "config_id", config_id, path, "config")


def list_configs(page_size: int | None = None, page_token: str = "") -> Call:
    return _list("ConfigService/ListConfigs", f"{ROOT}/configs", _paging(page_size, page_token))


def delete_config(config_id: str) -> Call:
    return _delete("ConfigService/DeleteConfig", "config_id", config_id, ROOT + "/configs/{}")


# --- jobs


def _at_home(path: str | None) -> str | None:
    """Return a data path; a leading `~` means the home of the caller, not of the service."""
    return str(expanded(path)) if path and path.startswith("~") else path


def start_job(
    source: ConfigSource | None,
    *,
    config_id: str | None,
    dataset_path: str | None,
    val_dataset_path: str | None,
    name: str | None,
    execution: Execution | Mapping[str, Any] | None,
) -> Call:
    if (source is None) == (config_id is None):
        raise InvalidArgumentError(
            "a job starts from one configuration; give either config or config_id"
        )
    for field_name, path in (
        ("dataset_path", dataset_path),
        ("val_dataset_path", val_dataset_path),
    ):
        if isinstance(path, str) and not path.strip():
            raise InvalidArgumentError(
                f"{field_name} is {path!r}; give a path or dataset://ID, or None for what the "
                "configuration names"
            )
    request_id = new_request_id()
    common = {
        "config_id": config_id,
        "dataset_path": _at_home(dataset_path),
        "val_dataset_path": _at_home(val_dataset_path),
        "name": name,
        "execution": present(to_plain(execution)) if execution is not None else None,
        "request_id": request_id,
    }
    return Call(
        "JobService/StartJob",
        {**common, "config_document": source.document if source else None},
        "POST",
        f"{ROOT}/jobs/start",
        body=present({**common, "config": source.mapping if source else None}),
        unwrap="job",
        request_id=request_id,
    )


def get_job(job_id: str) -> Call:
    return _read_one("JobService/GetJob", "job_id", job_id, ROOT + "/jobs/{}", "job")


def list_jobs(
    status: JobStatus | str | None = None,
    page_size: int | None = None,
    page_token: str = "",
    *,
    name: str | None = None,
    job_id_prefix: str | None = None,
) -> Call:
    query = {
        "status": known_status(status),
        "name": name,
        "job_id_prefix": job_id_prefix,
        **_paging(page_size, page_token),
    }
    return _list("JobService/ListJobs", f"{ROOT}/jobs", query)


def known_status(status: JobStatus | str | None) -> str | None:
    """Return the status as the contract spells it.

    Raises:
        InvalidArgumentError: There is no such status.
    """
    if status is None:
        return None
    try:
        return JobStatus(status.lower()).value
    except ValueError:
        known = ", ".join(JobStatus)
        raise InvalidArgumentError(f"status is {status!r}; it must be one of {known}") from None


def stop_job(job_id: str) -> Call:
    request_id = new_request_id()
    return Call(
        "JobService/StopJob",
        {"job_id": job_id, "request_id": request_id},
        "POST",
        f"{ROOT}/jobs/{_id('job_id', job_id)}/stop",
        unwrap="job",
        request_id=request_id,
    )


def resume_job(
    job_id: str, checkpoint_id: str | None, max_steps: int | None, from_start: bool
) -> Call:
    request_id = new_request_id()
    choice = {
        "checkpoint_id": checkpoint_id,
        "max_steps": max_steps,
        "from_start": from_start or None,
    }
    return Call(
        "JobService/ResumeJob",
        {"job_id": job_id, **choice, "request_id": request_id},
        "POST",
        f"{ROOT}/jobs/{_id('job_id', job_id)}/resume",
        body=present(choice),
        unwrap="job",
        request_id=request_id,
    )


def delete_job(job_id: str) -> Call:
    return _delete("JobService/DeleteJob", "job_id", job_id, ROOT + "/jobs/{}")


def list_logs(job_id: str, page_size: int | None = None, page_token: str = "") -> Call:
    path = f"{ROOT}/jobs/{_id('job_id', job_id)}/logs"
    query = _paging(page_size, page_token)
    return _list("JobService/ListLogs", path, query, {"job_id": job_id})


def watch_job(job_id: str) -> Call:
    return _read_one("JobService/WatchJob", "job_id", job_id, ROOT + "/jobs/{}/stream")


# --- metrics


def get_metrics(job_id: str) -> Call:
    path = ROOT + "/jobs/{}/metrics"
    return _read_one("MetricsService/GetMetrics", "job_id", job_id, path, "metrics")


def get_throughput(job_id: str) -> Call:
    path = ROOT + "/jobs/{}/throughput"
    return _read_one("MetricsService/GetThroughput", "job_id", job_id, path)


def list_metrics(
    job_id: str,
    *,
    after_step: int | None = None,
    from_step: int | None = None,
    to_step: int | None = None,
    max_points: int | None = None,
    page_size: int | None = None,
    page_token: str = "",
) -> Call:
    query = {
        "after_step": after_step,
        "from_step": from_step,
        "to_step": to_step,
        "max_points": max_points,
        **_paging(page_size, page_token),
    }
    path = f"{ROOT}/jobs/{_id('job_id', job_id)}/metrics/history"
    return _list("MetricsService/ListMetrics", path, query, {"job_id": job_id})


def stream_metrics(job_id: str) -> Call:
    # REST has one stream of all events; its reader picks the points out.
    path = ROOT + "/jobs/{}/stream"
    return _read_one("MetricsService/StreamMetrics", "job_id", job_id, path)


# --- checkpoints


def list_checkpoints(job_id: str, page_size: int | None = None, page_token: str = "") -> Call:
    path = f"{ROOT}/jobs/{_id('job_id', job_id)}/checkpoints"
    query = _paging(page_size, page_token)
    return _list("CheckpointService/ListCheckpoints", path, query, {"job_id": job_id})


def get_checkpoint(checkpoint_id: str) -> Call:
    path = ROOT + "/checkpoints/{}"
    rpc = "CheckpointService/GetCheckpoint"
    return _read_one(rpc, "checkpoint_id", checkpoint_id, path, "checkpoint")


def delete_checkpoint(checkpoint_id: str) -> Call:
    path = ROOT + "/checkpoints/{}"
    return _delete("CheckpointService/DeleteCheckpoint", "checkpoint_id", checkpoint_id, path)


def download_checkpoint(checkpoint_id: str) -> Call:
    path = ROOT + "/checkpoints/{}/download"
    return _read_one("CheckpointService/DownloadCheckpoint", "checkpoint_id", checkpoint_id, path)


def generate(checkpoint_id: str, prompt: str, options: Plain) -> Call:
    message = {"checkpoint_id": checkpoint_id, "prompt": prompt, **options}
    return Call(
        "GenerationService/Generate",
        message,
        "POST",
        f"{ROOT}/checkpoints/{_id('checkpoint_id', checkpoint_id)}/generate",
        body=present({"prompt": prompt, **options}),
    )


# --- datasets and workers


def upload_dataset(name: str, sha256: str) -> Call:
    request_id = new_request_id()
    return Call(
        "DatasetService/UploadDataset",
        {"name": name, "sha256": sha256, "request_id": request_id},
        "POST",
        f"{ROOT}/datasets",
        query={"name": name, "sha256": sha256},
        unwrap="dataset",
        request_id=request_id,
    )


def get_dataset(dataset_id: str) -> Call:
    path = ROOT + "/datasets/{}"
    return _read_one("DatasetService/GetDataset", "dataset_id", dataset_id, path, "dataset")


def list_datasets(page_size: int | None = None, page_token: str = "") -> Call:
    return _list("DatasetService/ListDatasets", f"{ROOT}/datasets", _paging(page_size, page_token))


def delete_dataset(dataset_id: str) -> Call:
    return _delete("DatasetService/DeleteDataset", "dataset_id", dataset_id, ROOT + "/datasets/{}")


def list_workers(page_size: int | None = None, page_token: str = "") -> Call:
    return _list("WorkerService/ListWorkers", f"{ROOT}/workers", _paging(page_size, page_token))
