"""How a blocking client uploads a file over REST."""

from __future__ import annotations

from pathlib import Path

import httpx

from training_engine import _http
from training_engine._call import Call
from training_engine._files import chunks_of
from training_engine.records import Plain


def upload(client: httpx.Client, url: str, call: Call, path: Path, size_bytes: int) -> Plain:
    """Send a file to the gateway at `url` and return the answer."""
    settings = _http.upload_settings(call, size_bytes)
    try:
        response = client.request(**settings, content=chunks_of(path))
    except httpx.HTTPError as error:
        raise _http.failure(error, url) from error
    return _http.answer(response)
