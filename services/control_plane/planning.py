"""Makes the job to store from a `StartJobRequest`: checks its configuration, data and limits."""

from __future__ import annotations

import asyncio
import copy
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from app.training.config import ConfigError, FieldProblem, TrainingConfig
from app.training.fit import MemoryPool, beyond_memory
from app.training.model_summary import model_summary
from app.training.preflight import Findings, VisibleData, inspect_run
from app.training.rules import relation_problems
from app.training.tokenizer_files import is_path
from control_plane.annotations import check_notes, check_tags
from control_plane.config_codec import to_document
from control_plane.config_reading import require_source
from control_plane.conversion import problem_text
from control_plane.errors import invalid_data
from control_plane.execution import execution_problems, read_execution
from control_plane.initial_weights import take_initial_weights
from control_plane.paths import DATASET_SCHEME
from control_plane.preflight_cache import key_of
from control_plane.requests import check_name
from control_plane.rpc_errors import RpcError
from control_plane.state import ServiceState
from job_store.alerts import encode_rules
from job_store.errors import NotFoundError
from job_store.queues import ResourceClass, resource_class
from job_store.records import Execution, NewJob
from training_engine.v1 import job_pb2

_NO_DATA = f"a job needs data; give a path under an allowed folder or {DATASET_SCHEME}ID"
_SERVICE_DECIDES = {"checkpoint_dir": "./checkpoints", "resume_from_checkpoint": False}
"""Fields that have a meaning only where the library runs by itself, with their defaults."""


class RunRequest(Protocol):
    """What a request says of a run beside its configuration."""

    dataset_path: str
    val_dataset_path: str
    name: str
    execution: job_pb2.Execution


@dataclass(frozen=True)
class DataPaths:
    """What a run reads, as the worker will open it."""

    train: str
    """"" where there are sources."""
    validation: str
    tokenizer: str
    sources: tuple[str, ...]


async def plan_job(request: job_pb2.StartJobRequest, state: ServiceState) -> NewJob:
    """Return the job to store.

    Raises:
        ConfigError: The configuration or the execution breaks a rule.
        RpcError: A path is not allowed, or the data cannot be trained on.
        NotFoundError: There is no stored configuration or dataset with a given id.
    """
    which = request.WhichOneof("source")
    tags, notes = check_tags("tags", request.tags), check_notes(request.notes)
    config = await require_source(request, which, state.configs)
    new = await plan_run(request, config, state)
    config_id = request.config_id if which == "config_id" else ""
    return replace(new, config_id=config_id, tags=tags, user_notes=notes)


async def plan_run(
    request: RunRequest, config: TrainingConfig, state: ServiceState, *, compared_by: str = ""
) -> NewJob:
    """Return the job to store for a valid configuration; raise as `plan_job`.

    `compared_by`: a metric of validation data that the run has to have; empty for none.
    """
    name = check_name(request.name)
    if problems := execution_problems(request.execution, config) + webhook_problems(config, state):
        raise ConfigError(problems)
    _take_data(config, request.dataset_path, request.val_dataset_path)
    await take_initial_weights(config, state)
    paths = await _data_paths(config, state)
    execution = read_execution(request.execution, config)
    findings = await _inspect(config, paths, state)
    if findings.problems:
        raise invalid_data(findings.problems)
    if compared_by and findings.lacks_validation:
        raise ConfigError([_never_measured(compared_by)])
    warnings = _warnings(config) + await _worker_warnings(config, execution, state)
    _write_decisions(config, paths, execution.device)
    return NewJob(
        config_document=to_document(config),
        max_steps=config.max_steps,
        dataset_path=paths.train,
        val_dataset_path=paths.validation,
        tokenizer=paths.tokenizer,
        name=name,
        execution=execution,
        warnings=tuple(map(problem_text, warnings)),
        data_warnings=tuple(map(problem_text, findings.warnings)),
        data_roots=tuple(map(str, state.roots.roots)),
        alert_rules=encode_rules(config.to_dict()["alerts"]),
        model_summary="" if config.has_open_model() else model_summary(config),
    )


def _never_measured(metric: str) -> FieldProblem:
    text = f"`metric` is {metric!r}, and there is no validation data to measure it on"
    remedy = "name some in val_dataset_path, or raise val_fraction"
    return FieldProblem("metric", f"{text}; {remedy}")


async def review_start(
    config: TrainingConfig, dataset_path: str, val_dataset_path: str, state: ServiceState
) -> Findings:
    """Return why a start with a valid configuration would be refused, and its warnings.

    Data that is not named is a warning: it can be named when the job starts.
    """
    _take_data(config, dataset_path, val_dataset_path)
    try:
        await take_initial_weights(config, state)
    except (RpcError, NotFoundError) as error:
        named = getattr(error, "violations", ()) or [FieldProblem("initial_weights", str(error))]
        return Findings(list(named), _warnings(config))
    except ConfigError as error:
        return Findings(list(error.problems), _warnings(config))
    problems = relation_problems(config, set()) + webhook_problems(config, state)
    for name, text in _named_files(config).items():
        try:
            await checked_path(name, text, state)
        except (RpcError, NotFoundError) as error:
            problems.append(FieldProblem(name, str(error)))
    if problems:
        return Findings(problems, _warnings(config))
    findings = await _inspect(config, await _checked_paths(config, state), state)
    execution = Execution(device=config.device)
    warnings = _warnings(config) + await _worker_warnings(config, execution, state)
    warnings += findings.warnings
    if not config.dataset_path and not config.data.sources:
        message = f"`dataset_path` is not set; {_NO_DATA}, or name the data when the job starts"
        warnings.append(FieldProblem("dataset_path", message))
    return Findings(findings.problems, warnings)


async def with_local_files(
    config: TrainingConfig, dataset_path: str, state: ServiceState
) -> TrainingConfig:
    """Return the configuration with the paths of its data on this machine; raise as `plan_job`."""
    _take_data(config, dataset_path, "")
    await take_initial_weights(config, state)
    paths = await _data_paths(config, state)
    train, *sources = [await _file(path, state) for path in (paths.train, *paths.sources)]
    local = DataPaths(
        str(train or ""), "", paths.tokenizer, tuple(str(source or "") for source in sources)
    )
    _write_decisions(config, local, "cpu")
    return config


def _take_data(config: TrainingConfig, train: str, validation: str) -> None:
    """Replace the configuration's data by what the request names."""
    config.dataset_path = train or config.dataset_path
    config.val_dataset_path = validation or config.val_dataset_path


def _warnings(config: TrainingConfig) -> list[FieldProblem]:
    return config.warnings() + _ignored_fields(config)


async def _inspect(config: TrainingConfig, paths: DataPaths, state: ServiceState) -> Findings:
    """Look at the files of a run, in a thread since a file system may be slow."""
    if config.has_open_model():
        return Findings()  # the worker knows the model once it has read the weights
    if not state.roots.visible:
        return inspect_run(config, VisibleData())
    sources = tuple([await _file(source, state) for source in paths.sources])
    inspected = copy.copy(config)
    inspected.resume_from_checkpoint = False  # the service ignores it
    inspected.tokenizer = paths.tokenizer
    visible = VisibleData(
        await _file(paths.train, state),
        await _file(paths.validation, state),
        sources,
        tokenizer=True,
    )
    tokenizer = Path(inspected.tokenizer) if is_path(inspected.tokenizer) else None
    key = key_of(to_document(inspected), (visible.train, visible.validation, tokenizer, *sources))
    remembered = state.preflights.find(key)
    if remembered is not None:
        return remembered
    return state.preflights.remember(key, await asyncio.to_thread(inspect_run, inspected, visible))


async def _file(named: str, state: ServiceState) -> Path | None:
    """Return the file behind a path or a dataset; None where it is not on this machine."""
    if not named.startswith(DATASET_SCHEME):
        return Path(named) if named else None
    record = await state.datasets.get(named.removeprefix(DATASET_SCHEME))
    return state.artifacts.local_path(record.artifact)


async def _worker_warnings(
    config: TrainingConfig, execution: Execution, state: ServiceState
) -> list[FieldProblem]:
    """Says that a job will wait for a worker, or is too large for those that there are."""
    if resource_class(execution.device) is not ResourceClass.CUDA:
        return await _beyond_memory(config, execution, state)
    if any(worker.device.startswith("cuda") for worker in await state.workers.list()):
        return []
    message = (
        f"no worker offers {execution.device!r} at the moment; the job waits for one; start a "
        "worker on a machine with a GPU, or leave the device out"
    )
    return [FieldProblem("execution.device", message)]


async def _beyond_memory(
    config: TrainingConfig, execution: Execution, state: ServiceState
) -> list[FieldProblem]:
    """Only where every worker trains on this machine's CPU is its memory known here."""
    memory, processes = state.preflights.memory(), execution.processes
    if memory is None or config.has_open_model():
        return []
    sharded = config.distributed is not None and config.distributed.strategy == "fsdp"
    copies = 1 if sharded else processes
    warning = beyond_memory(config, MemoryPool("this machine", memory, 0, copies, processes))
    if warning is None:
        return []
    workers, here = await state.workers.list(), socket.gethostname()
    all_here = all(worker.hostname == here and worker.device == "cpu" for worker in workers)
    return [warning] if workers and all_here else []


async def _data_paths(config: TrainingConfig, state: ServiceState) -> DataPaths:
    if problems := relation_problems(config, set()):  # the request may name a second dataset
        raise ConfigError(problems)
    if not config.dataset_path and not config.data.sources:
        raise ConfigError([FieldProblem("dataset_path", f"`dataset_path` is missing; {_NO_DATA}")])
    return await _checked_paths(config, state)


async def _checked_paths(config: TrainingConfig, state: ServiceState) -> DataPaths:
    named = _named_files(config)
    paths = [await checked_path(field, text, state) for field, text in named.items()]
    train, validation, tokenizer, *sources = paths
    return DataPaths(train, validation, tokenizer, tuple(sources))


def _named_files(config: TrainingConfig) -> dict[str, str]:
    """Return the files that a configuration names, by field; "" where it names none."""
    sources = enumerate(config.data.sources)
    return {
        "dataset_path": config.dataset_path or "",
        "val_dataset_path": config.val_dataset_path or "",
        "tokenizer": config.tokenizer,
        **{f"data.sources[{number}].path": source.path for number, source in sources},
    }


async def checked_path(field: str, text: str, state: ServiceState) -> str:
    """Return the path as the worker will open it; "" stays.

    Raises:
        RpcError: The request is refused; the error says why.
        NotFoundError: There is no dataset with this id.
    """
    if not text or (field == "tokenizer" and not is_path(text)):
        return text
    if field == "tokenizer" or not text.startswith(DATASET_SCHEME):
        return state.roots.check(field, text)
    await state.datasets.get(text.removeprefix(DATASET_SCHEME))
    return text


def webhook_problems(config: TrainingConfig, state: ServiceState) -> list[FieldProblem]:
    """Return why the configuration's alerts may not be sent where it wants them."""
    refusal = state.webhooks.refusal({"alert_webhook": config.alert_webhook})
    return [FieldProblem("alert_webhook", refusal)] if refusal else []


def _ignored_fields(config: TrainingConfig) -> list[FieldProblem]:
    fields_given = config.fields_given()
    return [
        FieldProblem(
            name,
            f"`{name}` is {getattr(config, name)!r} and is ignored: the service decides where a "
            "job writes and what it continues from; leave it out",
        )
        for name, default in _SERVICE_DECIDES.items()
        if name in fields_given and getattr(config, name) != default
    ]


def _write_decisions(config: TrainingConfig, paths: DataPaths, device: str) -> None:
    """Write the run's paths, its device and the service's own choices into the configuration.

    So the stored copy says what the run does.
    """
    config.dataset_path = paths.train or None
    for source, path in zip(config.data.sources, paths.sources, strict=True):
        source.path = path
    config.val_dataset_path = paths.validation or None
    config.tokenizer = paths.tokenizer
    config.device = device
    for name, default in _SERVICE_DECIDES.items():
        setattr(config, name, default)
