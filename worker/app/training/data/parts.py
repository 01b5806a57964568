"""Parts of documents on their way from a file to the tokenizer, each with its place.

Named tuples, because they are made for every record and cost half of what a dataclass does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


_LONG: Final = 1 << 14


class Place(NamedTuple):
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

    def up_to(self, last: Place) -> str:
        """Return the text for what lies between this place and `last`, both included."""
        if self == last:
            return str(self)
        if (self.path, self.unit) != (last.path, last.unit):
            return f"{self} to {last}"
        return f"{self.unit}s {self.number} to {last.number} of {str(self.path)!r}"

    def after(self, text: str) -> Place:
        """Return the place behind `text`, which begins here. A record has one place alone."""
        return self._replace(number=self.number + _line_feeds(text)) if self.runs_on else self


def _line_feeds(text: str) -> int:
    """Count the line feeds; numpy takes a third of the time where there are many."""
    if len(text) < _LONG:
        return text.count("\n")
    import numpy as np

    data = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
    return int(np.count_nonzero(data == ord("\n")))


class Part(NamedTuple):
    """A part of a document, or the whole of it."""

    content: str | npt.NDArray[np.int64]
    """Text, or ids."""
    place: Place


class DocumentEnd:
    """Marks the end of a document among its parts."""


DOCUMENT_END: Final = DocumentEnd()

Piece = Part | DocumentEnd
