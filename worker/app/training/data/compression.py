"""Compressed files of text and records, recognized by their first bytes and read as a stream.

Several members or frames in one file are read to the last. Standard library only, but for zstd,
which pyarrow reads.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from app.training import progress
from app.training.data.errors import DataError
from app.training.data.formats import COMPRESSED
from app.training.reading import open_permitted

_BEGINNINGS: Final = {
    b"\x1f\x8b\x08": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bzip2",
}
_BZIP2_BLOCK: Final = b"1AY&SY"
_LONGEST_BEGINNING: Final = 10


def compression_of(start: bytes) -> str | None:
    """Return the name of the compression of a file that begins so."""
    for beginning, name in _BEGINNINGS.items():
        if start.startswith(beginning):
            return name if name != "bzip2" or start[4:10] == _BZIP2_BLOCK else None
    return None


def is_compressed(path: Path) -> bool:
    """Whether a file is compressed, by its first bytes."""
    with open_permitted(path) as file:
        return compression_of(file.read(_LONGEST_BEGINNING)) is not None


@contextlib.contextmanager
def open_plain(path: Path) -> Iterator[io.BufferedReader]:
    """Open a file for reading what is in it, decompressed where it is compressed.

    Raises:
        DataError: For a compressed file that is damaged or cut off.
    """
    with open_permitted(path) as file:
        buffered = cast(io.BufferedReader, file)
        compression = compression_of(buffered.peek(_LONGEST_BEGINNING))
        if compression is None:
            _require_no_compressed_name(path)
            with progress.reading_file(_position(buffered)):
                yield buffered
            return
        try:
            with (
                progress.reading_file(_position(buffered)),
                _decompressing(buffered, compression) as plain,
            ):
                yield plain
        except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            if getattr(error, "errno", None) is not None:
                raise
            raise DataError(
                f"{str(path)!r} cannot be decompressed ({error}); it must be one whole "
                f"{compression} file; copy or write it again"
            ) from error


def _position(file: io.BufferedReader) -> Callable[[], int]:
    """Return what tells how much of a file was read, on the disk; all of it once it is closed."""
    size = os.fstat(file.fileno()).st_size
    return lambda: size if file.closed else file.tell()


def _decompressing(file: BinaryIO, compression: str) -> io.BufferedReader:
    match compression:
        case "gzip":
            return io.BufferedReader(gzip.GzipFile(fileobj=file, mode="rb"))
        case "xz":
            return io.BufferedReader(_Members(file, lzma.LZMADecompressor))
        case "bzip2":
            return io.BufferedReader(_Members(file, bz2.BZ2Decompressor))
    import pyarrow as pa

    return io.BufferedReader(pa.CompressedInputStream(file, "zstd"))


class _Members(io.RawIOBase):
    """The members of a file, one after the other.

    The readers of the standard library end without an error at a member that does not begin as
    one, so that a damaged one would take the rest of the data with it.
    """

    def __init__(
        self,
        file: BinaryIO,
        decompressor: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor],
    ) -> None:
        self._file = file
        self._new = decompressor
        self._member = decompressor()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        plain = b""
        while not plain:
            if self._member.eof:
                rest = self._behind_padding(self._member.unused_data)
                if not rest:
                    return 0
                self._member = self._new()
            else:
                rest = self._next_block() if self._member.needs_input else b""
                if not rest and self._member.needs_input:
                    raise EOFError("it ends before its end")
            plain = self._member.decompress(rest, len(buffer))
        buffer[: len(plain)] = plain
        return len(plain)

    def _behind_padding(self, rest: bytes) -> bytes:
        """Return the next bytes that are not zeros, which may pad a member; empty at the end."""
        while not (start := rest.lstrip(b"\0")) and (rest := self._next_block()):
            pass
        return start

    def _next_block(self) -> bytes:
        return self._file.read(io.DEFAULT_BUFFER_SIZE)


def _require_no_compressed_name(path: Path) -> None:
    if path.suffix.lower() in COMPRESSED and path.stat().st_size:
        raise DataError(
            f"{str(path)!r} is named {path.suffix!r} and does not begin as such a file does; copy "
            "it again, or rename it"
        )
