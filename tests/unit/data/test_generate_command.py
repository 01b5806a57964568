"""`training-engine generate --local`: text from a checkpoint file, without a service."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from app.training.checkpoint_file import write_checkpoint
from app.training.config import TrainingConfig
from app.training.inference import load_for_generation
from app.training.sampled_text import sample_pieces
from app.training.tokenizer import ByteTokenizer, CharTokenizer
from app.transformer.config import TransformerConfig
from app.transformer.model import GPTModel


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-P", "-m", "training_engine", "generate", "--local", *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    small = TransformerConfig(
        vocab_size=256, hidden_size=16, num_layers=1, num_heads=2, max_position_embeddings=32
    )
    path = tmp_path_factory.mktemp("generate") / "checkpoint_step_3.pt"
    state = {
        "format_version": 1,
        "model_state_dict": GPTModel(small).state_dict(),
        "optimizer_state_dict": {},
        "scheduler_state_dict": {},
        "step": 3,
        "loss": 1.5,
        "config": TrainingConfig(model_config=small).to_dict(),
        "timestamp": 1.0,
        "tokenizer": ByteTokenizer().to_dict(),
    }
    write_checkpoint(path, state)
    write_checkpoint(path.with_name("ids.pt"), {**state, "tokenizer": None})
    return path


def test_a_seed_gives_the_text_that_the_library_gives(checkpoint: Path) -> None:
    model, tokenizer = load_for_generation(checkpoint)
    options: dict[str, Any] = {
        "max_tokens": 12,
        "temperature": 0.8,
        "top_k": 50,
        "top_p": 0.9,
        "seed": 3,
    }
    pieces = list(sample_pieces(model, tokenizer, "To be", **options))
    assert [piece.index for piece in pieces] == list(range(12))
    assert [piece.finish_reason for piece in pieces] == [""] * 11 + ["length"]
    text = "".join(piece.text for piece in pieces)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    said = command(str(checkpoint), "--prompt", "To be", *flags, "--json")
    assert said.returncode == 0, said.stderr
    sample = {
        "text": text,
        "token_ids": [piece.token_id for piece in pieces],
        "finish_reason": "length",
    }
    assert json.loads(said.stdout) == {
        "checkpoint_id": str(checkpoint),
        "prompt": "To be",
        **sample,
        "prompt_tokens": 5,
        "dropped_prompt_tokens": 0,
        "prompt_logprobs": None,
        "prompt_text": None,
        "samples": [{**sample, "logprobs": None}],
    }


def test_defaults_sample_256_tokens_after_the_prompt(checkpoint: Path) -> None:
    said = command(str(checkpoint), "-p", "To be", "--temperature=0")
    assert said.returncode == 0, said.stderr
    model, tokenizer = load_for_generation(checkpoint)
    pieces = list(sample_pieces(model, tokenizer, "To be", temperature=0.0))
    assert len(pieces) == 256
    assert said.stdout.rstrip("\n") == ("To be" + "".join(p.text for p in pieces)).rstrip("\n")


@pytest.mark.parametrize(
    ("name", "flag", "message"),
    [
        ("none.pt", "--seed=1", "there is no checkpoint"),
        ("ids.pt", "--seed=1", "the checkpoint has no tokenizer"),
        ("checkpoint_step_3.pt", "--top-p=2", "`top_p` is 2.0; it must be above 0 and at most 1"),
        ("checkpoint_step_3.pt", "--max-tokens=0", "`max_tokens` is 0; it must be at least 1"),
    ],
)
def test_what_cannot_be_sampled_says_why_and_prints_no_text(
    checkpoint: Path, name: str, flag: str, message: str
) -> None:
    said = command(str(checkpoint.with_name(name)), "--prompt", "To be", flag)
    assert (said.returncode, said.stdout) == (2, "")
    assert message in said.stderr
    assert "Traceback" not in said.stderr


def test_an_empty_prompt_and_an_unknown_letter(checkpoint: Path) -> None:
    model, _ = load_for_generation(checkpoint)
    letters = CharTokenizer("ab")
    assert len(list(sample_pieces(model, letters, "", max_tokens=1, top_k=1))) == 1
    with pytest.raises(ValueError, match="z"):
        sample_pieces(model, letters, "z")
