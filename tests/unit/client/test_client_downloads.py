"""Downloads that are taken up where they broke, and verified."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted_service import CheckpointFile, ScriptedService, checkpoint_pb2

from training_engine import ArtifactDamagedError, AsyncTrainingEngine, TrainingEngine


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
    path = engine.checkpoints.download("c1", target, progress=lambda *done: seen.append(done))
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
        path = await engine.checkpoints.download("c1", tmp_path)
    assert path == tmp_path / "checkpoint_step_7.pt"
    assert path.read_bytes() == file.data
    assert offsets(service) == [0, 300]


def test_a_later_call_takes_up_what_an_earlier_one_left(
    service: ScriptedService, engine: TrainingEngine, file: CheckpointFile, tmp_path: Path
) -> None:
    part = tmp_path / f"model.pt.{file.record().sha256[:12]}.part"
    part.write_bytes(file.data[:450])
    engine.checkpoints.download("c1", tmp_path / "model.pt")
    assert offsets(service) == [450]
    assert (tmp_path / "model.pt").read_bytes() == file.data


def test_damage_is_found_and_nothing_is_left(
    service: ScriptedService, engine: TrainingEngine, file: CheckpointFile, tmp_path: Path
) -> None:
    target = tmp_path / "model.pt"
    target.write_bytes(b"an older one")
    part = tmp_path / f"model.pt.{file.record().sha256[:12]}.part"
    part.write_bytes(b"damage" * 50)
    with pytest.raises(ArtifactDamagedError, match="checkpoint c1 arrived with 1000 bytes and"):
        engine.checkpoints.download("c1", target)
    assert target.read_bytes() == b"an older one"
    assert not part.exists()
    assert engine.checkpoints.download("c1", target).read_bytes() == file.data


def test_a_file_that_ends_early_is_refused(
    service: ScriptedService, engine: TrainingEngine, file: CheckpointFile, tmp_path: Path
) -> None:
    longer = file.record(size_bytes=1500)
    service.on["GetCheckpoint"] = lambda request, context: checkpoint_pb2.GetCheckpointResponse(
        checkpoint=longer
    )
    with pytest.raises(ArtifactDamagedError, match="it must have 1500 bytes"):
        engine.checkpoints.download("c1", tmp_path / "model.pt")
