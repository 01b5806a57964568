"""Shards of WebDataset: a tar of files, of which those with one key in a row are one sample.

`000.txt`, or the object in `000.json`, is the sample `000`; what else there is of it, such as an
image, is left alone. A control plane asks it too.
"""

from __future__ import annotations

import codecs
import contextlib
import itertools
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, Self

from app.training.data.compression import open_plain
from app.training.data.errors import DataError
from app.training.data.json_lines import Record, json_record
from app.training.data.json_text import LONG_CHARACTERS, JsonText
from app.training.data.long_records import LongRecord
from app.training.data.parts import Place
from app.training.data.text_files import BLOCK_BYTES, CONVERT, encoding_of, require_no_nul

_KINDS: Final = ("txt", "text", "json")
_LONGEST_MEMBER: Final = 1 << 28
_HEAD_BYTES: Final = 4096

_Content = bytes | IO[bytes]
"""Of a member; of a long one a file without a name."""


def has_samples(path: Path) -> bool:
    """Whether an archive has a file of text or JSON.

    Raises:
        DataError: For a damaged one.
    """
    with contextlib.ExitStack() as copies:
        return any(True for _ in _members(path, copies))


def tar_records(path: Path) -> Iterator[tuple[Place, Record]]:
    """Yield the samples of a shard: the fields of the JSON, and `text` for what is in a `.txt`.

    A sample of one long file is a long record.

    Raises:
        DataError: For an archive that is damaged or cut off.
    """
    number, current = 0, None
    files: list[tuple[str, _Content]] = []
    with contextlib.ExitStack() as copies:
        for key, kind, content in _members(path, copies):
            if files and key != current:
                yield _sample(files, Place(path, "sample", number))
                _close(files)
                files.clear()
            if not files:
                number, current = number + 1, key
            files.append((kind, content))
        if files:
            yield _sample(files, Place(path, "sample", number))


def _close(files: list[tuple[str, _Content]]) -> None:
    for _, content in files:
        if not isinstance(content, bytes):
            content.close()


def _sample(files: list[tuple[str, _Content]], place: Place) -> tuple[Place, Record]:
    kind, content = files[0]
    if len(files) == 1 and not isinstance(content, bytes):
        return place, _long_record(kind, content, place)
    record: dict[str, Any] = {}
    for kind, content in files:
        whole = content if isinstance(content, bytes) else content.read()
        if kind == "json":
            record = {**record, **json_record(whole, place)}
        else:
            record.setdefault("text", "".join(_decoded(iter([whole]), place)))
    return place, record


def _long_record(kind: str, content: IO[bytes], place: Place) -> LongRecord:
    blocks = itertools.chain(
        [content.read(_HEAD_BYTES)], iter(partial(content.read, BLOCK_BYTES), b"")
    )
    text = _decoded(blocks, place, only_utf8=kind == "json")
    return LongRecord(JsonText(text if kind == "json" else _as_json(text)), place, ends_line=True)


def _as_json(text: Iterator[str]) -> Iterator[str]:
    """Yield text as the field of a record, so that one reader is enough for both."""
    yield '{"text": "'
    for block in text:
        yield json.dumps(block, ensure_ascii=False)[1:-1]
    yield '"}'


def _members(path: Path, copies: contextlib.ExitStack) -> Iterator[tuple[str, str, _Content]]:
    """Yield the key, the kind and the content of each file of text or JSON."""
    with open_plain(path) as file:
        try:
            with tarfile.open(fileobj=file, mode="r|", tarinfo=_Header) as archive:
                for member in archive:
                    key, _, kind = _split(member.name)
                    if member.isreg() and kind in _KINDS:
                        content = archive.extractfile(member)
                        yield key, kind, _content(content, member, path, copies)
                _require_end(archive)
        except (tarfile.TarError, EOFError) as error:
            raise DataError(
                f"{str(path)!r} cannot be read as a tar archive ({error}); it must be one whole "
                "archive; copy or write it again"
            ) from error


class _Header(tarfile.TarInfo):
    """A header that is damaged or missing is an error: `tarfile` takes it for the archive's end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """Return the next header."""
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise  # the empty blocks at the end
        except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]
            reason = "it ends without the empty blocks that end an archive,"
        except tarfile.HeaderError as error:
            reason = str(error)
        raise tarfile.ReadError(f"{reason} at byte {archive.offset}")


def _require_end(archive: tarfile.TarFile) -> None:
    """Read to the end, where a compressed archive has its checksum."""
    while block := archive.fileobj.read(1 << 16):
        if block.strip(b"\0"):
            raise tarfile.ReadError("something follows its end, perhaps another archive")


def _split(name: str) -> tuple[str, str, str]:
    """Return a member's key, up to the first dot of its name, and its kind, behind the last."""
    folder, slash, last = name.rpartition("/")
    key, dot, extensions = last.partition(".")
    return f"{folder}{slash}{key}", dot, extensions.rpartition(".")[2].lower()


def _content(
    file: IO[bytes] | None, member: tarfile.TarInfo, path: Path, copies: contextlib.ExitStack
) -> _Content:
    if member.size > _LONGEST_MEMBER:
        raise DataError(
            f"{member.name!r} in {str(path)!r} has {member.size:,} bytes; a file of a sample must "
            f"have at most {_LONGEST_MEMBER:,}; unpack the archive and train on the folder"
        )
    if file is None or member.size <= LONG_CHARACTERS:
        content = b"" if file is None else file.read()
        _require_all(len(content), member.size)
        return content
    from app.training.data.cache import cache_directory  # it needs NumPy

    # Copied to the disk, since the next member of a stream can be read only behind this one.
    copy = copies.enter_context(tempfile.TemporaryFile(dir=cache_directory(path)))  # noqa: SIM115
    shutil.copyfileobj(file, copy, BLOCK_BYTES)
    _require_all(copy.tell(), member.size)
    copy.seek(0)
    return copy


def _require_all(read: int, size: int) -> None:
    if read < size:
        raise tarfile.ReadError("unexpected end of data")


def _decoded(content: Iterator[bytes], place: Place, *, only_utf8: bool = False) -> Iterator[str]:
    head = next(content, b"")
    encoding, mark = ("utf-8", 0) if only_utf8 else encoding_of(head[:_HEAD_BYTES])
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for block in itertools.chain([head[mark:]], content):
            text = decoder.decode(block)
            if not only_utf8:
                require_no_nul(text, place)
            if text:
                yield text
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise DataError(f"{place} is not text ({error.reason}); {CONVERT}") from error
