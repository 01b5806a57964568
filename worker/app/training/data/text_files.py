"""Text files as blocks of decoded text. Standard library only: a control plane reads heads too."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from app.training import progress
from app.training.data.errors import DataError
from app.training.reading import open_permitted

BLOCK_BYTES = 1 << 20


def decoded_blocks(path: Path) -> Iterator[str]:
    """Yield the text of a file. Raises `DataError` at the first byte that is no UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    read = 0
    with open_permitted(path) as file:
        while True:
            block = file.read(BLOCK_BYTES)
            pending = len(decoder.getstate()[0])
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{str(path)!r} is not UTF-8: byte {read - pending + error.start} is "
                    f"0x{error.object[error.start]:02x}; text must be UTF-8; convert it with "
                    "`iconv -f latin1 -t utf-8`"
                ) from error
            if text:
                yield text
            if not block:
                return
            read += len(block)
            progress.advanced(len(block))
