"""What is said of a model before it is built is true of the model that is built."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from app.training import TrainingConfig
from app.training.model_summary import flops_per_token, model_summary
from app.transformer import GPTModel, TransformerConfig

SMALL: dict[str, Any] = {
    "vocab_size": 13, "hidden_size": 8, "num_layers": 2, "num_heads": 2,
    "max_position_embeddings": 5,
}  # fmt: skip
PART = {"token_embedding": "embedding", "position_embedding": "positions", "lm_head": "head"}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"bias": False, "layer_norm_type": "rms_norm", "activation": "swiglu"},
        {"tie_word_embeddings": False, "position_encoding_type": "rotary", "num_kv_heads": 1},
    ],
)
def test_parameters_are_counted_part_by_part(changes: dict[str, Any]) -> None:
    config = TransformerConfig(**SMALL | changes)
    counts = dict.fromkeys(config.parameters_by_part(), 0)
    for name, parameter in GPTModel(config).named_parameters():
        inner = next((part for part in ("norm", "attention.", "mlp.") if part in name), "")
        part = {"norm": "norms", "attention.": "attention", "mlp.": "mlp"}.get(inner)
        counts[part or PART[name.split(".")[0]]] += parameter.numel()
    assert config.parameters_by_part() == counts
    assert config.num_parameters() == sum(counts.values())


def test_flops_per_token_of_gpt2_small() -> None:
    multiplied = 124_439_808 - 1024 * 768
    expected = 6 * multiplied + 12 * 12 * 768 * 1024
    assert flops_per_token(TransformerConfig(), 1024) == expected


def test_the_sentence_leaves_out_what_the_model_has_not() -> None:
    config = TrainingConfig(model_config=TransformerConfig(**SMALL))
    assert model_summary(config) == (
        "1,904 parameters (embedding 104, positions 40, attention 576, mlp 1,104, norms 80); "
        "0.0121 MFLOP a token forward and backward; about 1 MiB of memory"
    )


def test_it_needs_no_torch() -> None:
    code = "import sys, app.training.model_summary; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n"
