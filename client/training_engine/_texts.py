"""Text that can be sent: what a shell hands over in another encoding than UTF-8 cannot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training_engine.errors import InvalidArgumentError

_SHOWN = 100
"""Characters of a refused text that are shown."""


def check_text(name: str, value: Any) -> None:
    """Refuse a text, or a list or mapping that holds one, which UTF-8 cannot express.

    Raises:
        InvalidArgumentError: There is one.
    """
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidArgumentError(
                f"{name} is {_shown(value)}; it must be text in UTF-8; rename what it names, or "
                "write it in UTF-8"
            ) from None
    elif isinstance(value, Mapping):
        check_text(name, [*value, *value.values()])
    elif isinstance(value, list | tuple):
        for part in value:
            check_text(name, part)


def _shown(text: str) -> str:
    return ascii(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
