"""Exits 0 where an HTTP server answers 200: `python -P probe_http.py URL`."""

from __future__ import annotations

import sys
import urllib.request

_SECONDS = 3.0
# A probe asks its own container; HTTP_PROXY is for the world outside.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def answers(url: str) -> bool:
    """Whether `url` answers 200 within three seconds."""
    try:
        with _DIRECT.open(url, timeout=_SECONDS) as answer:
            return bool(answer.status == 200)
    except OSError:  # refused, timed out, or an error status: urllib's errors are OSErrors
        return False


if __name__ == "__main__":
    sys.exit(0 if answers(sys.argv[1]) else 1)
