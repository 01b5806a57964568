"""A worker's folder for temporary files, which goes with it, however it or a trainer ends.

torch's elastic agent and Python's loader processes make folders among the machine's temporary
files, and a trainer that is killed cannot remove them. So trainers get a folder of their own inside
that of their worker, and a worker that starts removes those of dead ones.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from app.training.data.cache import machine_folder
from service_runtime.temporary_folder import TemporaryFolder

_PREFIX = "te-worker-"  # short: Python's sockets in it have names of at most 107 characters


class TemporaryFiles:
    """The worker's folder; inherited by its forks, which keep its lock as long as they live."""

    def __init__(self) -> None:
        self._folder = TemporaryFolder(_PREFIX)

    @contextlib.contextmanager
    def for_trainer(self) -> Iterator[Path | None]:
        """Yield a new folder, and remove it afterwards with all that a trainer has left in it.

        None where none can be made, as on a full disk: the trainer may need no temporary files.
        """
        try:
            folder = Path(tempfile.mkdtemp(dir=self._folder.path(), prefix=""))
        except OSError:
            yield None
            return
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Remove the worker's folder."""
        self._folder.close()


def use_folder(folder: Path | None) -> None:
    """Let this process, a trainer, put its temporary files there."""
    if folder is None:
        return
    with contextlib.suppress(OSError):
        machine_folder()  # remembered, for what is to outlive the trainer
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
