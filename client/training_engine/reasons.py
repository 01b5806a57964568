"""How a call ends for each reason: the options of `ErrorReason` in errors.proto, as one table.

Services and SDK look up a reason's gRPC code, its HTTP status and whether to try again only here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training_engine.v1 import options_pb2
from training_engine.v1.errors_pb2 import ErrorReason
from training_engine.v1.options_pb2 import CallStatus

PREFIX = "ERROR_REASON_"


def _read() -> dict[str, CallStatus]:
    option: Any = options_pb2.call_status
    options = {value.name: value.GetOptions() for value in ErrorReason.DESCRIPTOR.values}
    return {
        name.removeprefix(PREFIX): each.Extensions[option]
        for name, each in options.items()
        if each.HasExtension(option)
    }


CALL_STATUSES: Mapping[str, CallStatus] = _read()
"""From each reason that a call can end with, e.g. `JOB_NOT_FOUND`, to its status."""
