"""Converts configurations between their typed message and the JSON document that is stored.

Each conversion uses `TrainingConfig`'s own rules, so gRPC, REST, SDK and CLI list the
same problems.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from app.training.config import TrainingConfig
from app.transformer.errors import FieldProblem
from training_engine.messages import present_fields
from training_engine.v1 import config_pb2


def config_to_message(document: str) -> config_pb2.TrainingConfig:
    """Return a stored JSON document as a typed configuration; fields it does not know stay absent.

    Documents are few and read often, so the encoded message is remembered; each caller gets a
    message of its own.

    Raises:
        ValueError: No message can hold the document (an earlier release stored it).
    """
    return config_pb2.TrainingConfig.FromString(_encoded(document))


@lru_cache(maxsize=1024)
def _encoded(document: str) -> bytes:
    message = config_pb2.TrainingConfig()
    try:
        values: dict[str, Any] = json.loads(document)
        # It may be a path in the library; the service only knows a flag.
        flag = bool(values.get("resume_from_checkpoint"))
        ParseDict(values | {"resume_from_checkpoint": flag}, message, ignore_unknown_fields=True)
    except (ParseError, AttributeError, TypeError) as error:
        raise ValueError(str(error)) from error
    return message.SerializeToString()


def read_message(message: config_pb2.TrainingConfig) -> tuple[TrainingConfig, list[FieldProblem]]:
    """Return the configuration that a typed message describes, and everything wrong with it."""
    config, problems = TrainingConfig.read(present_fields(message))
    return config, problems + unknown_field_problems(message)


def unknown_field_problems(message: Message) -> list[FieldProblem]:
    """Return a problem if the client's newer protos have fields that this service does not know."""
    if message.ByteSize() == _known_size(message):
        return []
    text = "the typed configuration has fields that this service does not know; update the service"
    return [FieldProblem("config", f"{text}, or leave them out")]


def _known_size(message: Message) -> int:
    copy = type(message)()
    copy.CopyFrom(message)
    copy.DiscardUnknownFields()
    return copy.ByteSize()


def to_document(config: TrainingConfig) -> str:
    """Return the configuration as the JSON text that is stored: every field spelled out.

    What initial weights say of the model, and no one knows yet, is left out.
    """
    return json.dumps(config.to_known_dict(), separators=(",", ":"), ensure_ascii=False)
