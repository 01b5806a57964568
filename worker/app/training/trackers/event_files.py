"""The event files that TensorBoard reads, in the folder `tensorboard`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.training.trackers.protocol import Line, TrackedRun
from app.training.trackers.requirements import require_folder, require_package

FOLDER = "tensorboard"
_SHOWN_SECONDS = 5.0
"""TensorBoard looks as often, and each flush waits for the disk."""


class EventFiles:
    """Writes one event file for each process that trained the run.

    A file that continues a run says from which step on earlier ones do not count any more
    (`purge_step` in TensorBoard's words).
    """

    name = "tensorboard"

    def __init__(self) -> None:
        self._writer: Any = None
        self._flushed_at = 0.0

    def require(self, run: TrackedRun) -> None:
        require_package("trackers", self.name, "tensorboardX", "tensorboard")
        require_folder(run.folder / FOLDER, self.name)

    def start(self, run: TrackedRun) -> None:
        # Its SummaryWriter has a second queue and thread, and forks badly; its records are enough.
        from tensorboardX import RecordWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        folder = run.folder / FOLDER
        self._writer = RecordWriter(str(folder / _next_name(folder)))
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        begun = SessionLog(status=SessionLog.START)
        self._write(Event(wall_time=time.time(), step=run.step + 1, session_log=begun))
        self.flush()

    def log(self, lines: Sequence[Line]) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        for line in lines:
            values = [
                Summary.Value(tag=name, simple_value=value) for name, value in line.metrics.items()
            ]
            self._write(Event(wall_time=line.time, step=line.step, summary=Summary(value=values)))
        if time.monotonic() - self._flushed_at > _SHOWN_SECONDS:
            self.flush()

    def flush(self) -> None:
        self._flushed_at = time.monotonic()
        self._writer.flush()

    def finish(self) -> None:
        self.flush()
        self._writer.close()

    def _write(self, event: Any) -> None:
        self._writer.write(event.SerializeToString())


def _next_name(folder: Path) -> str:
    """Return a name that sorts behind those of earlier files: TensorBoard reads them in order."""
    stamps = [path.name.split(".")[3] for path in folder.glob("events.out.tfevents.*")]
    newest = max((int(stamp) for stamp in stamps if stamp.isdecimal()), default=0)
    return f"events.out.tfevents.{max(int(time.time()), newest + 1)}.run"
