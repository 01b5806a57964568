"""The disk of the artifacts fills up while a job trains: nothing that was saved is lost."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster, cluster
from undisturbed import CONFIG, Result, assert_same, result_of, wait_for_step, write_text

pytestmark = pytest.mark.slow

_KEEPS_ALL = CONFIG | {"max_checkpoints_to_keep": 100}
"""No old checkpoint makes room for a new one."""

_DISK_BYTES = 64 << 20
"""Room for all the checkpoints that the job makes."""
_PAGE = 4096
_LESS_THAN_A_CHECKPOINT = 512 << 10


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own where the artifacts go."""
    folder = tmp_path / "artifacts"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(folder)]
    try:
        tried = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if tried.returncode:
        pytest.skip(f"a file system cannot be mounted here: {tried.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def services_on_small_disk(small_disk: Path) -> Iterator[Cluster]:
    """A cluster that ends before its disk is taken away."""
    write_text(small_disk.parent)
    with cluster(small_disk.parent) as running:
        yield running


def fill(disk: Path, leave: int) -> Path:
    """Take all of the disk but `leave` bytes; returns the file that does."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize > leave:
            file.write(bytes(_PAGE))  # by pages: the job takes some of the space meanwhile
    return ballast


@pytest.mark.parametrize("leave", [_LESS_THAN_A_CHECKPOINT, 0])
def test_full_disk_fails_the_job_and_costs_nothing(
    services_on_small_disk: Cluster, small_disk: Path, expected: Result, tmp_path: Path, leave: int
) -> None:
    services = services_on_small_disk
    with services.engine() as engine:
        text = str(services.folder / "text.txt")
        job = engine.jobs.start(config=_KEEPS_ALL, dataset_path=text, execution={"max_retries": 1})
        wait_for_step(job, 50)
        ballast = fill(small_disk, leave)
        failed = job.wait(timeout=60)
        assert failed.status == "failed"
        assert failed.error is not None
        assert str(small_disk) in failed.error
        assert "No space left on device" in failed.error
        assert "free some space" in failed.error
        last = max(checkpoint.step for checkpoint in failed.checkpoints())
        assert 40 <= last < 400
        assert not list(small_disk.glob("**/*.tmp"))
        ballast.unlink()
        assert_same(result_of(engine, failed.resume(), tmp_path), expected)
        assert engine.jobs.get(job.job_id).resumed_from_step == last
