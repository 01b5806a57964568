"""JSON as the gateway writes it."""

from __future__ import annotations

import json
from typing import Any


def dumps(value: Any) -> bytes:
    """Return compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
