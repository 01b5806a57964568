"""How often a client may ping: what is allowed holds on the wire, in a twentieth of the time."""

from __future__ import annotations

import asyncio
import struct

import pytest

from control_plane import server
from control_plane.server import ControlPlane
from control_plane.settings import ControlPlaneSettings
from control_plane.state import ServiceState
from training_engine._grpc import _CHANNEL_OPTIONS

SHORTEST = "grpc.http2.min_ping_interval_without_data_ms"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, GOAWAY, ACK = 4, 6, 7, 1


def frame(kind: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """An HTTP/2 frame of the connection itself."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + bytes(4) + payload


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    head = await reader.readexactly(9)
    payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
    return head[3], head[4], payload


async def answer_to_pings(port: int, count: int, seconds_apart: float) -> str:
    """What the server says to so many pings on a connection without a call."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(PREFACE + frame(SETTINGS))
    answered = 0
    try:
        async with asyncio.timeout(20):
            for number in range(count):
                await asyncio.sleep(seconds_apart if number else 0)
                writer.write(frame(PING, struct.pack(">Q", number)))
            while answered < count:
                kind, flags, payload = await read_frame(reader)
                if kind == GOAWAY:
                    return payload[8:].decode()
                answered += kind == PING and flags == ACK
        return "answered"
    finally:
        writer.close()


async def test_a_client_may_ping_as_often_as_is_allowed_and_no_oftener(
    plane_settings: ControlPlaneSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = dict(server.OPTIONS)
    options[SHORTEST] //= 20
    monkeypatch.setattr(server, "OPTIONS", list(options.items()))
    plane = ControlPlane(ServiceState(plane_settings), [])
    await plane.start()
    try:
        allowed = 1.3 * options[SHORTEST] / 1000
        assert await answer_to_pings(plane.port, 6, allowed) == "answered"
        assert await answer_to_pings(plane.port, 6, 0.01) == "too_many_pings"
    finally:
        await plane.stop(0.5)


def test_pings_of_our_clients_and_of_the_quickest_others_are_allowed() -> None:
    """grpc-go raises every keepalive to 10 s; timers of both sides run early by some."""
    shortest = dict(server.OPTIONS)[SHORTEST]
    assert 2 * shortest <= 10_000
    assert 2 * shortest <= dict(_CHANNEL_OPTIONS)["grpc.keepalive_time_ms"]
