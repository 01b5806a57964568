"""JSON as the gateway writes it."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.message import Message

from training_engine.messages import message_to_plain


def page_to_json(message: Message, **renderers: Any) -> dict[str, Any]:
    """A page of rows; `renderers` name another function than the usual for a repeated field."""
    page = message_to_plain(message) if not renderers else {}
    for name, render in renderers.items():
        page[name] = [render(row) for row in getattr(message, name)]
    token: str = message.next_page_token  # type: ignore[attr-defined]
    page["next_page_token"] = token or None
    return page


def job_summary(job: Message) -> dict[str, Any]:
    """A job as lists and events show it: without its configuration."""
    return {name: value for name, value in message_to_plain(job).items() if name != "config"}


def dumps(value: Any) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
