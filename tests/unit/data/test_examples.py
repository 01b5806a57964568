"""The shipped configurations are valid, and the three of the guide say exactly what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from app.training.config import TrainingConfig
from app.transformer.families import family_of

EXAMPLES = Path(__file__).parents[3] / "examples"
PAGE = Path(__file__).parents[3] / "services/gateway/static/first_config.js"
NAMES = sorted(path.name for path in EXAMPLES.glob("*.yaml"))

GUIDE = {
    "small.yaml": {
        "model_config": {
            "vocab_size": 50257,
            "hidden_size": 256,
            "num_layers": 4,
            "num_heads": 4,
        },
        "batch_size": 16,
        "learning_rate": 0.001,
        "max_steps": 10000,
        "warmup_steps": 500,
        "mixed_precision": "bf16",
    },
    "medium.yaml": {
        "model_config": {
            "vocab_size": 50257,
            "hidden_size": 768,
            "num_layers": 12,
            "num_heads": 12,
        },
        "batch_size": 8,
        "gradient_accumulation_steps": 4,
        "learning_rate": 0.0006,
        "max_steps": 100000,
        "warmup_steps": 2000,
        "scheduler_type": "cosine",
        "mixed_precision": "bf16",
    },
    "large.yaml": {
        "model_config": {
            "vocab_size": 50257,
            "hidden_size": 1024,
            "num_layers": 24,
            "num_heads": 16,
        },
        "batch_size": 4,
        "gradient_accumulation_steps": 8,
        "learning_rate": 0.00025,
        "max_steps": 300000,
        "warmup_steps": 4000,
        "scheduler_type": "cosine",
        "mixed_precision": "bf16",
        "max_grad_norm": 1.0,
        "weight_decay": 0.01,
    },
}


def test_the_promised_examples_are_here():
    shakespeare = [f"shakespeare_char{kind}.yaml" for kind in ("", "_gpt2", "_qwen3")]
    promised = [*GUIDE, "tiny.yaml", *shakespeare]
    assert set(promised) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_valid_and_without_warnings(name: str):
    config = TrainingConfig.from_yaml(EXAMPLES / name)
    assert config.problems() == []
    assert config.warnings() == []


@pytest.mark.parametrize("name", sorted(GUIDE))
def test_the_guides_examples_are_exactly_the_guides(name: str):
    assert yaml.safe_load((EXAMPLES / name).read_text()) == GUIDE[name]


def test_the_shakespeare_recipes_are_of_the_same_shape():
    names = ("shakespeare_char_gpt2", "shakespeare_char", "shakespeare_char_qwen3")
    classic, *modern = (TrainingConfig.from_yaml(EXAMPLES / f"{name}.yaml") for name in names)
    for config in (classic, *modern):
        model = config.model_config
        assert (model.num_layers, model.num_heads, model.hidden_size) == (4, 4, 128)
        assert (config.get_sequence_length(), model.vocab_size) == (64, 65)
    assert (classic.max_steps, classic.learning_rate, classic.adam_beta2) == (2000, 0.001, 0.99)
    assert [config.optimizer_type for config in modern] == ["muon", "muon"]
    assert modern[0].model_config.ngram_size == 4
    assert family_of(modern[1].model_config) == "qwen3"


def test_the_pages_first_configuration_is_tiny_and_can_be_exported():
    text = PAGE.read_text().partition("`# ")[2].partition("`;")[0]
    first = yaml.safe_load("# " + text)
    assert first == yaml.safe_load((EXAMPLES / "tiny.yaml").read_text())
    assert family_of(TrainingConfig.from_dict(first).model_config) == "llama"
