"""Which checkpoint of a folder a resume takes, and what becomes of the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from resumed_runs import Make, StopAt, assert_same, history

from app.training.errors import CheckpointError, ResumeError


def test_resuming_in_another_folder_leaves_the_first_alone(
    make_trainer: Make, tmp_path: Path
) -> None:
    first = make_trainer(checkpoint_dir=str(tmp_path / "a"), max_steps=4, save_steps=2)
    first.train()
    before = sorted(path.name for path in (tmp_path / "a").iterdir())
    second = make_trainer(
        checkpoint_dir=str(tmp_path / "b"),
        resume_from_checkpoint=str(tmp_path / "a" / "checkpoint_step_2.pt"),
        max_steps=6,
        save_steps=1,
        max_checkpoints_to_keep=1,
    )
    assert second.step == 2
    second.train()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == before
    assert [c["step"] for c in second.manager.list_checkpoints()] == [6]
    assert [line[0] for line in history(tmp_path / "b")] == [3, 4, 5, 6]


def test_going_back_sets_the_later_checkpoints_aside(
    make_trainer: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_trainer(save_steps=2).train()
    run = tmp_path / "run"
    back = make_trainer(
        save_steps=2, max_steps=6, resume_from_checkpoint=str(run / "checkpoint_step_4.pt")
    )
    back.train()
    assert [c["step"] for c in back.manager.list_checkpoints()] == [2, 4, 6]
    assert sorted(path.name for path in (run / "superseded-1").iterdir()) == [
        "checkpoint_step_6.json",
        "checkpoint_step_6.pt",
        "checkpoint_step_8.json",
        "checkpoint_step_8.pt",
    ]
    assert "checkpoints beyond step 4 were moved to" in caplog.text


def test_a_new_run_sets_an_older_one_aside(make_trainer: Make, tmp_path: Path) -> None:
    make_trainer(max_steps=3).train()
    again = make_trainer(max_steps=2)
    again.train()
    assert [c["step"] for c in again.manager.list_checkpoints()] == [2]
    assert [line[0] for line in history(tmp_path / "run")] == [1, 2]
    assert [line[0] for line in history(tmp_path / "run" / "previous-1")] == [1, 2, 3]


def test_a_finished_run_has_nothing_to_do_and_says_so(
    make_trainer: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_trainer(max_steps=2).train()
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir()}
    again = make_trainer(max_steps=2, resume_from_checkpoint=True)
    again.train()
    assert "nothing to do: the run has reached max_steps=2" in caplog.text
    assert not again.stopped
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir()} == before


def test_nothing_to_resume_from_is_a_warning(
    make_trainer: Make, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = make_trainer(resume_from_checkpoint=True)
    assert trainer.step == 0
    assert "No checkpoint found to resume from" in caplog.text


def without_manifests(folder: Path) -> list[str]:
    for manifest in folder.glob("*.json"):
        manifest.unlink()
    return sorted(path.name for path in folder.glob("*.pt"))


def test_files_copied_without_their_manifests_are_resumed_bitwise(
    make_trainer: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    straight = make_trainer(checkpoint_dir=str(tmp_path / "straight"))
    straight.train()
    callback = StopAt(5)
    callback.trainer = make_trainer(save_steps=2, callbacks=[callback])
    callback.trainer.train()
    files = without_manifests(tmp_path / "run")
    again = make_trainer(save_steps=2, resume_from_checkpoint=True)
    assert again.step == 5
    assert "checkpoint_step_5.pt has no manifest; its own checksums" in caplog.text
    again.train()
    assert_same(straight, again)
    assert history(tmp_path / "straight") == history(tmp_path / "run")
    assert set(files) < {path.name for path in (tmp_path / "run").glob("*.pt")}
    assert not list((tmp_path / "run").glob("*-1"))


@pytest.mark.parametrize("manifests", [True, False])
def test_a_resume_with_damaged_checkpoints_alone_is_refused_and_moves_nothing(
    make_trainer: Make, tmp_path: Path, manifests: bool
) -> None:
    make_trainer(max_steps=2).train()
    folder = tmp_path / "run"
    if not manifests:
        without_manifests(folder)
    (folder / "checkpoint_step_2.pt").write_bytes(b"short")
    before = sorted(folder.iterdir())
    with pytest.raises(ResumeError, match=r"no checkpoint to resume from: .*step_2\.pt .*; name"):
        make_trainer(max_steps=4, resume_from_checkpoint=True)
    assert sorted(folder.iterdir()) == before


def test_a_folder_means_its_newest_sound_checkpoint(make_trainer: Make, tmp_path: Path) -> None:
    make_trainer(max_steps=4, save_steps=2).train()
    folder = tmp_path / "run"
    (folder / "checkpoint_step_4.pt").write_bytes(b"short")
    changes = {"checkpoint_dir": str(tmp_path / "second")}
    trainer = make_trainer(resume_from_checkpoint=str(folder), max_steps=3, **changes)
    trainer.train()
    assert trainer.step == 3
    assert (folder / "checkpoint_step_4.pt").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ResumeError, match="empty is a folder without any file checkpoint_step_N"):
        make_trainer(resume_from_checkpoint=str(tmp_path / "empty"), **changes)


def test_a_checkpoint_that_was_asked_for_and_is_damaged_is_refused(
    make_trainer: Make, tmp_path: Path
) -> None:
    make_trainer(max_steps=4, save_steps=2).train()
    path = tmp_path / "run" / "checkpoint_step_4.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"step_4\.pt does not match its manifest's sha256"):
        make_trainer(resume_from_checkpoint=str(path))


def test_a_damaged_newest_checkpoint_is_passed_over(
    make_trainer: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_trainer(max_steps=4, save_steps=2).train()
    (tmp_path / "run" / "checkpoint_step_4.pt").write_bytes(b"short")
    trainer = make_trainer(resume_from_checkpoint=True)
    assert trainer.step == 2
    assert "checkpoint_step_4.pt has 5 bytes" in caplog.text
