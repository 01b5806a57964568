"""Fetches a file at an address in a bucket that the service has signed, past the service."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx

from training_engine import _http
from training_engine._aio_transport import BucketAwayError
from training_engine.errors import UnavailableError


async def fetch(url: str, offset: int) -> AsyncIterator[tuple[int, bytes]]:
    """Yield the file from `offset` on, as pieces with the offset of each.

    An httpx client would write the address, which is a secret, to the log; its transport does not.

    Raises:
        BucketAwayError: The bucket does not answer, or refuses.
        UnavailableError: The connection broke.
    """
    host = httpx.URL(url).host
    came = False
    try:
        async with _http.make_transport(httpx.AsyncHTTPTransport, url) as transport:
            response = await transport.handle_async_request(_http.presigned_request(url, offset))
            if not response.is_success:
                raise BucketAwayError(f"{host} answered {response.status_code} to a signed address")
            position = _http.first_byte(response)
            async for data in response.aiter_bytes():
                came = True
                yield position, data
                position += len(data)
    except httpx.HTTPError as error:
        kind = UnavailableError if came else BucketAwayError
        raise kind(f"{host}: {error or type(error).__name__}") from None
