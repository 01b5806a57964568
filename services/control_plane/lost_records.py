"""Refuses calls while Redis has lost its records: an empty list would look like a new service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from control_plane.authentication import behind_refusal
from control_plane.errors import call_error
from control_plane.state import ServiceState

_OWN_PACKAGE = "/training_engine."


class LostRecordsInterceptor(grpc.aio.ServerInterceptor):
    """Answers STORE_UNAVAILABLE, with what to do; health and reflection are served."""

    def __init__(self, state: ServiceState) -> None:
        self._state = state

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        why = self._state.records_lost
        if not why or not handler or not handler_call_details.method.startswith(_OWN_PACKAGE):
            return handler
        return behind_refusal(handler, lambda _: call_error("STORE_UNAVAILABLE", why))
