"""How an asyncio client uploads a file over REST: through a blocking client, in a thread.

asyncio drops a connection that it cannot write to any more, and with it the answer of a gateway
that has refused the file early.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from training_engine import _http, _rest_upload
from training_engine._call import Call
from training_engine.records import Plain


async def upload(
    client: httpx.AsyncClient, url: str, call: Call, path: Path, size_bytes: int
) -> Plain:
    """Send a file to the gateway at `url`, as `client` would, and return the answer."""
    blocking = httpx.Client(
        base_url=client.base_url,
        headers=client.headers,
        trust_env=client.trust_env,
        transport=_http.make_transport(httpx.HTTPTransport, url),
    )
    try:
        return await asyncio.to_thread(_rest_upload.upload, blocking, url, call, path, size_bytes)
    finally:
        blocking.close()  # ends the thread too, where its task was cancelled
