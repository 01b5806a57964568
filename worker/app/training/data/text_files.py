"""Text files as blocks or lines of text in UTF-8, whatever Unicode encoding they are in.

UTF-8 and UTF-16 are read, with or without a mark; the mark is dropped. Standard library only: a
control plane reads heads too.
"""

from __future__ import annotations

import codecs
import contextlib
import io
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Final

from app.training import progress
from app.training.data.compression import compression_of, open_plain
from app.training.data.errors import DataError
from app.training.reading import open_permitted

BLOCK_BYTES: Final = 1 << 20
_HEAD_BYTES: Final = 4096
_MARKS: Final = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_MISREAD_MARKS: Final = ("\xff\xfe".encode(), "\xfe\xff".encode())
"""What becomes of the marks of UTF-16 where it was converted as if it were Latin-1."""
_SHORTEST_UNMARKED: Final = 8  # bytes; less says nothing of its encoding
_FEWEST_ZEROS: Final = 0.4
"""Share of zeros among the high bytes from which on a text without a mark is UTF-16."""

CONVERT: Final = (
    "text must be UTF-8 or UTF-16; find out its encoding and convert it, from Windows for example "
    "with `iconv -f cp1252 -t utf-8`"
)


def encoding_of(head: bytes) -> tuple[str, int]:
    """Return the encoding of a text that begins so, and the length of its mark."""
    for mark, name in _MARKS.items():
        if head.startswith(mark):
            return name, len(mark)
    if head.startswith(_MISREAD_MARKS) or len(head) < _SHORTEST_UNMARKED:
        return "utf-8", 0
    low, high = head[0::2], head[1::2]
    if high and 0 not in low and high.count(0) >= _FEWEST_ZEROS * len(high):
        return "utf-16-le", 0
    if high and 0 not in high and low.count(0) >= _FEWEST_ZEROS * len(low):
        return "utf-16-be", 0
    return "utf-8", 0


def has_other_encoding(path: Path) -> bool:
    """Whether a text file is anything but UTF-8 without a mark, as it is on disk."""
    with open_permitted(path) as file:
        head = file.read(_HEAD_BYTES)
    return compression_of(head) is not None or encoding_of(head) != ("utf-8", 0)


def decoded_blocks(path: Path) -> Generator[str, None, None]:
    """Yield the text of a file.

    Raises:
        DataError: At the first byte that is neither UTF-8 nor UTF-16, and for a NUL.
    """
    with open_plain(path) as file:
        encoding, read = _skip_mark(file, path)
        decoder = codecs.getincrementaldecoder(encoding)()
        while True:
            block = file.read(BLOCK_BYTES)
            pending = len(decoder.getstate()[0])
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                raise not_text(path, error, read - pending) from error
            require_no_nul(text, repr(str(path)))
            if text:
                yield text
            if not block:
                return
            read += len(block)
            progress.advanced(len(block))


@contextlib.contextmanager
def line_reader(path: Path) -> Iterator[Callable[[int], bytes]]:
    """Open a file and give a function that reads its next line in UTF-8, at most so many bytes.

    It gives empty bytes at the end of the file.
    """
    with open_plain(path) as file:
        encoding, _ = _skip_mark(file, path)
        if encoding == "utf-8":
            yield lambda size: _counted(file.readline(size))
            return
        try:
            with io.TextIOWrapper(file, encoding, newline="\n") as lines:
                yield lambda size: _counted(lines.readline(size).encode())
        except UnicodeDecodeError as error:
            raise not_text(path, error) from error


def beginning(path: Path) -> str:
    """Return the first characters of a file that are no white space; a few bytes are looked at."""
    with open_plain(path) as file:
        head = file.peek(_HEAD_BYTES)[:_HEAD_BYTES]
    encoding, mark = encoding_of(head)
    return head[mark:].decode(encoding, "ignore").lstrip()


def _counted(line: bytes) -> bytes:
    progress.advanced(len(line))
    return line


def not_text(path: Path, error: UnicodeDecodeError, before: int = 0) -> DataError:
    """Return the error for a byte that does not belong there, `before` bytes into the file."""
    encoding = "UTF-16" if error.encoding.lower().startswith("utf-16") else "UTF-8"
    found = f"byte {before + error.start} is 0x{error.object[error.start]:02x}"
    return DataError(f"{str(path)!r} is not {encoding}: {found}; {CONVERT}")


def _skip_mark(file: io.BufferedReader, path: Path) -> tuple[str, int]:
    """Return the encoding of an open file and its mark's length; the mark is read."""
    encoding, mark = encoding_of(file.peek(_HEAD_BYTES)[:_HEAD_BYTES])
    if encoding.startswith("utf-32"):
        raise DataError(
            f"{str(path)!r} is UTF-32; text must be UTF-8 or UTF-16; convert it with "
            "`iconv -f utf-32 -t utf-8`"
        )
    return encoding, len(file.read(mark))


def require_no_nul(text: str, place: object) -> None:
    """Refuse text with a NUL; the message names the place.

    Raises:
        DataError: It has one.
    """
    if "\0" in text:
        raise DataError(
            f"{place} holds a NUL character; text has none, and binary files do; convert "
            "the file to text, or remove the character with `tr -d '\\000'`"
        )
