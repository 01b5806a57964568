"""A configuration as a caller has it, ready for either transport.

gRPC sends the text itself, so that the service can name the line of a mistake; REST sends the
mapping. Nothing is validated here: the control plane alone does, for every door alike.
"""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from training_engine import _yaml
from training_engine._home import expanded
from training_engine.errors import FieldProblem, InvalidConfigError
from training_engine.records import Plain


@runtime_checkable
class HasToDict(Protocol):
    """Anything like the library's TrainingConfig."""

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as plain values."""


_REMEDY = "give a YAML or JSON document, e.g. `max_steps: 1000`"

ConfigLike = Mapping[str, Any] | HasToDict | str | os.PathLike[str]


@dataclass(frozen=True)
class ConfigSource:
    """One configuration, as text and as a mapping; each is made when a transport asks for it."""

    text: str | None = None
    values: Plain | None = None

    @cached_property
    def document(self) -> str:
        """YAML or JSON text."""
        if self.text is not None:
            return self.text
        try:
            return json.dumps(self.values, default=_plain_value)
        except (TypeError, ValueError) as error:
            raise _unusable(f"it cannot be written as JSON: {error}") from error

    @cached_property
    def mapping(self) -> Plain:
        """The mapping that the text holds, or the given one, of JSON values only."""
        values = json.loads(self.document) if self.text is None else _parse(self.text)
        if not isinstance(values, dict):
            raise _unusable(
                f"it holds {type(values).__name__}, and must be a mapping of keys to values"
            )
        return values


def config_source(config: ConfigLike) -> ConfigSource:
    """Return the source of a dict, an object with `to_dict`, a YAML or JSON path, or YAML text.

    A string with a newline or a `: ` in it is text; any other string is a path.

    Raises:
        InvalidConfigError: The file cannot be read, or the object is none of these.
    """
    if isinstance(config, Mapping):
        return ConfigSource(values=dict(config))
    if isinstance(config, HasToDict):
        return ConfigSource(values=config.to_dict())
    if isinstance(config, str) and not config.strip():
        raise _unusable(f"it is empty; {_REMEDY}")
    if isinstance(config, str) and _is_text(config):
        return ConfigSource(text=config)
    if isinstance(config, str | os.PathLike):
        return ConfigSource(text=_read(expanded(config)))
    raise _unusable(
        f"it is a {type(config).__name__}; give a dict, a TrainingConfig, a path or YAML text"
    )


def sweep_source(sweep: ConfigLike) -> ConfigSource:
    """Return the source of a sweep, with its configuration in place of the name of a file.

    The name means a file beside the sweep's; in the current folder where the sweep is not a file.

    Raises:
        InvalidConfigError: A file cannot be read, or holds no mapping.
    """
    source, folder = config_source(sweep), Path()
    if isinstance(sweep, os.PathLike) or (isinstance(sweep, str) and not _is_text(sweep)):
        folder = expanded(sweep).parent
    return with_named_config(source, folder)


def with_named_config(source: ConfigSource, folder: Path) -> ConfigSource:
    """Return a sweep with the file in `folder` that its `config` names in place of the name.

    Raises:
        InvalidConfigError: The file cannot be read, or holds no mapping.
    """
    try:
        values = source.mapping
    except InvalidConfigError:
        return source  # the service says what is wrong, with line and column
    config = values.get("config")
    if not isinstance(config, str):
        return source
    named = config if _is_text(config) else folder / expanded(config)
    return ConfigSource(values={**values, "config": config_source(named).mapping})


def _is_text(config: str) -> bool:
    return "\n" in config or ": " in config or config[:1] == "{"


def _read(path: Path) -> str:
    try:
        data = path.read_bytes()
        text = data.decode(encoding_of(data))
    except OSError as error:
        why = f"{path}: {error.strerror or error}; give a YAML or JSON file that can be read"
        raise _unusable(why) from error
    except UnicodeDecodeError as error:
        raise _unusable(
            f"{path} is not text in UTF-8 or UTF-16 ({error.reason} at byte {error.start}); give a "
            "YAML or JSON file, saved as UTF-8"
        ) from None
    if not text.strip():
        raise _unusable(f"{path} is empty; {_REMEDY}")
    return text


def encoding_of(data: bytes) -> str:
    """UTF-16 is known by its mark, or by the zero byte of its first character."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if 0 in data[:2]:
        return "utf-16-be" if data[0] == 0 else "utf-16-le"
    return "utf-8-sig"


def _parse(text: str) -> Any:
    import yaml  # 20 ms that only callers of REST with a file pay

    try:
        return _yaml.load(text)
    except yaml.YAMLError as error:
        raise _unusable(f"it is neither YAML nor JSON: {error}") from error


def _plain_value(value: Any) -> Any:
    """Accept what people put into such dicts: paths, numpy numbers, nested configurations."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, HasToDict):
        return value.to_dict()
    if callable(item := getattr(value, "item", None)):
        return item()
    raise TypeError(f"{value!r} is a {type(value).__name__}")


def _unusable(why: str) -> InvalidConfigError:
    message = f"the configuration cannot be used: {why}"
    return InvalidConfigError(message, errors=[FieldProblem("", message)])
