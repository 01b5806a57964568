"""The files of a folder that a configuration chooses: by patterns, or by the part they belong to.

Standard library only, see `survey`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePath
from typing import NamedTuple

from app.training.data.errors import DataError
from app.training.data.splits import split_of

_NAMES_IN_A_MESSAGE = 10
_MAGIC = re.compile(r"[*?\[]")


class Choice(NamedTuple):
    """What `data.files` and `data.split` say; empty where names and contents decide."""

    files: tuple[str, ...] = ()
    split: str | None = None

    def among(self, paths: Sequence[Path], folder: Path) -> list[Path]:
        """Return the paths in `folder` that the patterns choose; all where there are none.

        Raises:
            DataError: For a pattern that matches nothing.
        """
        if not self.files:
            return list(paths)
        names = [path.relative_to(folder).as_posix() for path in paths]
        for pattern in self.files:
            if not any(_expression(pattern).fullmatch(name) for name in names):
                raise _no_match(pattern, names, folder)
        found = re.compile("|".join(_expression(pattern).pattern for pattern in self.files))
        return [path for path, name in zip(paths, names, strict=True) if found.fullmatch(name)]

    def takes(self, relative: PurePath) -> bool:
        """Whether a file belongs to the chosen split, by its path inside the folder."""
        split = (self.split or "train").lower()
        if split_of(relative) == split:
            return True
        word = re.compile(rf"(?:^|[-_.= ]){re.escape(split)}(?=[-_. ]|$)")
        return any(word.search(part.lower()) for part in relative.parts)


def require_no_choice(choice: Choice, path: Path) -> None:
    """Raise `DataError` where files are chosen and there is one alone."""
    for name, value in (("files", choice.files), ("split", choice.split)):
        if value:
            raise DataError(
                f"`data.{name}` chooses among the files of a folder, and {str(path)!r} is a file; "
                f"leave `data.{name}` out, or set `dataset_path` to the folder"
            )


def line_for(folder: Path, files: Sequence[Path]) -> str:
    """Return the line of a configuration that chooses these files: `data: {files: ["*.jsonl"]}`."""
    names = [file.relative_to(folder) for file in files]
    if len(names) == 1 and not _MAGIC.search(names[0].as_posix()):
        patterns = [names[0].as_posix()]
    else:
        patterns = sorted({_pattern_for(name) for name in names})
    return f"`data: {{files: {json.dumps(patterns, ensure_ascii=False)}}}`"


def _pattern_for(name: PurePath) -> str:
    ending = "".join(name.suffixes[-2:]) if len(name.suffixes) > 1 else name.suffix
    return ("**/" if len(name.parts) > 1 else "") + (f"*{ending}" if ending else name.name)


@lru_cache(maxsize=256)
def _expression(pattern: str) -> re.Pattern[str]:
    """Return a pattern's regular expression.

    `*` stays within a name, `**` goes over folders, and a folder means all that is in it.
    """
    *folders, last = [part for part in pattern.split("/") if part not in ("", ".")] or ["**"]
    texts = [r"(?:[^/]+/)*" if part == "**" else f"{_of_name(part)}/" for part in folders]
    return re.compile("".join(texts) + (".*" if last == "**" else f"{_of_name(last)}(?:/.*)?"))


def _of_name(part: str) -> str:
    """Return the expression of one name in a pattern."""
    wild = {"*": "[^/]*", "?": "[^/]"}
    pieces = re.split(r"(\*|\?|\[[^\]]+\])", part)
    return "".join(
        wild.get(piece) or (_of_set(piece) if _is_set(piece) else re.escape(piece))
        for piece in pieces
    )


def _is_set(piece: str) -> bool:
    return len(piece) > 2 and piece.startswith("[") and piece.endswith("]")


def _of_set(piece: str) -> str:
    inner = piece[1:-1].replace("\\", "\\\\").replace("[", "\\[")
    return f"[^/{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"


def _no_match(pattern: str, names: Sequence[str], folder: Path) -> DataError:
    more = len(names) - _NAMES_IN_A_MESSAGE
    found = ", ".join(map(repr, names[:_NAMES_IN_A_MESSAGE])) + (f" and {more} more" * (more > 0))
    return DataError(
        f"`data.files` has the pattern {pattern!r}, which matches none of the files in "
        f"{str(folder)!r} ({found or 'it is empty'}); `*` stays within one folder and `**` goes "
        "over all; correct the pattern"
    )
