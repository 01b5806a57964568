"""What YAML 1.1 would take for something else, the encodings of the file, and `~` in paths."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from app.training.checkpoint import CheckpointManager
from app.training.config import TrainingConfig
from app.training.data.cache import cache_directory
from app.transformer import ConfigError


def message_of(document: str) -> str:
    with pytest.raises(ConfigError) as caught:
        TrainingConfig.from_document(document)
    assert len(caught.value.problems) == 1
    return caught.value.problems[0].message


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("max_steps: 010", "write 10, or 8 if octal is meant, as YAML 1.1 reads it"),
        ("max_grad_norm: 010", "write 10, or 8 if octal is meant, as YAML 1.1 reads it"),
        ("model_config: {num_layers: 010}", "write 10, or 8 if octal is meant"),
        ("max_steps: 1:30", "write one number; YAML 1.1 reads it to the base 60, as 90"),
        ("wandb_project: None", "is 'None'; YAML takes that word as text; write null, or leave"),
        ("max_steps: None", "is 'None'; YAML takes that word as text; write null, or leave"),
        ("mixed_precision: no", "off, yes and on as false and true: put a word in quotes; null"),
        ("wandb_mode: off", "off, yes and on as false and true: put a word in quotes; null"),
        ("optimizer_type: on", "off, yes and on as false and true: put a word in quotes"),
        ("wandb_project: 2024", 'it must be text or null; put it in quotes: "2024"'),
    ],
)
def test_a_surprise_of_yaml_is_refused_with_what_to_write(document: str, said: str) -> None:
    assert said in message_of(document)


def test_what_is_no_surprise_stays_as_it_was() -> None:
    read = TrainingConfig.from_document(
        "max_steps: 1_000\nseed: 0x10\nlearning_rate: 6e-4\nmax_grad_norm: .5\nsave_steps: 0b11\n"
        "wandb_run_name: 2024-05-01\nwandb_entity: 1:30\ndeterministic: yes\nadam_beta2: 0.95\n"
    )
    assert (read.max_steps, read.seed, read.learning_rate) == (1000, 16, 6e-4)
    assert (read.max_grad_norm, read.save_steps, read.adam_beta2) == (0.5, 3, 0.95)
    assert (read.wandb_run_name, read.wandb_entity) == ("2024-05-01", "1:30")
    assert read.deterministic is True


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("document", ["max_steps: 7 # größer", '{"max_steps": 7}'])
def test_a_file_may_be_in_utf_16(tmp_path: Path, encoding: str, document: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(document.encode(encoding))
    assert TrainingConfig.from_yaml(path).max_steps == 7


def test_another_encoding_is_named_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes("wandb_project: größer".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"config.yaml is not text in UTF-8 or UTF-16 .*saved as"):
        TrainingConfig.from_yaml(path)


def test_a_path_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "config.yaml").write_text("max_steps: 7")
    assert TrainingConfig.from_yaml("~/config.yaml").max_steps == 7
    assert CheckpointManager("~/run").checkpoint_dir == tmp_path / "run"


def test_a_user_without_a_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "TRAINING_ENGINE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    assert cache_directory(tmp_path / "text.txt") == tmp_path / ".training_engine_cache"
    assert "this user has no home folder; tokens are cached in" in caplog.text
    with pytest.raises(ValueError, match=r"'~/run' begins with ~, and user .* has no home folder"):
        CheckpointManager("~/run")
    assert [path.name for path in tmp_path.iterdir()] == [".training_engine_cache"]
