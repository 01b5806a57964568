"""A checkpoint is complete or absent, verified before it is believed, and never executed."""

from __future__ import annotations

import json
import logging
import os
import pickle
import re
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_disk import mounted

from app.training import CheckpointManager, TrainingConfig
from app.training.checkpoint import CheckpointError
from app.training.scheduler import get_scheduler
from app.transformer import GPTModel, TransformerConfig

TINY = TransformerConfig(
    vocab_size=11, hidden_size=8, num_layers=1, num_heads=1, max_position_embeddings=4
)


class Parts:
    """A model, optimizer and scheduler that have taken a step."""

    def __init__(self, seed: int = 0, config: TransformerConfig = TINY) -> None:
        torch.manual_seed(seed)
        self.model = GPTModel(config)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1)
        self.scheduler = get_scheduler("cosine", self.optimizer, 1, 10)
        self.config = TrainingConfig(model_config=config, max_steps=10)
        _, loss = self.model(torch.tensor([[1, 2, 3]]), torch.tensor([[2, 3, 4]]))
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()

    def save(self, manager: CheckpointManager, step: int, loss: float = 1.0, **more: Any) -> str:
        return manager.save_checkpoint(
            self.model,
            self.optimizer,
            self.scheduler,
            step=step,
            loss=loss,
            config=self.config,
            **more,
        )


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
def manager(tmp_path: Path) -> CheckpointManager:
    return CheckpointManager(checkpoint_dir=tmp_path / "run", max_checkpoints=3)


def steps(manager: CheckpointManager) -> list[int]:
    return [entry["step"] for entry in manager.list_checkpoints()]


def test_what_was_saved_is_what_is_loaded(parts: Parts, manager: CheckpointManager) -> None:
    path = parts.save(manager, 7, 2.5)
    other = Parts(seed=1)
    assert manager.get_latest_checkpoint() == path
    loaded = manager.load_checkpoint(path, other.model, other.optimizer, other.scheduler)
    assert loaded == (7, 2.5, parts.config)
    for name, tensor in parts.model.state_dict().items():
        assert torch.equal(other.model.state_dict()[name], tensor)
    assert other.scheduler.state_dict() == {"version": 1, "step": 1}
    mine, theirs = parts.optimizer.state_dict()["state"], other.optimizer.state_dict()["state"]
    assert all(torch.equal(mine[i]["exp_avg"], theirs[i]["exp_avg"]) for i in mine)


def test_the_file_has_the_documented_keys_and_loads_without_pickle(
    parts: Parts, manager: CheckpointManager
) -> None:
    state = torch.load(parts.save(manager, 1), weights_only=True)
    documented = {
        "model_state_dict",
        "optimizer_state_dict",
        "scheduler_state_dict",
        "step",
        "loss",
        "config",
        "timestamp",
    }
    assert documented <= set(state)
    assert state["config"] == parts.config.to_dict()


def test_listing_and_manifest_agree_with_the_file(parts: Parts, manager: CheckpointManager) -> None:
    path = Path(parts.save(manager, 3, 1.5))
    (entry,) = manager.list_checkpoints()
    assert (entry["path"], entry["step"], entry["loss"]) == (str(path), 3, 1.5)
    assert entry["size_bytes"] == path.stat().st_size
    assert entry["is_best"] is True
    digest = subprocess.run(["sha256sum", path], capture_output=True, text=True).stdout.split()[0]
    manifest = json.loads(path.with_suffix(".json").read_text())
    assert (manifest["sha256"], manifest["format_version"]) == (digest, 1)


# torch.compile imports a module of torch that uses a deprecated part of torch.
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
def test_compiled_and_wrapped_models_save_plain_keys(manager: CheckpointManager) -> None:
    parts = Parts()
    plain = set(parts.model.state_dict())
    compiled = torch.compile(parts.model)
    assert isinstance(compiled, torch.nn.Module)
    for wrapped in (compiled, torch.nn.DataParallel(parts.model)):
        path = manager.save_checkpoint(wrapped, None, None, 1, 1.0, None)
        assert set(torch.load(path, weights_only=True)["model_state_dict"]) == plain
        manager.load_checkpoint(path, wrapped)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _flip_a_bit(path: Path) -> None:
    """Damage a tensor: the padding between the parts of the file is covered by no checksum."""
    with zipfile.ZipFile(path) as archive:
        content = archive.read(max(archive.infolist(), key=lambda part: part.file_size))
    data = bytearray(path.read_bytes())
    data[data.index(content) + len(content) // 2] ^= 0x10
    path.write_bytes(data)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _foreign(path: Path) -> None:
    path.write_text("this is no checkpoint\n")


def _lose_manifest(path: Path) -> None:
    path.with_suffix(".json").unlink()


def _spoil_manifest(path: Path) -> None:
    path.with_suffix(".json").write_text('{"format_version": 1, "step"')


def _lose_file(path: Path) -> None:
    path.unlink()


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated": (_truncate, "bytes and its manifest says"),
    "bit-flipped": (_flip_a_bit, "does not match its manifest's sha256"),
    "empty": (_empty, "has 0 bytes and its manifest says"),
    "foreign": (_foreign, "has 22 bytes and its manifest says"),
    "manifest spoilt": (_spoil_manifest, "the manifest of .* cannot be read"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_passed_over_by_name_and_refused_when_asked_for(
    tmp_path: Path, parts: Parts, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    spoil, message = DAMAGES[damage]
    writer = CheckpointManager(tmp_path)
    good, bad = parts.save(writer, 1), parts.save(writer, 2)
    spoil(Path(bad))
    manager = CheckpointManager(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert manager.get_latest_checkpoint() == good
    assert "checkpoint_step_2.pt" in caplog.text
    with pytest.raises(CheckpointError, match=message):
        manager.load_checkpoint(bad)
    # The one that wrote it does not trust its memory either.
    assert writer.get_latest_checkpoint() == good


def test_a_checkpoint_without_manifest_is_not_listed_and_is_used_by_its_own_checksums(
    manager: CheckpointManager, parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    good, cut = parts.save(manager, 1), parts.save(manager, 2)
    _lose_manifest(Path(cut))
    assert steps(manager) == [1]
    fresh = CheckpointManager(manager.checkpoint_dir)
    assert fresh.get_latest_checkpoint() == cut
    assert "checkpoint_step_2.pt has no manifest; its own checksums are verified" in caplog.text
    _flip_a_bit(Path(cut))
    assert CheckpointManager(manager.checkpoint_dir).get_latest_checkpoint() == good


def test_one_without_manifest_under_another_step_s_name_is_passed_over(
    manager: CheckpointManager, parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    path = Path(parts.save(manager, 1))
    path.rename(path.with_name("checkpoint_step_9.pt"))
    assert manager.get_latest_checkpoint() is None
    assert "is named for step 9 and holds step 1; rename it checkpoint_step_1.pt" in caplog.text


def test_metrics_are_durable_before_a_checkpoint_has_its_name(
    manager: CheckpointManager, parts: Parts
) -> None:
    there: list[bool] = []
    state = {**manager.load_state(parts.save(manager, 1)), "step": 2}
    manager.write(state, before_rename=lambda: there.append(manager.path_of(2).exists()))
    assert there == [False]
    assert manager.path_of(2).exists()


def test_a_manifest_alone_is_nothing(manager: CheckpointManager, parts: Parts) -> None:
    _lose_file(Path(parts.save(manager, 1)))
    assert manager.list_checkpoints() == []
    assert manager.get_latest_checkpoint() is None


def test_a_download_without_manifest_is_verified_by_its_own_checksums(
    manager: CheckpointManager, parts: Parts, tmp_path: Path
) -> None:
    path = tmp_path / "download.pt"
    path.write_bytes(Path(parts.save(manager, 4)).read_bytes())
    assert manager.load_checkpoint(path)[0] == 4
    _flip_a_bit(path)
    with pytest.raises(CheckpointError, match=r"download\.pt is"):
        manager.load_checkpoint(path)
    _foreign(path)
    with pytest.raises(CheckpointError, match=r"download\.pt is not a complete checkpoint"):
        manager.load_checkpoint(path)


class _Bomb:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def test_nothing_from_a_file_is_executed(manager: CheckpointManager, tmp_path: Path) -> None:
    bomb = tmp_path / "exploded"
    torch.save({"step": _Bomb(str(bomb))}, tmp_path / "zip.pt")
    with pytest.raises(CheckpointError, match="is not a checkpoint of this library"):
        manager.load_checkpoint(tmp_path / "zip.pt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(_Bomb(str(bomb))))
    with pytest.raises(CheckpointError, match="is not a complete checkpoint"):
        manager.load_checkpoint(tmp_path / "raw.pt")
    assert not bomb.exists()


def test_a_torch_file_of_something_else_is_refused(
    manager: CheckpointManager, tmp_path: Path
) -> None:
    torch.save({"weights": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="it lacks config, loss, model_state_dict"):
        manager.load_checkpoint(tmp_path / "other.pt")


def test_an_absent_file_is_named(manager: CheckpointManager) -> None:
    with pytest.raises(CheckpointError, match=r"there is no checkpoint nowhere\.pt; check the pa"):
        manager.load_checkpoint("nowhere.pt")


def test_weights_of_another_model_are_refused_and_change_nothing(
    manager: CheckpointManager, parts: Parts
) -> None:
    path = parts.save(manager, 1)
    wider = TransformerConfig(**{**TINY.to_dict(), "hidden_size": 16})
    other = Parts(config=wider)
    before = {name: tensor.clone() for name, tensor in other.model.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"is of another model: .*\[16\] here, \[8\] in the"):
        manager.load_checkpoint(path, other.model, other.optimizer, other.scheduler)
    assert all(torch.equal(before[n], t) for n, t in other.model.state_dict().items())


# -- rotation --------------------------------------------------------------------------------


def test_rotation_keeps_the_newest_by_recorded_step(
    manager: CheckpointManager, parts: Parts
) -> None:
    for step, loss in ((8, 5.0), (9, 4.0), (10, 3.0), (100, 2.0)):
        parts.save(manager, step, loss)
    assert steps(manager) == [9, 10, 100]
    assert not manager.path_of(8).exists()
    assert not manager.path_of(8).with_suffix(".json").exists()


def test_rotation_spares_the_best_and_the_protected_and_counts_them(
    manager: CheckpointManager, parts: Parts
) -> None:
    manager.protect(parts.save(manager, 1, 9.0))
    for step, loss in ((2, 1.0), (3, 3.0), (4, 2.0), (5, 2.5)):
        parts.save(manager, step, loss)
    assert steps(manager) == [1, 2, 5]
    assert [entry["step"] for entry in manager.list_checkpoints() if entry["is_best"]] == [2]


def test_equal_metrics_make_the_newest_the_best(manager: CheckpointManager, parts: Parts) -> None:
    for step in range(1, 6):
        parts.save(manager, step, 1.0)
    assert steps(manager) == [3, 4, 5]


def test_incomplete_ones_neither_count_nor_go(manager: CheckpointManager, parts: Parts) -> None:
    _lose_manifest(Path(parts.save(manager, 1)))
    for step in (2, 3, 4):
        parts.save(manager, step)
    assert steps(manager) == [2, 3, 4]
    assert manager.path_of(1).exists()


def test_who_listens_hears_of_a_deletion_before_it_and_can_prevent_it(
    manager: CheckpointManager, parts: Parts
) -> None:
    heard: list[list[str]] = []

    def refuse(paths: list[str]) -> None:
        heard.append(paths)
        assert all(Path(path).exists() for path in paths)
        raise PermissionError("another attempt owns them")

    for step in (1, 2, 3):
        parts.save(manager, step)
    manager.on_rotate = refuse
    with pytest.raises(PermissionError):
        parts.save(manager, 4)
    assert heard == [[str(manager.path_of(1))]]
    assert steps(manager) == [1, 2, 3, 4]


def test_saving_a_step_again_replaces_it(manager: CheckpointManager, parts: Parts) -> None:
    parts.save(manager, 1, 5.0)
    parts.save(manager, 1, 4.0)
    assert [entry["loss"] for entry in manager.list_checkpoints()] == [4.0]
    assert manager.get_latest_checkpoint() == str(manager.path_of(1))


def test_no_room_for_any_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`max_checkpoints` is 0; it must be at least 1"):
        CheckpointManager(tmp_path, max_checkpoints=0)


# -- a full disk -----------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 KiB."""
    with mounted(tmp_path / "small", 256 << 10) as folder:
        yield folder


def leave_free(disk: Path, size_bytes: int) -> None:
    """Fill the file system up to that."""
    space = os.statvfs(disk)
    with (disk / "ballast").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize - size_bytes)


def test_a_full_disk_fails_the_save_and_nothing_else(small_disk: Path) -> None:
    manager = CheckpointManager(small_disk / "run")
    small, large = Parts(), Parts(config=TransformerConfig(**{**TINY.to_dict(), "hidden_size": 64}))
    good = small.save(manager, 1)
    before = sorted(path.name for path in (small_disk / "run").iterdir())
    with pytest.raises(CheckpointError) as caught:
        large.save(manager, 2)
    message = str(caught.value)
    assert str(manager.path_of(2)) in message
    assert "No space left on device" in message
    assert "free some space on that disk; a new run may keep fewer checkpoints" in message
    assert sorted(path.name for path in (small_disk / "run").iterdir()) == before
    assert CheckpointManager(small_disk / "run").get_latest_checkpoint() == good


def test_a_disk_that_fills_while_a_save_is_written_fails_that_save(small_disk: Path) -> None:
    manager = CheckpointManager(small_disk / "run")
    config = TransformerConfig(**{**TINY.to_dict(), "hidden_size": 2})
    parts = Parts(config=config)  # so few parameters: the file is mostly names
    good = parts.save(manager, 1)
    before = sorted(path.name for path in (small_disk / "run").iterdir())
    leave_free(small_disk, Path(good).stat().st_size * 3 // 4)
    with pytest.raises(CheckpointError, match=r"could not be written \(No space left on device\);"):
        parts.save(manager, 2)
    assert sorted(path.name for path in (small_disk / "run").iterdir()) == before
    assert CheckpointManager(small_disk / "run").get_latest_checkpoint() == good


def test_a_save_leaves_room_for_what_else_grows(small_disk: Path) -> None:
    manager = CheckpointManager(small_disk / "run")
    parts = Parts(config=TransformerConfig(**{**TINY.to_dict(), "hidden_size": 20}))
    size = Path(parts.save(manager, 1)).stat().st_size
    leave_free(small_disk, size + 8192)
    with pytest.raises(CheckpointError, match="No space left on device: it needs ") as caught:
        parts.save(manager, 2)
    assert re.search(
        r"it needs 0\.\d MB, room for the run's metrics included, and 0\.\d MB are",
        str(caught.value),
    )
    os.truncate(small_disk / "ballast", 0)
    assert parts.save(manager, 2) == str(manager.path_of(2))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, parts: Parts) -> None:
    (tmp_path / "file").write_text("")
    manager = CheckpointManager(tmp_path / "file" / "run")
    with pytest.raises(CheckpointError, match=r"could not be written \(Not a directory\)"):
        parts.save(manager, 1)
