"""The comments of the protos: the one text that describes each element of the contract.

`make protos` writes them beside the stubs, since the descriptors in the stubs do not carry them.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any


@cache
def _texts() -> dict[str, str]:
    text = Path(__file__).with_name("v1").joinpath("descriptions.json").read_text("utf-8")
    return dict(json.loads(text))


def description(element: Any) -> str:
    """Return the comment on a message, field, enum, enum value, service or method.

    Args:
        element: Its descriptor, e.g. `Job.DESCRIPTOR.fields_by_name["name"]`.

    Raises:
        KeyError: The element is not of the contract; each of the contract has a comment.
    """
    return _texts()[_full_name(element)]


def _full_name(element: Any) -> str:
    """Protobuf names an enum's value beside its enum; its comment is filed below the enum."""
    if hasattr(element, "number") and hasattr(element, "type") and hasattr(element.type, "values"):
        return f"{element.type.full_name}.{element.name}"
    return str(element.full_name)
