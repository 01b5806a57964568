"""Downloads that are taken up where they broke, and verified."""

from __future__ import annotations

import logging
import resource
import threading
from pathlib import Path

import pytest
from scripted_service import CheckpointFile, ScriptedService, checkpoint_pb2

from training_engine import (
    ArtifactDamagedError,
    AsyncTrainingEngine,
    ConflictError,
    InvalidArgumentError,
    TrainingEngine,
)


@pytest.fixture
def file(service: ScriptedService) -> CheckpointFile:
    served = CheckpointFile()
    service.on["GetCheckpoint"] = served.get
    service.on["DownloadCheckpoint"] = served.download
    return served


def offsets(service: ScriptedService) -> list[int]:
    return [request.offset for request in service.asked("DownloadCheckpoint")]


def test_a_broken_download_continues(
    service: ScriptedService, engine: TrainingEngine, file: CheckpointFile, tmp_path: Path
) -> None:
    file.break_after = [3, 0, 4]
    seen: list[tuple[int, int]] = []
    target = tmp_path / "model.pt"
    path = engine.checkpoints.download("ckpt_1", target, progress=lambda *done: seen.append(done))
    assert path == target
    assert target.read_bytes() == file.data
    assert offsets(service) == [0, 300, 300, 700]
    assert seen == [(count, 1000) for count in range(100, 1001, 100)]
    assert list(tmp_path.iterdir()) == [target]


async def test_asyncio_downloads_the_same(
    service: ScriptedService, file: CheckpointFile, tmp_path: Path
) -> None:
    file.break_after = [3]
    async with AsyncTrainingEngine(service.address) as engine:
        path = await engine.checkpoints.download("ckpt_1", tmp_path)
    assert path == tmp_path / "checkpoint_step_7.pt"
    assert path.read_bytes() == file.data
    assert offsets(service) == [0, 300]


def test_the_service_sends_what_cannot_be_fetched_from_the_bucket(
    service: ScriptedService,
    engine: TrainingEngine,
    file: CheckpointFile,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    file.url = "http://127.0.0.1:9/model.pt?X-Amz-Signature=hush"
    path = engine.checkpoints.download("ckpt_1", tmp_path / "model.pt")
    assert path.read_bytes() == file.data
    asked = service.asked("DownloadCheckpoint")
    assert [request.accepts_url for request in asked] == [True, False]
    assert "hush" not in caplog.text


def test_a_later_call_takes_up_what_an_earlier_one_left(
    service: ScriptedService, engine: TrainingEngine, file: CheckpointFile, tmp_path: Path
) -> None:
    part = tmp_path / f"model.pt.{file.record().sha256[:12]}.part"
    part.write_bytes(file.data[:450])
    engine.checkpoints.download("ckpt_1", tmp_path / "model.pt")
    assert offsets(service) == [450]
    assert (tmp_path / "model.pt").read_bytes() == file.data


def test_a_full_disk_is_told_of_with_the_file_and_a_later_call_goes_on(
    service: ScriptedService, engine: TrainingEngine, file: CheckpointFile, tmp_path: Path
) -> None:
    part = tmp_path / f"model.pt.{file.record().sha256[:12]}.part"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (450, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as refused:
            engine.checkpoints.download("ckpt_1", tmp_path / "model.pt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert refused.value.filename == str(part)
    assert part.read_bytes() == file.data[:450]
    engine.checkpoints.download("ckpt_1", tmp_path / "model.pt")
    assert offsets(service) == [0, 450]
    assert (tmp_path / "model.pt").read_bytes() == file.data


def test_damage_is_found_and_nothing_is_left(
    service: ScriptedService, engine: TrainingEngine, file: CheckpointFile, tmp_path: Path
) -> None:
    target = tmp_path / "model.pt"
    target.write_bytes(b"an older one")
    part = tmp_path / f"model.pt.{file.record().sha256[:12]}.part"
    part.write_bytes(b"damage" * 50)
    with pytest.raises(ArtifactDamagedError, match="checkpoint ckpt_1 arrived with 1000 bytes and"):
        engine.checkpoints.download("ckpt_1", target)
    assert target.read_bytes() == b"an older one"
    assert not part.exists()
    assert engine.checkpoints.download("ckpt_1", target).read_bytes() == file.data


def test_a_file_that_ends_early_is_refused(
    service: ScriptedService, engine: TrainingEngine, file: CheckpointFile, tmp_path: Path
) -> None:
    longer = file.record(size_bytes=1500)
    service.on["GetCheckpoint"] = lambda request, context: checkpoint_pb2.GetCheckpointResponse(
        checkpoint=longer
    )
    with pytest.raises(ArtifactDamagedError, match="it must have 1500 bytes"):
        engine.checkpoints.download("ckpt_1", tmp_path / "model.pt")


def test_another_file_is_not_overwritten_without_leave(
    service: ScriptedService, engine: TrainingEngine, file: CheckpointFile, tmp_path: Path
) -> None:
    target = tmp_path / "model.pt"
    assert engine.checkpoints.download("ckpt_1", target, overwrite=False) == target
    fetched = len(service.asked("DownloadCheckpoint"))
    assert engine.checkpoints.download("ckpt_1", target, overwrite=False) == target
    assert len(service.asked("DownloadCheckpoint")) == fetched  # it is there already
    for other in (b"mine", bytes(len(file.data))):
        target.write_bytes(other)
        with pytest.raises(ConflictError) as caught:
            engine.checkpoints.download("ckpt_1", target, overwrite=False)
        assert caught.value.code == "file_exists"
        assert str(caught.value) == (
            f"{target} exists and is not checkpoint ckpt_1; name another file, or replace it with "
            "--force (in programs: overwrite=True)"
        )
        assert target.read_bytes() == other
    engine.checkpoints.download("ckpt_1", target)
    assert target.read_bytes() == file.data


async def test_asyncio_does_not_overwrite_either(
    service: ScriptedService, file: CheckpointFile, tmp_path: Path
) -> None:
    target = tmp_path / "model.pt"
    target.write_bytes(b"mine")
    reported: list[tuple[int, int, bool]] = []
    here = threading.get_ident()

    def progress(done: int, total: int) -> None:
        reported.append((done, total, threading.get_ident() == here))

    async with AsyncTrainingEngine(service.address) as engine:
        with pytest.raises(ConflictError, match="exists and is not checkpoint ckpt_1"):
            await engine.checkpoints.download("ckpt_1", target, overwrite=False)
        await engine.checkpoints.download("ckpt_1", target, progress=progress)
    assert target.read_bytes() == file.data
    assert (reported[0], reported[-1]) == ((100, 1000, True), (1000, 1000, True))
    assert all(in_the_loop for _, _, in_the_loop in reported)


def test_two_downloads_do_not_write_one_file(
    engine: TrainingEngine, file: CheckpointFile, tmp_path: Path
) -> None:
    refused: list[str] = []

    def progress(done: int, total: int) -> None:
        if done == 300:
            with pytest.raises(ConflictError, match="another download is writing") as caught:
                engine.checkpoints.download("ckpt_1", tmp_path / "a.pt")
            refused.append(caught.value.code)

    engine.checkpoints.download("ckpt_1", tmp_path / "a.pt", progress=progress)
    assert refused == ["in_use"]
    assert (tmp_path / "a.pt").read_bytes() == file.data
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize("path", ["gone/a.pt", "gone/"])
def test_a_missing_folder_is_named(
    engine: TrainingEngine, file: CheckpointFile, tmp_path: Path, path: str
) -> None:
    with pytest.raises(InvalidArgumentError, match="gone is not a folder; make it first"):
        engine.checkpoints.download("ckpt_1", f"{tmp_path}/{path}")
    assert list(tmp_path.iterdir()) == []
