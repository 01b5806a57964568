"""Parts of documents on their way from a file to the tokenizer, each with its place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the data something is; its text goes into messages."""

    path: Path
    unit: str
    """"line" or "row"."""
    number: int
    """Counted from 1."""
    runs_on: bool = False
    """Whether what begins here is plain text that goes on over further lines of the file."""

    def __str__(self) -> str:
        return f"{self.unit} {self.number} of {str(self.path)!r}"

    def after(self, text: str) -> Place:
        """The place behind `text`, which begins here. A record has one place alone."""
        return replace(self, number=self.number + text.count("\n")) if self.runs_on else self


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a document, or the whole of it."""

    content: str | npt.NDArray[np.int64]
    """Text, or ids."""
    place: Place


class DocumentEnd:
    """Marks the end of a document among its parts."""


DOCUMENT_END: Final = DocumentEnd()

Piece = Part | DocumentEnd
