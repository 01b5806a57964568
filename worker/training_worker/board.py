"""Where a trainer shows its parent what it does: a page of shared memory, without system calls.

The parent must see a stalled trainer even while Redis is away, and the trainer must never wait
for a reader, so this is neither Redis nor a pipe.
"""

from __future__ import annotations

import mmap
import struct
from typing import NamedTuple

from job_store.records import UNCOUNTED, Phase, PhaseProgress

_LAYOUT = struct.Struct("=qqqqqd")
_COUNTER = struct.Struct("=q")
_PHASES = tuple(Phase)
_ENCODING_AT, _UNSAVED_AT, _ELSEWHERE_AT = 64, 1152, 2240
_TEXT_BYTES = 1024


class TrainerStatus(NamedTuple):
    """What a trainer does."""

    step: int
    """The last executed step."""
    phase: Phase
    tokens_seen: int
    done: PhaseProgress
    """How far it is within the phase."""


class Board:
    """Made before the fork; written by the trainer, read by its parent and its publisher."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)
        self._pulses = 0
        self.write(0, Phase.STARTING, 0)
        self.show_failed_save(None)

    def write(
        self, step: int, phase: Phase, tokens_seen: int, done: PhaseProgress = UNCOUNTED
    ) -> None:
        """Show the last executed step, what happens now and how far, and the tokens trained on."""
        _LAYOUT.pack_into(self._page, 0, step, _PHASES.index(phase), tokens_seen, *done)

    def read(self) -> TrainerStatus:
        """Return what was last written."""
        step, phase, tokens_seen, *done = _LAYOUT.unpack_from(self._page)
        return TrainerStatus(step, _PHASES[phase], tokens_seen, PhaseProgress(*done))

    def pulse(self) -> None:
        """Show that work goes on although no step is made: data is read, a file verified."""
        self._pulses += 1
        _COUNTER.pack_into(self._page, _LAYOUT.size, self._pulses)

    def show_work_elsewhere(self, count: int) -> None:
        """Show how often the trainer's processes on other machines gave a sign of life.

        Written by the parent: the trainer itself waits for them meanwhile.
        """
        _COUNTER.pack_into(self._page, _ELSEWHERE_AT, count)

    def show_failed_save(self, step: int | None, why: str = "") -> None:
        """Show that the save of this step failed; None once a save has succeeded.

        Empty `why` means that it found no room.
        """
        self._write_text(_UNSAVED_AT, why)
        value = -1 if step is None else step
        _COUNTER.pack_into(self._page, _LAYOUT.size + _COUNTER.size, value)

    @property
    def failed_save(self) -> int | None:
        """Step of the first save since the last good one that failed."""
        (step,) = _COUNTER.unpack_from(self._page, _LAYOUT.size + _COUNTER.size)
        return None if step < 0 else int(step)

    def show_encoding(self, place: str) -> None:
        """Show which text the tokenizer works on; "" once it is done.

        Each text has the whole stall timeout for itself, so a change is a sign of life.
        """
        self._write_text(_ENCODING_AT, place)
        self.pulse()

    @property
    def encoding(self) -> str:
        """The place of the text that the tokenizer works on; "" while it works on none."""
        return self._read_text(_ENCODING_AT)

    @property
    def why_unsaved(self) -> str:
        """Why the save of `failed_save` failed; "" where it found no room."""
        return self._read_text(_UNSAVED_AT)

    @property
    def pulses(self) -> int:
        """How many signs of life there were."""
        (here,) = _COUNTER.unpack_from(self._page, _LAYOUT.size)
        (elsewhere,) = _COUNTER.unpack_from(self._page, _ELSEWHERE_AT)
        return int(here + elsewhere)

    def close(self) -> None:
        """Free the page."""
        self._page.close()

    def _write_text(self, at: int, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace")[:_TEXT_BYTES]
        first = at + _COUNTER.size
        # The length is written last, and what announces the text after it, so that it is whole.
        self._page[first : first + len(data)] = data
        _COUNTER.pack_into(self._page, at, len(data))

    def _read_text(self, at: int) -> str:
        (length,) = _COUNTER.unpack_from(self._page, at)
        first = at + _COUNTER.size
        return self._page[first : first + int(length)].decode("utf-8", errors="replace")
