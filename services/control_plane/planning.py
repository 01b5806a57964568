"""From `StartJobRequest` to the job that is stored: configuration, data, limits, all checked."""

from __future__ import annotations

from dataclasses import dataclass

from app.training.config import ConfigError, Problem, TrainingConfig
from control_plane.config_codec import to_document
from control_plane.configurations import require_source
from control_plane.conversion import problem_text
from control_plane.execution import execution_problems, read_execution
from control_plane.paths import DATASET_SCHEME, AllowedRoots
from control_plane.requests import check_name
from control_plane.state import ServiceState
from job_store.errors import NotFound
from job_store.queues import ResourceClass, resource_class
from job_store.records import NewJob
from service_runtime.rpc_errors import RpcError
from training_engine.v1 import job_pb2

_BUILT_IN_TOKENIZERS = frozenset({"byte", "char", "gpt2"})
_SERVICE_DECIDES = {"checkpoint_dir": "./checkpoints", "resume_from_checkpoint": False}
"""Fields that mean something in a library run only, with their defaults."""


@dataclass(frozen=True)
class DataPaths:
    """What a run reads, as the worker will open it."""

    train: str
    validation: str
    tokenizer: str


async def plan_job(request: job_pb2.StartJobRequest, state: ServiceState) -> NewJob:
    """The job to store. Raises `ConfigError` or `RpcError` where it cannot be run."""
    which = request.WhichOneof("source")
    name = check_name(request.name)
    config = await require_source(request, which, state.configs)
    if problems := execution_problems(request.execution, config):
        raise ConfigError(problems)
    paths = await _data_paths(request, config, state)
    execution = read_execution(request.execution, config)
    warnings = [problem_text(each) for each in config.warnings() + _ignored_fields(config)]
    warnings += await _lacking_workers(execution.device, state)
    _settle(config, paths, execution.device)
    return NewJob(
        config_document=to_document(config),
        max_steps=config.max_steps,
        dataset_path=paths.train,
        val_dataset_path=paths.validation,
        tokenizer=paths.tokenizer,
        name=name,
        config_id=request.config_id if which == "config_id" else "",
        execution=execution,
        warnings=tuple(warnings),
    )


async def start_warnings(config: TrainingConfig, state: ServiceState) -> list[Problem]:
    """What a start would refuse or pass over although the configuration itself is valid."""
    found = _ignored_fields(config)
    if not config.dataset_path:
        rule = f"a job needs data; set a path under an allowed folder or {DATASET_SCHEME}ID"
        message = f"`dataset_path` is not set; {rule}, or name the data when the job starts"
        found.append(Problem("dataset_path", message))
    for name in ("dataset_path", "val_dataset_path"):
        if path := getattr(config, name):
            try:
                await _checked(name, path, state)
            except (RpcError, NotFound) as error:
                message = f"{error}; or name other data when the job starts"
                found.append(Problem(name, message))
    try:
        _tokenizer(config.tokenizer, state.roots)
    except RpcError as error:
        found.append(Problem("tokenizer", str(error)))
    return found


async def _lacking_workers(device: str, state: ServiceState) -> list[str]:
    """Says that a job will wait. Only for cuda: every worker takes the others."""
    if resource_class(device) is not ResourceClass.CUDA:
        return []
    if any(worker.device.startswith("cuda") for worker in await state.workers.list()):
        return []
    return [
        f"execution.device: no worker offers {device!r} at the moment; the job waits for one; "
        "start a worker on a machine with a GPU, or leave the device out"
    ]


async def _data_paths(
    request: job_pb2.StartJobRequest, config: TrainingConfig, state: ServiceState
) -> DataPaths:
    train = request.dataset_path or config.dataset_path or ""
    validation = request.val_dataset_path or config.val_dataset_path or ""
    if not train:
        rule = f"a job needs data; give a path under an allowed folder or {DATASET_SCHEME}ID"
        raise ConfigError([Problem("dataset_path", f"`dataset_path` is missing; {rule}")])
    return DataPaths(
        train=await _checked("dataset_path", train, state),
        validation=await _checked("val_dataset_path", validation, state) if validation else "",
        tokenizer=_tokenizer(config.tokenizer, state.roots),
    )


async def _checked(field: str, text: str, state: ServiceState) -> str:
    if not text.startswith(DATASET_SCHEME):
        return state.roots.check(field, text)
    await state.datasets.get(text.removeprefix(DATASET_SCHEME))
    return text


def _tokenizer(text: str, roots: AllowedRoots) -> str:
    return text if text in _BUILT_IN_TOKENIZERS else roots.check("tokenizer", text)


def _ignored_fields(config: TrainingConfig) -> list[Problem]:
    given = config.fields_given()
    return [
        Problem(
            name,
            f"`{name}` is {getattr(config, name)!r} and is ignored: the service decides where a "
            "job writes and what it continues from; leave it out",
        )
        for name, default in _SERVICE_DECIDES.items()
        if name in given and getattr(config, name) != default
    ]


def _settle(config: TrainingConfig, paths: DataPaths, device: str) -> None:
    """Write what was decided into the configuration, so that its stored copy tells the truth."""
    config.dataset_path = paths.train
    config.val_dataset_path = paths.validation or None
    config.tokenizer = paths.tokenizer
    config.device = device
    for name, default in _SERVICE_DECIDES.items():
        setattr(config, name, default)
