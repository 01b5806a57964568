"""Reads which bytes of a file a request asks for (RFC 9110: Range, If-Range, If-None-Match)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from starlette.datastructures import Headers

from gateway.problems import ProblemError

_ONE_RANGE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*")


@dataclass(frozen=True)
class ByteRange:
    """`length` bytes from `start`."""

    start: int
    length: int

    def content_range(self, size: int) -> str:
        """Return the value of Content-Range."""
        return f"bytes {self.start}-{self.start + self.length - 1}/{size}"


def not_modified(headers: Headers, etag: str) -> bool:
    """Whether If-None-Match names the file as it is."""
    header = headers.get("if-none-match", "")
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return "*" in tags or etag in tags


def requested_range(headers: Headers, size: int, etag: str) -> ByteRange | None:
    """Return the range to send; None for the whole file.

    As HTTP asks, a Range that cannot be read, several ranges, and a range of another version of
    the file (If-Range) are answered with the whole file.

    Raises:
        ProblemError: The range is outside the file (416).
    """
    match = _ONE_RANGE.fullmatch(headers.get("range", ""))
    if match is None or match.group(0).strip() == "bytes=-":
        return None
    if_range = headers.get("if-range")
    if if_range is not None and if_range.strip() != etag:
        return None
    first, last = match.groups()
    if first == "":
        start, end = max(0, size - int(last)), size - 1
    else:
        start, end = int(first), min(int(last or size - 1), size - 1)
        if last and int(last) < start:
            return None
    if start >= size or end < start:
        raise ProblemError(
            f"the range {headers['range']!r} is outside the file's {size} bytes",
            reason="OFFSET_OUT_OF_RANGE",
            headers={"Content-Range": f"bytes */{size}", "ETag": etag, "Accept-Ranges": "bytes"},
        )
    return ByteRange(start, end - start + 1)
