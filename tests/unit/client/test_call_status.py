"""The server's own status reaches the client of a stream that was refused midway."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc

from training_engine.call_status import FirstStatus

_PIECE = bytes(256 << 10)
_CALLS = 300


async def test_a_stream_refused_midway_ends_with_the_servers_status_every_time() -> None:
    server = grpc.aio.server()
    handler: Any = grpc.stream_unary_rpc_method_handler(_refuse_large)
    service = grpc.method_handlers_generic_handler("test.S", {"U": handler})
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            upload: Any = channel.stream_unary("/test.S/U")
            seen = Counter([await _ending(upload(_pieces(8))) for _ in range(_CALLS)])
            assert await FirstStatus(upload(_pieces(1))).answer() == b"stored"
    finally:
        await server.stop(0)
    refusal = (grpc.StatusCode.RESOURCE_EXHAUSTED, "too large", "why")
    assert seen == {refusal: _CALLS}


async def _refuse_large(pieces: AsyncIterator[bytes], context: Any) -> bytes:
    received = 0
    async for piece in pieces:
        received += len(piece)
        if received > 2 * len(_PIECE):
            context.set_trailing_metadata((("reason", "why"),))
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too large")
    return b"stored"


async def _pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield _PIECE


async def _ending(call: Any) -> tuple[grpc.StatusCode, str | None, str]:
    try:
        await FirstStatus(call).answer()
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details(), str(error.trailing_metadata().get("reason"))
    raise AssertionError("the server took a stream that it should have refused")
