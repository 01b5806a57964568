# Generated from _aio_presigned.py by client/generate_sync.py; run: make sync
"""Fetches a file at an address in a bucket that the service has signed, past the service."""

from __future__ import annotations

from collections.abc import Iterator

import httpx

from training_engine import _http
from training_engine._transport import BucketAwayError
from training_engine.errors import UnavailableError


def fetch(url: str, offset: int) -> Iterator[tuple[int, bytes]]:
    """Yield the file from `offset` on, as pieces with the offset of each.

    An httpx client would write the address, which is a secret, to the log; its transport does not.

    Raises:
        BucketAwayError: The bucket does not answer, or refuses.
        UnavailableError: The connection broke.
    """
    host = httpx.URL(url).host
    came = False
    try:
        with _http.make_transport(httpx.HTTPTransport, url) as transport:
            response = transport.handle_request(_http.presigned_request(url, offset))
            if not response.is_success:
                raise BucketAwayError(f"{host} answered {response.status_code} to a signed address")
            position = _http.first_byte(response)
            for data in response.iter_bytes():
                came = True
                yield position, data
                position += len(data)
    except httpx.HTTPError as error:
        kind = UnavailableError if came else BucketAwayError
        raise kind(f"{host}: {error or type(error).__name__}") from None
