"""Reads and validates the configuration that a request brings: typed, as text, or by its id."""

from __future__ import annotations

import asyncio
import copy
import json
from functools import lru_cache
from typing import Protocol

from google.protobuf.message import Message

from app.training.config import ConfigError, FieldProblem, TrainingConfig, flatten
from control_plane.config_codec import read_message
from control_plane.errors import call_error, invalid_argument
from control_plane.rpc_errors import RpcError, as_text
from job_store.catalog import ConfigStore
from training_engine.v1 import config_pb2

MAX_DOCUMENT_CHARACTERS = 32 << 10
"""Real configurations have a few thousand; naming the problems of a hostile one takes seconds."""

_SLOW_DOCUMENT = 4 << 10
"""A longer document is read in a thread, so that other calls go on."""


class ConfigSource(Protocol):
    """A request with `oneof source {config, config_document}`."""

    config: config_pb2.TrainingConfig
    config_document: str


async def read_source(
    request: ConfigSource, which: str
) -> tuple[TrainingConfig, list[FieldProblem]]:
    """Return the configuration in the request's `which` field, and everything wrong with it."""
    if which == "config_document":
        return await read_document(request.config_document)
    if (size := request.config.ByteSize()) > MAX_DOCUMENT_CHARACTERS:
        raise _too_large("config", f"{size} bytes")
    return read_message(request.config)


async def read_document(text: str) -> tuple[TrainingConfig, list[FieldProblem]]:
    """Return the configuration in a YAML or JSON text, and everything wrong with it."""
    require_short(text)
    if len(text) > _SLOW_DOCUMENT:
        return await asyncio.to_thread(_read, text)
    return _read(text)


def require_short(text: str, field: str = "config_document") -> None:
    """Refuse a document that would take long to read.

    Raises:
        RpcError: It is too large.
    """
    if len(text) > MAX_DOCUMENT_CHARACTERS:
        raise _too_large(field, f"{len(text)} characters")


def _read(text: str) -> tuple[TrainingConfig, list[FieldProblem]]:
    config, problems = _read_once(text)
    return copy.deepcopy(config), problems.copy()


@lru_cache(maxsize=256)
def _read_once(text: str) -> tuple[TrainingConfig, list[FieldProblem]]:
    """Sweeps and retries start many jobs with one text; a copy takes a third of its reading."""
    config, problems = TrainingConfig.read_document(text)
    problems = [FieldProblem(as_text(p.field), as_text(p.message)) for p in problems]
    if not problems and "\\" in text:  # gRPC's texts hold none; an escape may make one
        problems = [
            FieldProblem(path, f"`{path}` holds half a surrogate pair; it must be text; remove it")
            for path, value in flatten(config.to_dict()).items()
            if any(isinstance(text, str) and text != as_text(text) for text in _items(value))
        ]
    return config, problems


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _too_large(field: str, size: str) -> RpcError:
    message = (
        f"`{field}` has {size}; it must have at most {MAX_DOCUMENT_CHARACTERS}; leave out what "
        "keeps its default"
    )
    return call_error("PAYLOAD_TOO_LARGE", message, [FieldProblem(field, message)])


async def require_source(request: Message, which: str | None, store: ConfigStore) -> TrainingConfig:
    """Return a valid configuration.

    Raises:
        ConfigError: The configuration has problems; the error holds all of them.
        RpcError: There is no configuration in the request, or it is too large.
        NotFoundError: No configuration is stored under the id.
    """
    if which is None:
        message = (
            "the request has no configuration; give `config`, `config_document` or `config_id`"
        )
        raise invalid_argument("config", message)
    if which == "config_id":
        stored = await store.get(request.config_id)  # type: ignore[attr-defined]
        return TrainingConfig.from_dict(json.loads(stored.document))
    config, problems = await read_source(request, which)  # type: ignore[arg-type]
    if problems:
        raise ConfigError(problems)
    return config
