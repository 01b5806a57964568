"""A configuration that is another one with changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from app.training.config import ConfigError, TrainingConfig
from app.training.document import parse_document
from control_plane.config_reading import require_short
from job_store.records import JobRecord


def read_changes(document: str) -> dict[str, Any]:
    """Return the changes in a YAML or JSON text; none in an empty one.

    Raises:
        ConfigError: The text holds no mapping, or a key twice.
        RpcError: It is too large.
    """
    if not document.strip():
        return {}
    require_short(document)
    changes, problems = parse_document(document)
    if problems:
        raise ConfigError(problems)
    return changes


def config_of(record: JobRecord) -> dict[str, Any]:
    """Return a job's configuration as a mapping."""
    values: dict[str, Any] = json.loads(record.config_document)
    return values


def changed_config(values: Mapping[str, Any], changes: Mapping[str, Any]) -> TrainingConfig:
    """Return the configuration with changes in it.

    Raises:
        ConfigError: It lists everything that is wrong with the result.
    """
    return TrainingConfig.from_dict(overlaid(values, changes))


def overlaid(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` with `changes`: mappings field by field, null as what is left out."""
    merged = dict(values)
    for name, change in changes.items():
        before = merged.pop(name, None)
        if isinstance(change, Mapping) and isinstance(before, Mapping):
            merged[name] = overlaid(before, change)
        elif change is not None:
            merged[name] = change
    return merged
