"""What a person names on this machine, and its options, made fit to be sent to another process.

Relative paths mean the current folder of the person, not of the service: they are made absolute.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from training_engine import _yaml
from training_engine._config_source import (
    ConfigSource,
    config_source,
    encoding_of,
    with_named_config,
)
from training_engine._home import expanded
from training_engine.errors import InvalidArgumentError, InvalidConfigError

STANDARD_INPUT = "-"
DatasetOption = Annotated[
    str | None,
    typer.Option(
        "--dataset", metavar="PATH", help="Training data: a file, a folder or dataset://ID."
    ),
]
ValDatasetOption = Annotated[
    str | None, typer.Option("--val-dataset", metavar="PATH", help="Validation data, likewise.")
]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a value of the file, e.g. model_config.num_layers=2. Repeatable.",
    ),
]

_FIELD_OF_FLAG = {
    "--dataset": "dataset_path",
    "PATH": "dataset_path",
    "--val-dataset": "val_dataset_path",
}
_PATH_KEYS = ("dataset_path", "val_dataset_path", "initial_weights", "initial_adapter")


def absolute(path: str | None) -> str | None:
    """Return a data path as the service shall see it, `~` replaced; `dataset://ID`, None, "" stay.

    Nothing must not become the current folder: what is empty is the service's, or the SDK's, to
    refuse.
    """
    return path if not path or "://" in path else os.path.abspath(expanded(path))


def chosen_data(flag: str, path: str | None, settings: list[str] | None) -> str | None:
    """Return the data path that a flag names, made absolute; `settings` must name none as well."""
    if path is None:
        return None
    if not path.strip():
        raise typer.BadParameter(
            f"{flag} is empty; name a file, a folder or dataset://ID, or leave it out for what the "
            "configuration names"
        )
    field = _FIELD_OF_FLAG[flag]
    for setting in settings or []:
        if setting.partition("=")[0] == field:
            raise typer.BadParameter(
                f"{flag} {path} and --set {setting} both name the data; leave one of them out"
            )
    return absolute(path)


def is_config_id(text: str) -> bool:
    """Return True where an argument names a stored configuration rather than a file."""
    return text.startswith("cfg_") and not Path(text).exists()


def read_config(path: str, settings: list[str]) -> str | dict[str, Any]:
    """Return a configuration file's text; its mapping where something in it has to change.

    Args:
        path: The file; `-` is the standard input.
        settings: `key=value` each, dots for nested keys, values as in YAML.

    Raises:
        InvalidArgumentError: There is no such file.
        InvalidConfigError: The file is not text, or a value cannot be set in it.
    """
    source = _source(path)
    try:
        values = source.mapping
    except InvalidConfigError:
        if settings:
            raise
        return _as_text(source.document)  # the service says what is wrong, with line and column
    changed = with_settings(_with_absolute_paths(values), settings)
    return changed if changed != values else _as_text(source.document)


def read_sweep(path: str, settings: list[str]) -> dict[str, Any]:
    """Return a sweep's file as a mapping, with the configuration in place of its file's name.

    The configuration's name means a file beside the sweep's; other paths mean the current folder.
    `settings` are changes of the configuration, as in `read_config`.

    Raises:
        InvalidArgumentError: There is no such file, or a setting would change nothing.
        InvalidConfigError: A file is not text, or holds no mapping.
    """
    beside = Path() if path == STANDARD_INPUT else expanded(path).parent
    sweep = with_named_config(_source(path), beside).mapping
    _refuse_idle(settings, sweep)
    config = sweep.get("config")
    if isinstance(config, dict):
        sweep = {**sweep, "config": with_settings(_with_absolute_paths(config), settings)}
    return _with_absolute_paths(sweep)


def _refuse_idle(settings: list[str], sweep: dict[str, Any]) -> None:
    """Refuse settings of a configuration that is not here, or whose values are parameters."""
    if settings and "config_id" in sweep:
        raise InvalidArgumentError(
            "--set needs a `config` in the sweep, and this one has a stored configuration, which "
            "stays as it is; leave --set out, or make it a parameter of one value"
        )
    parameters = sweep.get("parameters")
    for setting in settings:
        name = setting.partition("=")[0]
        if isinstance(parameters, dict) and name in parameters:
            raise InvalidArgumentError(
                f"--set {setting} would change nothing: `{name}` is a parameter of the sweep; "
                "leave one of them out"
            )


def changes(settings: list[str]) -> dict[str, Any]:
    """Return `key=value` settings as a configuration that has nothing else."""
    return _with_absolute_paths(with_settings({}, settings))


def with_settings(values: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """Return a configuration with `key=value` settings in it."""
    for setting in settings:
        values = _with_setting(values, setting)
    return values


def _source(path: str) -> ConfigSource:
    if path != STANDARD_INPUT:
        _require_readable(expanded(path))
        return config_source(Path(path))
    try:
        data = sys.stdin.buffer.read()
        text = data.decode(encoding_of(data))
    except UnicodeDecodeError as error:
        raise InvalidConfigError(
            f"the standard input is not text in UTF-8 or UTF-16: {error.reason} at byte "
            f"{error.start}; pipe a YAML or JSON document into it"
        ) from None
    if not text.strip():
        raise InvalidConfigError(
            "the standard input is empty; pipe a YAML or JSON document into it, or name a file"
        )
    return config_source(_as_text(text))


def _as_text(document: str) -> str:
    """Return a document so that it is not taken for the name of a file."""
    return document if "\n" in document else document + "\n"


def _require_readable(path: Path) -> None:
    try:
        open(path, "rb").close()
    except OSError as error:
        raise InvalidArgumentError(
            f"{path}: {error.strerror or error}; give a YAML or JSON file that can be read, "
            "or the id of a stored configuration"
        ) from error


def _with_absolute_paths(values: dict[str, Any]) -> dict[str, Any]:
    paths: dict[str, Any] = {
        key: absolute(values[key]) for key in _PATH_KEYS if isinstance(values.get(key), str)
    }
    tokenizer = values.get("tokenizer")
    if isinstance(tokenizer, str) and (tokenizer.endswith(".json") or tokenizer[:1] == "~"):
        paths["tokenizer"] = absolute(tokenizer)
    data = values.get("data")
    if isinstance(data, dict) and isinstance(data.get("sources"), list):
        data = {**data, "sources": [_absolute_source(each) for each in data["sources"]]}
        paths["data"] = data
    return {**values, **paths}


def _absolute_source(source: Any) -> Any:
    if isinstance(source, dict) and isinstance(source.get("path"), str):
        return {**source, "path": absolute(source["path"])}
    return absolute(source) if isinstance(source, str) else source


def _with_setting(values: dict[str, Any], setting: str) -> dict[str, Any]:
    import yaml

    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise typer.BadParameter(
            f"--set {setting} has no value; write key=value, e.g. --set max_steps=100"
        )
    try:
        value = _yaml.load(text)
    except yaml.YAMLError as error:
        raise typer.BadParameter(f"--set {setting}: the value is not YAML: {error}") from None
    return _replaced(values, key.split("."), value)


def _replaced(values: dict[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    first, *rest = path
    if not rest:
        return {**values, first: value}
    inner = values.get(first)
    return {**values, first: _replaced(inner if isinstance(inner, dict) else {}, rest, value)}
