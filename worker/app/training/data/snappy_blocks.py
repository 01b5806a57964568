"""Snappy in pieces. pyarrow decompresses it as a whole only.

Encoders compress blocks of 64 KiB, and no copy refers back over the beginning of its block. So a
stream can be cut there, and each part is a stream of its own. A stream of another make is
decompressed as a whole: https://github.com/google/snappy/blob/main/format_description.txt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

PART_BYTES: Final = 1 << 20
"""Of what is decompressed at once; a multiple of an encoder's block."""
_LONGEST_PART: Final = PART_BYTES + PART_BYTES // 6 + 32
"""Bytes that an encoder makes of so many at most."""


def _step(tag: int) -> int:
    """Return the length of an element with this tag; 0 where its next bytes tell."""
    if tag & 3:
        return (0, 2, 3, 5)[tag & 3]
    return 2 + (tag >> 2) if tag >> 2 < 60 else 0


def _made(tag: int) -> int:
    """Return the bytes that such an element stands for."""
    return 4 + (tag >> 2 & 7) if tag & 3 == 1 else 1 + (tag >> 2)


_STEPS: Final = tuple(map(_step, range(256)))
_MADE: Final = tuple(map(_made, range(256)))


def decompressed_snappy(stream: Any, size: int, whole: Callable[[], Any]) -> Iterator[Any]:
    """Yield what is in a stream, in parts where it can be cut.

    Args:
        stream: has `read`.
        size: of what is in it.
        whole: gives the stream's bytes at once.

    Raises:
        pyarrow.ArrowException: It is damaged.
    """
    import pyarrow as pa

    made = 0
    try:
        for data, part in _parts(stream):
            yield pa.decompress(data, part, "snappy")
            made += part
    except (IndexError, ValueError, OSError):
        yield pa.decompress(whole(), size, "snappy").slice(made)


def _parts(stream: Any) -> Iterator[tuple[bytes, int]]:
    """Yield streams with the sizes of what they hold; raises `ValueError` where there is no cut."""
    data = stream.read(_LONGEST_PART)
    left, at = varint(data, 0)
    while left:
        if len(data) - at < _LONGEST_PART:
            data, at = data[at:] + stream.read(_LONGEST_PART), 0
        size = min(PART_BYTES, left)
        end = _end(data, at, size)
        yield _as_varint(size) + data[at:end], size
        left, at = left - size, end
    if at != len(data):
        raise ValueError("bytes behind the end")


def _end(data: bytes, at: int, size: int) -> int:
    """Return where the elements end that stand for so many bytes."""
    steps, made_by, made = _STEPS, _MADE, 0
    while made < size:
        tag = data[at]
        if step := steps[tag]:
            at += step
            made += made_by[tag]
        else:
            width = (tag >> 2) - 59
            length = int.from_bytes(data[at + 1 : at + 1 + width], "little") + 1
            at += 1 + width + length
            made += length
    if made > size or at > len(data):
        raise ValueError("no element ends here")
    return at


def varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """Return the number of up to 32 bits that begins at a place, and where it ends.

    Raises:
        IndexError, ValueError: There is none.
    """
    value = 0
    for i in range(5):
        value |= (data[at + i] & 127) << 7 * i
        if data[at + i] < 128:
            return value, at + i + 1
    raise ValueError("a number of more than 32 bits")


def _as_varint(value: int) -> bytes:
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    return bytes([*made, value])
