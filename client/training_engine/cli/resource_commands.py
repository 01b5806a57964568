"""Commands about configurations, datasets and workers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from training_engine.cli.exit_codes import INVALID_CONFIG
from training_engine.cli.inspection import inspection_lines, look_here
from training_engine.cli.local_paths import (
    STANDARD_INPUT,
    DatasetOption,
    SettingsOption,
    ValDatasetOption,
    chosen_data,
    read_config,
    with_settings,
)
from training_engine.cli.output import size
from training_engine.cli.session import Session, connected
from training_engine.errors import UnavailableError
from training_engine.records import Inspection

if TYPE_CHECKING:
    from collections.abc import Callable

FileArgument = Annotated[
    str, typer.Argument(metavar="CONFIG", help="YAML or JSON file, or - for the standard input.")
]
ConfigArgument = Annotated[str, typer.Argument(metavar="CONFIG", help="Id of the configuration.")]
DatasetArgument = Annotated[str, typer.Argument(metavar="DATASET", help="Id of the dataset.")]


def validate(
    session: Session,
    config: FileArgument,
    dataset: DatasetOption = None,
    val_dataset: ValDatasetOption = None,
    settings: SettingsOption = None,
) -> None:
    """Check what `start` with the same arguments would refuse or warn of; model size and memory."""
    train = chosen_data("--dataset", dataset, settings)
    validation = chosen_data("--val-dataset", val_dataset, settings)
    report = session.engine.configs.validate(
        read_config(config, settings or []), dataset_path=train, val_dataset_path=validation
    )
    if session.output.as_json:
        session.output.json(report)
    else:
        for problem in report.errors:
            session.output.line(f"error: {problem}")
        for warning in report.warnings:
            session.output.line(f"warning: {warning}")
        parameters = report.num_parameters
        memory = report.memory_estimate
        session.output.fields(
            [
                ("parameters", f"{parameters:,}" if parameters is not None else None),
                ("memory", f"about {size(memory.total_bytes)}" if memory else None),
                ("valid", "yes" if report.valid else "no"),
            ]
        )
    if not report.valid:
        raise typer.Exit(INVALID_CONFIG)


_NO_CONFIG = (
    "note: no --config was given: windows, tokenizer, `max_steps` and warnings are those of the "
    "default configuration (GPT-2 small on bytes); give --config FILE for those of your job"
)


def inspect(
    session: Session,
    path: Annotated[
        str | None, typer.Argument(help="A file, a folder or dataset://ID, as for `start`.")
    ] = None,
    config: Annotated[
        str | None, typer.Option("--config", metavar="FILE", help="How the data is read.")
    ] = None,
    settings: SettingsOption = None,
    local: Annotated[
        bool,
        typer.Option(
            "--local",
            help="Look from this machine, without a service. This is also done where no service is "
            "named and none answers.",
        ),
    ] = False,
) -> None:
    """Look into data before a job: files, documents, tokens, copies, lengths, first windows."""
    document = read_config(config, settings or []) if config else with_settings({}, settings or [])
    data = chosen_data("PATH", path, settings)
    inspection = look_here(data, document) if local else _look_from_service(session, data, document)
    if session.output.as_json:
        session.output.json(inspection)
    else:
        for line in inspection_lines(inspection):
            session.output.line(line)
        if config is None:
            session.output.note(_NO_CONFIG)
    if inspection.problems:
        raise typer.Exit(INVALID_CONFIG)


def _look_from_service(
    session: Session, data: str | None, document: str | dict[str, Any]
) -> Inspection:
    """Ask the service; look from here where none is named and none answers, and say so."""
    try:
        return session.engine.datasets.inspect(data, config=document)
    except UnavailableError as error:
        if session.target.is_named or error.code != UnavailableError.default_code:
            raise
        found = look_here(data, document)
        session.output.note(f"{error}; looked from this machine, as with --local")
        return found


def workers(session: Session) -> None:
    """List the workers that were heard of lately."""
    session.output.records(
        "workers",
        session.engine.workers.list(),
        ("worker_id", "state", "device", "hostname", "pid", "job_id", "last_heartbeat"),
        empty="no workers; jobs wait until one starts",
    )


def list_configs(session: Session) -> None:
    """List stored configurations, newest first."""
    session.output.records(
        "configs",
        session.engine.configs.list(),
        ("config_id", "name", "created_at"),
        empty="no stored configurations",
    )


def create_config(
    session: Session,
    config: FileArgument,
    name: Annotated[str | None, typer.Option(help="Default: the file's name.")] = None,
) -> None:
    """Validate a configuration file and store it."""
    if config == STANDARD_INPUT and not name:
        raise typer.BadParameter("the standard input has no name; give one with --name")
    stored = session.engine.configs.create(name or Path(config).stem, read_config(config, []))
    for warning in stored.warnings or ():
        session.output.note(f"warning: {warning}")
    session.output.answer(stored, f"stored configuration {stored.config_id} ({stored.name})")


def show_config(session: Session, config: ConfigArgument) -> None:
    """Print a stored configuration as YAML."""
    record = session.engine.configs.get(config)
    if session.output.as_json:
        session.output.json(record)
        return
    import yaml

    print(yaml.safe_dump(record.config, sort_keys=False, allow_unicode=True), end="")


def delete_config(session: Session, config: ConfigArgument) -> None:
    """Delete a stored configuration; jobs started from it keep their copy."""
    session.engine.configs.delete(config)
    _deleted(session, "config_id", config)


def _deleted(session: Session, key: str, value: str) -> None:
    session.output.answer({key: value, "deleted": True}, f"deleted {value}")


def upload_dataset(
    session: Session,
    file: Annotated[Path, typer.Argument(help="One file of text or tokens.")],
    name: Annotated[str | None, typer.Option(help="Default: the file's own name.")] = None,
) -> None:
    """Upload a file, to be named as dataset://ID."""
    stored = session.engine.datasets.upload(file, name=name)
    said = f"uploaded {stored.name} ({size(stored.size_bytes)}) as {stored.path}"
    session.output.answer(stored, said)


def list_datasets(session: Session) -> None:
    """List uploaded datasets, newest first."""
    session.output.records(
        "datasets",
        session.engine.datasets.list(),
        ("dataset_id", "name", "size_bytes", "created_at"),
        empty="no uploaded datasets",
    )


def show_dataset(session: Session, dataset: DatasetArgument) -> None:
    """Show an uploaded dataset."""
    record = session.engine.datasets.get(dataset)
    if session.output.as_json:
        session.output.json(record)
        return
    session.output.fields(
        [
            ("dataset", record.path),
            ("name", record.name),
            ("size", size(record.size_bytes)),
            ("sha256", record.sha256),
            ("created", record.created_at),
        ]
    )


def delete_dataset(session: Session, dataset: DatasetArgument) -> None:
    """Delete an uploaded dataset that no unfinished job names."""
    session.engine.datasets.delete(dataset)
    _deleted(session, "dataset_id", dataset)


COMMANDS: dict[str, Callable[..., None]] = {
    "validate": connected(validate),
    "inspect": connected(inspect),
    "workers": connected(workers),
}

GROUPS: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
    "configs": (
        "Stored configurations.",
        {
            "list": connected(list_configs),
            "create": connected(create_config),
            "show": connected(show_config),
            "delete": connected(delete_config),
        },
    ),
    "datasets": (
        "Uploaded datasets.",
        {
            "upload": connected(upload_dataset),
            "list": connected(list_datasets),
            "show": connected(show_dataset),
            "delete": connected(delete_dataset),
        },
    ),
}
