"""A checkpoint file becomes the model and tokenizer that it was saved from."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from app.training.checkpoint_file import manifest_path, write_checkpoint
from app.training.config import TrainingConfig
from app.training.errors import CheckpointError
from app.training.inference import load_for_generation, load_trained
from app.training.tokenizer import CharTokenizer
from app.transformer.model import GPTModel


def save(path: Path, run: TrainingConfig, **more: Any) -> GPTModel:
    torch.manual_seed(1)
    model = GPTModel(run.model_config)
    state = {
        "format_version": 1,
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": {},
        "scheduler_state_dict": {},
        "step": 3,
        "loss": 1.5,
        "config": run.to_dict(),
        "timestamp": time.time(),
        **more,
    }
    write_checkpoint(path, state)
    return model


def test_model_and_tokenizer_come_back(tmp_path: Path, make_config: Any):
    path = tmp_path / "checkpoint_step_3.pt"
    tokenizer = CharTokenizer("abc")
    saved = save(path, make_config(3), tokenizer=tokenizer.to_dict())
    model, loaded = load_for_generation(path)
    assert not model.training
    assert loaded is not None
    assert loaded.fingerprint == tokenizer.fingerprint
    for name, tensor in saved.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])

    manifest_path(path).unlink()  # as after a download
    assert torch.equal(
        load_for_generation(path)[0].token_embedding.weight, saved.token_embedding.weight
    )


def test_a_run_on_ids_has_no_tokenizer(tmp_path: Path, make_config: Any):
    path = tmp_path / "checkpoint_step_3.pt"
    save(path, make_config(3), tokenizer=None)
    assert load_for_generation(path)[1] is None


@pytest.mark.parametrize("manifest", [True, False])
def test_a_damaged_file_is_refused(tmp_path: Path, make_config: Any, manifest: bool):
    path = tmp_path / "checkpoint_step_3.pt"
    save(path, make_config(3))
    if not manifest:
        manifest_path(path).unlink()
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"is damaged|not match|not a complete"):
        load_for_generation(path)
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        load_for_generation(tmp_path / "none.pt")


def test_a_foreign_configuration_is_refused(tmp_path: Path, make_config: Any):
    path = tmp_path / "checkpoint_step_3.pt"
    save(path, make_config(3), config={"nonsense": 1})
    with pytest.raises(CheckpointError, match="configuration that this release cannot read"):
        load_for_generation(path)


def test_damage_is_found_in_what_is_read(tmp_path: Path, make_config: Any):
    path = tmp_path / "checkpoint_step_3.pt"
    optimizer = torch.linspace(2.0, 3.0, 999)
    saved = save(path, make_config(3), optimizer_state_dict={"moment": optimizer})
    whole = path.read_bytes()
    place = whole.index(optimizer.numpy().tobytes())
    path.write_bytes(whole[:place] + b"????" + whole[place + 4 :])
    load_for_generation(path)  # it has nothing of the optimizer
    place = whole.index(saved.token_embedding.weight.detach().numpy().tobytes())
    path.write_bytes(whole[:place] + b"????" + whole[place + 4 :])
    with pytest.raises(CheckpointError, match="does not match its checksum"):
        load_for_generation(path)
    path.write_bytes(whole[:-100])
    with pytest.raises(CheckpointError, match="its manifest says"):
        load_for_generation(path)


def test_copied_weights_are_the_same(tmp_path: Path, make_config: Any):
    path = tmp_path / "checkpoint_step_3.pt"
    saved = save(path, make_config(3))
    found = load_trained(path, mapped=False).model
    assert not found.training
    for name, tensor in saved.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor)
