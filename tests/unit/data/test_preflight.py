"""What is known before a run is a problem or a warning at its start, in words that help."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers

from app.training.config import TrainingConfig
from app.training.data import load_dataset
from app.training.fit import MemoryPool, beyond_memory, state_beyond_memory
from app.training.memory import estimate_memory, machine_memory
from app.training.preflight import Findings, VisibleData, inspect_run

TEXT = "the quick brown fox jumps over the lazy dog\n" * 40


def look(config: TrainingConfig, path: Path, validation: Path | None = None) -> Findings:
    return inspect_run(config, VisibleData(path, validation, tokenizer=True, gpt2=True))


def words(problems: list[Any]) -> list[tuple[str, str]]:
    return [(problem.field, problem.message) for problem in problems]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "a.txt"
    path.write_text(TEXT)
    return path


def test_data_that_fit_find_nothing(text: Path, make_config: Any) -> None:
    assert look(make_config(), text) == Findings()


def test_a_vocabulary_smaller_than_the_tokenizer(
    tmp_path: Path, text: Path, make_config: Any
) -> None:
    ((field, message),) = words(look(make_config(100), text).problems)
    assert field == "model_config.vocab_size"
    assert "is 100 and the tokenizer 'byte' has 256 ids" in message
    assert "set vocab_size to at least 256" in message
    np.arange(99, dtype="<u2").tofile(tmp_path / "a.bin")  # ids: the tokenizer has no part in them
    assert look(make_config(100), tmp_path / "a.bin") == Findings()
    resumed = make_config(100, resume_from_checkpoint=True, checkpoint_dir=str(tmp_path))
    assert look(resumed, text).problems  # nothing is there to resume: it begins at step 0
    (tmp_path / "checkpoint_step_1.pt").touch()
    found = look(resumed, text)
    assert found.problems == []  # its model has the rows that it has
    assert words(found.warnings)[0][0] == "model_config.vocab_size"


def test_a_vocabulary_much_larger_than_the_tokenizer(
    text: Path, make_config: Any, caplog: pytest.LogCaptureFixture
) -> None:
    config = make_config(50257)
    ((field, message),) = words(look(config, text).warnings)
    assert field == "model_config.vocab_size"
    assert "50,001 rows of the embedding are never used; set vocab_size to 256" in message
    load_dataset(text, config)
    assert message in caplog.text  # the library's own users hear it too
    assert look(make_config(384), text) == Findings()  # rounded up
    assert inspect_run(config, VisibleData()).warnings  # whatever the data will be


def test_the_size_of_a_tokenizer_json(tmp_path: Path, text: Path, make_config: Any) -> None:
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"the": 0, "[UNK]": 1}, "[UNK]"))
    made.add_special_tokens(["<|endoftext|>"])
    file = tmp_path / "tokenizer.json"
    made.save(str(file))
    unigram = tokenizers.Tokenizer(tokenizers.models.Unigram([("a", 0.0), ("b", -1.0)], 0))
    ((_, message),) = words(look(make_config(500, tokenizer=str(file)), text).warnings)
    assert f"the tokenizer {str(file)!r} has 3 ids: 497 rows" in message
    ((_, message),) = words(look(make_config(2, tokenizer=str(tmp_path)), text).problems)
    assert "has 3 ids; there must be a row for each" in message
    unigram.save(str(file))
    ((_, message),) = words(look(make_config(1, tokenizer=str(file)), text).problems)
    assert "has 2 ids" in message


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"model": {}}', '{"model": {"vocab": 3}}', "[" * 20_000]
)
def test_a_file_that_is_no_tokenizer(
    tmp_path: Path, text: Path, make_config: Any, content: str
) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text(content)
    ((field, message),) = words(look(make_config(tokenizer=str(file)), text).problems)
    assert field == "tokenizer"
    assert message.startswith(f"`tokenizer` is {str(file)!r}, which cannot be read (")
    file.unlink()
    ((_, message),) = words(look(make_config(tokenizer=str(file)), text).problems)
    assert "there is no such file" in message


def test_gpt2_without_its_files(
    tmp_path: Path, text: Path, make_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TRAINING_ENGINE_GPT2_TOKENIZER", raising=False)
    monkeypatch.delenv("HF_HOME", raising=False)
    config = make_config(50257, tokenizer="gpt2")
    ((field, message),) = words(look(config, text).problems)
    assert (field, "whose files are not installed" in message) == ("tokenizer", True)
    elsewhere = inspect_run(config, VisibleData(text))
    assert (elsewhere.problems, len(elsewhere.warnings)) == ([], 1)


def test_too_little_data_for_windows_batches_and_validation(
    tmp_path: Path, make_config: Any
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x" * 100)
    ((field, message),) = words(look(make_config(sequence_length=100), path).problems)
    assert field == "dataset_path"
    assert "has 100 tokens, of which 10 are held back" in message
    ((field, message),) = words(look(make_config(sequence_length=4, batch_size=40), path).warnings)
    assert (field, message[:45]) == ("batch_size", "a batch is 40 samples and the data are 21: ea")
    many = make_config(sequence_length=4, gradient_accumulation_steps=3)
    ((field, message),) = words(look(many, path).warnings)
    assert field == "gradient_accumulation_steps"
    assert "a step is 3 batches of 8 samples and the data are 21" in message
    ((field, message),) = words(look(make_config(val_fraction=0.001), path).problems)
    assert (field, "has 1 token; it must have at least 2" in message) == ("val_fraction", True)
    few = make_config(sequence_length=20, batch_size=1)
    ((field, message),) = words(look(few, path).warnings)
    assert (field, "has 10 tokens, less than one window" in message) == ("val_fraction", True)
    (tmp_path / "v.txt").write_text("x")
    named = make_config(val_dataset_path="v.txt")
    ((field, _),) = words(look(named, path, tmp_path / "v.txt").problems)
    assert field == "val_dataset_path"


def test_early_stopping_by_a_validation_that_there_is_not(tmp_path: Path, make_config: Any) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "train.txt").write_text(TEXT)
    config = make_config(val_fraction=0.0, early_stopping={"metric": "val_loss"})
    ((field, _),) = words(look(config, folder).problems)
    assert field == "early_stopping.metric"
    (folder / "validation.txt").write_text(TEXT)
    assert look(config, folder).problems == []
    by_loss = make_config(val_fraction=0.0, early_stopping={"metric": "loss"})
    assert look(by_loss, folder / "train.txt").problems == []


def test_sources_none_of_which_has_anything_to_validate_on(
    tmp_path: Path, make_config: Any
) -> None:
    train, other = tmp_path / "train.txt", tmp_path / "other.txt"
    for path in (train, other):
        path.write_text(TEXT)
    sources = [{"path": str(path)} for path in (train, other)]
    config = make_config(val_fraction=0.0, data={"sources": sources})
    assert inspect_run(config, VisibleData(sources=(train, other))).lacks_validation
    assert not inspect_run(config, VisibleData(sources=(train, None))).lacks_validation
    held_back = make_config(data={"sources": sources})
    assert not inspect_run(held_back, VisibleData(sources=(train, other))).lacks_validation


def test_every_problem_at_once(tmp_path: Path, make_config: Any) -> None:
    (tmp_path / "v.txt").touch()
    config = make_config(tokenizer=str(tmp_path / "gone.json"), val_dataset_path="v.txt")
    (tmp_path / "empty").mkdir()
    found = look(config, tmp_path / "empty", tmp_path / "gone.txt")
    assert [problem.field for problem in found.problems] == [
        "tokenizer",
        "dataset_path",
        "val_dataset_path",
    ]


def test_memory_that_does_not_suffice() -> None:
    config = TrainingConfig()
    estimate = estimate_memory(config)
    state = estimate.total_bytes - estimate.activations_bytes
    assert beyond_memory(config, MemoryPool("cuda:0", estimate.total_bytes)) is None
    warning = beyond_memory(config, MemoryPool("cuda:0", estimate.total_bytes - 1))
    assert warning is not None
    assert "training takes about 9.4" in warning.message
    assert state_beyond_memory(config, MemoryPool("cuda:0", state)) is None
    assert state_beyond_memory(config, MemoryPool("cuda:0", state // 2, swap_bytes=state)) is None
    assert state_beyond_memory(config, MemoryPool("here", state, copies=2, processes=2)) is not None
    memory = machine_memory()
    assert memory is not None
    assert 1 << 28 < memory < 1 << 50


def test_a_look_needs_no_numpy_and_no_torch(text: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from app.training.config import TrainingConfig;"
        "from app.training.preflight import *;"
        f"inspect_run(TrainingConfig(), VisibleData(Path({str(text)!r}), tokenizer=True));"
        "print([m for m in ('numpy', 'torch', 'pyarrow', 'tokenizers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_train_py_refuses_and_warns_at_once(tmp_path: Path) -> None:
    """Before torch is imported: the problem alone is printed, and nothing is written."""
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "c.yaml").write_text(json.dumps({"model_config": {"vocab_size": 100}}))
    script = Path(__file__).parents[3] / "train.py"
    done = subprocess.run(
        [sys.executable, script, "--config", "c.yaml", "--dataset", "a.txt"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "the tokenizer 'byte' has 256 ids" in done.stderr
