"""Shards of WebDataset: a tar of files, of which those with one key in a row are one sample.

`000.txt`, or the object in `000.json`, is the sample `000`; what else there is of it, such as an
image, is left alone. Standard library only: a control plane asks it too.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, Self

from app.training.data.compression import open_plain
from app.training.data.errors import DataError
from app.training.data.json_lines import json_record
from app.training.data.parts import Place
from app.training.data.text_files import CONVERT, encoding_of

_KINDS: Final = ("txt", "text", "json")
_LONGEST_MEMBER: Final = 1 << 28


def has_samples(path: Path) -> bool:
    """Whether an archive has a file of text or JSON.

    Raises:
        DataError: For a damaged one.
    """
    return any(True for _ in _members(path))


def tar_records(path: Path) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Yield the samples of a shard: the fields of the JSON, and `text` for what is in a `.txt`.

    Raises:
        DataError: For an archive that is damaged or cut off.
    """
    number, current = 0, None
    record: dict[str, Any] = {}
    for key, kind, content in _members(path):
        if key != current and current is not None:
            yield Place(path, "sample", number), record
        if key != current:
            number, current, record = number + 1, key, {}
        place = Place(path, "sample", number)
        if kind == "json":
            record = {**record, **json_record(content, place)}
        else:
            record.setdefault("text", _decoded(content, place))
    if current is not None:
        yield Place(path, "sample", number), record


def _members(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """Yield the key, the kind and the content of each file of text or JSON."""
    with open_plain(path) as file:
        try:
            with tarfile.open(fileobj=file, mode="r|", tarinfo=_Header) as archive:
                for member in archive:
                    key, _, kind = _split(member.name)
                    if member.isreg() and kind in _KINDS:
                        yield key, kind, _content(archive.extractfile(member), member, path)
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


def _content(file: IO[bytes] | None, member: tarfile.TarInfo, path: Path) -> bytes:
    if member.size > _LONGEST_MEMBER:
        raise DataError(
            f"{member.name!r} in {str(path)!r} has {member.size:,} bytes; a file of a sample must "
            f"have at most {_LONGEST_MEMBER:,}; unpack the archive and train on the folder"
        )
    content = b"" if file is None else file.read()
    if len(content) < member.size:
        raise tarfile.ReadError("unexpected end of data")
    return content


def _decoded(content: bytes, place: Place) -> str:
    encoding, mark = encoding_of(content[:4096])
    try:
        return content[mark:].decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{place} is not text ({error.reason}); {CONVERT}") from error
