"""A command on a real terminal: what a person would see, and Ctrl-C."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """Runs the command line with both of its outputs on a terminal.

    Attributes:
        shown: Everything that was written to it, control codes included.
    """

    def __init__(self, *arguments: str, columns: int = 80, **environment: str) -> None:
        self._reader, writer = pty.openpty()
        fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        inherited = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "training_engine.cli", *arguments],
            stdin=writer,
            stdout=writer,
            stderr=writer,
            env={**inherited, "TERM": "xterm-256color", **environment},
        )
        os.close(writer)
        self.shown = ""

    @property
    def text(self) -> str:
        """What was shown, without control codes; a line that was redrawn is there again."""
        return _CONTROL.sub("", self.shown).replace("\r\n", "\n").replace("\r", "\n")

    def read_until(self, wanted: str, seconds: float = 20) -> None:
        """Read until the text holds `wanted`."""
        deadline = time.monotonic() + seconds
        while wanted not in self.text:
            assert self._read(deadline - time.monotonic()), f"no {wanted!r} in {self.text!r}"

    def type(self, text: str) -> None:
        """Type a text; a line ends with a newline."""
        os.write(self._reader, text.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def finish(self, seconds: float = 20) -> int:
        """Read to the end and return the exit code."""
        deadline = time.monotonic() + seconds
        while self._read(deadline - time.monotonic()):
            pass
        os.close(self._reader)
        return self._process.wait(max(0.1, deadline - time.monotonic()))

    def _read(self, seconds: float) -> bool:
        """Take in what comes; False at the end. Fails where nothing comes in time."""
        ready, _, _ = select.select([self._reader], [], [], max(0.0, seconds))
        assert ready, f"nothing more came; so far {self.text!r}"
        try:
            data = os.read(self._reader, 65536)
        except OSError:  # Linux: the last writer has closed
            return False
        self.shown += data.decode()
        return bool(data)
