"""Prompts in one call get what they get alone; averages of the weights are sampled on request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from app.training import Trainer, TrainingConfig
from app.training.data import load_dataset
from app.training.errors import NoAverageError
from app.training.inference import load_trained
from app.training.sampled_text import SampledPiece, sample_batch, sample_pieces
from app.training.tokenizer import load_tokenizer
from app.transformer import GPTModel, TransformerConfig
from training_engine.cli.app import app

TEXT = "the quick brown fox jumps over the lazy dog\n" * 20
SHAPE: dict[str, Any] = {
    "vocab_size": 256,
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 2,
    "max_position_embeddings": 32,
}


def of_prompt(pieces: list[SampledPiece], number: int) -> list[tuple[int, int, str]]:
    return [(p.index, p.sample, p.text) for p in pieces if p.prompt_index == number]


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"seed": 3, "num_samples": 2}])
def test_each_prompt_gets_what_it_gets_alone(options: dict[str, Any]) -> None:
    torch.manual_seed(1)
    model, tokenizer = GPTModel(TransformerConfig(**SHAPE)).eval(), load_tokenizer("byte")
    prompts = ["", "a", "two words", TEXT[:50], *(f"prompt {n}" * n for n in range(1, 8))]
    pieces = list(sample_batch(model, tokenizer, prompts, max_tokens=20, **options))
    assert [piece.prompt_index for piece in pieces[:10]] == [*range(8), 0, 1]
    for number, prompt in enumerate(prompts):
        alone = list(sample_pieces(model, tokenizer, prompt, max_tokens=20, **options))
        assert of_prompt(pieces, number) == of_prompt(alone, 0)


def test_a_prompt_at_fault_is_said_before_the_first_piece() -> None:
    model = GPTModel(TransformerConfig(**SHAPE))
    with pytest.raises(ValueError, match="`max_tokens` is 0"):
        sample_batch(model, load_tokenizer("byte"), ["a", "b"], max_tokens=0)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Those of a run with an average of the weights, and of one without."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text(TEXT)
    found = {}
    for averaged in (True, False):
        config = TrainingConfig(
            model_config=TransformerConfig(**SHAPE),
            batch_size=2,
            learning_rate=0.1,
            max_steps=4,
            warmup_steps=0,
            ema_decay=0.9 if averaged else None,
            checkpoint_dir=str(folder / str(averaged)),
            device="cpu",
        )
        Trainer(config, *load_dataset(folder / "text.txt", config)).train()
        found[averaged] = Path(config.checkpoint_dir, "checkpoint_step_4.pt")
    return found


def generate(checkpoint: Path, *arguments: str) -> Any:
    fixed = ("--local", "--temperature", "0", "--max-tokens", "20", "--json")
    return CliRunner().invoke(app, ["generate", str(checkpoint), *fixed, *arguments])


def test_the_average_is_sampled_on_request(checkpoints: dict[bool, Path]) -> None:
    weights = load_trained(checkpoints[True]).model.state_dict()
    averages = load_trained(checkpoints[True], averaged=True).model.state_dict()
    assert any(not torch.equal(weights[name], averages[name]) for name in weights)
    answer = generate(checkpoints[True], "-p", "a", "-p", "the quick", "--averaged")
    assert answer.exit_code == 0, answer.output
    said = [each["text"] for each in json.loads(answer.stdout)["answers"]]
    loaded = load_trained(checkpoints[True], averaged=True)
    pieces = list(
        sample_batch(
            loaded.model, loaded.tokenizer, ["a", "the quick"], temperature=0.0, max_tokens=20
        )
    )
    assert said == ["".join(text for *_, text in of_prompt(pieces, n)) for n in (0, 1)]


def test_a_checkpoint_without_an_average_says_so(checkpoints: dict[bool, Path]) -> None:
    with pytest.raises(NoAverageError, match="has no average of the weights; train with `ema_deca"):
        load_trained(checkpoints[False], averaged=True)
    answer = generate(checkpoints[False], "-p", "a", "--averaged")
    assert answer.exit_code == 2
    assert "has no average of the weights" in answer.stderr
