"""The models that a worker keeps for text: their weights in the store's file, and its room."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from app.training.checkpoint_file import CheckpointInfo, write_checkpoint
from app.training.config import TrainingConfig
from app.transformer import GPTModel, TransformerConfig
from artifact_store import FolderStore
from job_store.generation import GenerationRequest
from training_worker import models as models_module
from training_worker.local_disk import is_on_local_disk
from training_worker.models import ModelCache

SHAPE = TransformerConfig(vocab_size=64, hidden_size=32, num_layers=1, num_heads=2)


def save(path: Path, model: GPTModel) -> CheckpointInfo:
    state = {
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": {},
        "scheduler_state_dict": {},
        "step": 1,
        "loss": 1.0,
        "config": TrainingConfig(model_config=model.config).to_dict(),
        "timestamp": time.time(),
    }
    return write_checkpoint(path, state)


def mapped_files() -> str:
    return Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("is_local", [True, False])
def test_weights_stay_in_a_local_file_until_it_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_local: bool
) -> None:
    monkeypatch.setattr(models_module, "is_on_local_disk", lambda path: is_local)
    saved = GPTModel(SHAPE)
    path = tmp_path / "jobs" / "job_1" / "checkpoint_step_1.pt"
    info = save(path, saved)
    key = path.relative_to(tmp_path).as_posix()
    request = GenerationRequest(key, info.size_bytes, info.sha256, "ckpt_1", "")
    models = ModelCache(FolderStore(tmp_path))
    found = models.get(request).model
    assert (str(path) in mapped_files()) == is_local
    models.drop_deleted()
    assert models.get(request).model is found
    path.unlink()
    models.drop_deleted()
    for name, tensor in saved.state_dict().items():  # whoever has it keeps it
        assert torch.equal(found.state_dict()[name], tensor)
    if not is_local:
        assert models.get(request).model is found
        return
    del found
    assert str(path) not in mapped_files()  # its room on the disk is free


def test_what_is_no_known_disk_of_this_machine_is_not_local(tmp_path: Path) -> None:
    assert is_on_local_disk(Path("/dev/shm"))
    assert not is_on_local_disk(Path("/proc/self"))
    assert not is_on_local_disk(tmp_path / "absent")
