"""A real file system that is soon full, for as long as a test needs it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PAGE_BYTES = 4096


@contextmanager
def mounted(folder: Path, size_bytes: int) -> Iterator[Path]:
    """`folder`, made anew, as a file system of its own; skips where none can be mounted."""
    if problem := mount(folder, size_bytes):
        pytest.skip(problem)
    try:
        yield folder
    finally:
        unmount(folder)


def mount(folder: Path, size_bytes: int) -> str:
    """Make `folder` a file system of its own; return why not where that is impossible."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
    try:
        tried = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "there is no mount command"
    failed = f"a file system cannot be mounted here: {tried.stderr.strip()}"
    return failed if tried.returncode else ""


def unmount(folder: Path) -> None:
    """Take the file system away, also from processes that still use it."""
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, leave: int, room_meanwhile: int = 0) -> Path:
    """Take all of the disk but `leave` bytes; returns the file that does.

    `room_meanwhile`: bytes that processes may take while this one writes.
    """
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        first = max(free_bytes(disk) - leave - room_meanwhile, PAGE_BYTES)
        os.posix_fallocate(file.fileno(), 0, first)
    fill_up(ballast, leave)
    return ballast


def fill_up(ballast: Path, leave: int = 0) -> None:
    """Take what has become free since."""
    with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while free_bytes(ballast.parent) > leave:
            file.write(bytes(PAGE_BYTES))  # by pages: others take some of the space meanwhile


def free_bytes(disk: Path) -> int:
    """What is left for files."""
    space = os.statvfs(disk)
    return space.f_bavail * space.f_frsize
