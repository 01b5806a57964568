"""`TransformerConfig`: its problems by text, its dictionary form, its size, its lazy import."""

from __future__ import annotations

import subprocess
import sys

import pytest

import app.transformer
from app.transformer.config import LARGEST_SIZES, TransformerConfig
from app.transformer.errors import ConfigError, FieldProblem


def messages(config: TransformerConfig) -> list[str]:
    return [str(problem) for problem in config.problems()]


def test_defaults_are_gpt2_small() -> None:
    config = TransformerConfig()
    config.validate()
    assert config.num_parameters() == 124_439_808
    assert (config.head_size, config.key_value_heads, config.mlp_size) == (64, 12, 3072)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"num_heads": 5},
            "`num_heads` is 5; it must divide hidden_size=768; try 4 or 6",
        ),
        (
            {"num_kv_heads": 5},
            "`num_kv_heads` is 5; it must divide num_heads=12; try 4 or 6",
        ),
        (
            {"vocab_size": 0},
            "`vocab_size` is 0; it must be at least 1; GPT-2 small has 50257",
        ),
        (
            {"intermediate_size": -1},
            "`intermediate_size` is -1; it must be at least 1; leave it out",
        ),
        (
            {"dropout_rate": 1.0},
            "`dropout_rate` is 1.0; it must be at least 0 and below 1; try 0.1, or 0 for none",
        ),
        (
            {"initializer_range": float("nan")},
            "`initializer_range` is nan; it must be above 0 and finite; try 0.02",
        ),
        (
            {"hidden_size": 12, "position_encoding_type": "rotary"},
            "`num_heads` is 12; it must leave an even number of dimensions a head for "
            "rotary positions, and hidden_size=12 leaves 1; try another num_heads, or learned "
            "positions",
        ),
        (
            {"hidden_size": 5, "num_heads": 5, "position_encoding_type": "sinusoidal"},
            "`hidden_size` is 5; it must be even for sinusoidal positions; try 6",
        ),
        (
            {"bias": 1},
            "`bias` is 1; it must be true or false",
        ),
        (
            {"num_layers": True},
            "`num_layers` is True; it must be an integer",
        ),
        (
            {"num_layers": 12.0},
            "`num_layers` is 12.0; it must be an integer; write 12",
        ),
        (
            {"initializer_range": "2e-2"},
            "`initializer_range` is '2e-2'; it must be a number; write 0.02 without quotes",
        ),
        (
            {"layer_norm_type": "rmsnorm"},
            "`layer_norm_type` is 'rmsnorm'; it must be one of 'layer_norm', "
            "'rms_norm'; did you mean 'rms_norm'?",
        ),
    ],
)
def test_problem_names_value_rule_and_remedy(fields: dict[str, object], expected: str) -> None:
    assert messages(TransformerConfig(**fields)) == [expected]  # type: ignore[arg-type]


def test_one_error_lists_every_problem() -> None:
    config = TransformerConfig(num_heads=5, dropout_rate=-1.0, activation="tanh")  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as caught:
        config.validate()
    assert [problem.field for problem in caught.value.problems] == [
        "activation",
        "dropout_rate",
        "num_heads",
    ]
    assert str(caught.value).startswith("the configuration has 3 problems:\n  - `activation` is ")


def test_enormous_numbers_are_refused_at_once() -> None:
    config = TransformerConfig(hidden_size=10**18, num_heads=10**17 + 3)
    assert messages(config) == [
        "`hidden_size` is 1000000000000000000; it must be at most 1048576; GPT-2 small has 768",
        "`num_heads` is 100000000000000003; it must be at most 1048576; GPT-2 small has 12",
    ]


@pytest.mark.parametrize("name", LARGEST_SIZES)
def test_every_size_has_an_end(name: str) -> None:
    for value in (LARGEST_SIZES[name] + 1, 2**62, 10**30, 10**5000):
        (problem,) = TransformerConfig(**{name: value}).problems()
        assert problem.field == name
        assert f"at most {LARGEST_SIZES[name]}" in problem.message
        assert len(problem.message) < 300


def test_sizes_that_are_large_together_are_refused() -> None:
    largest = TransformerConfig(**LARGEST_SIZES)
    (problem,) = largest.problems()
    assert problem.field == "hidden_size"
    assert "it must have at most 100000000000000; make one of them smaller" in problem.message


def test_from_dict_names_the_nearest_key_and_what_validate_would_find() -> None:
    with pytest.raises(ConfigError) as caught:
        TransformerConfig.from_dict({"num_head": 4, "hidden_size": "768", "num_layers": 0})
    assert [str(problem) for problem in caught.value.problems] == [
        "`num_head` is not a known key; did you mean `num_heads`?",
        "`hidden_size` is '768'; it must be an integer; write 768 without quotes",
        "`num_layers` is 0; it must be at least 1; GPT-2 small has 12",
    ]


def test_from_dict_leaves_values_of_the_right_type_to_validate() -> None:
    config = TransformerConfig.from_dict({"num_layers": 0})
    assert config.num_layers == 0


def test_dictionary_round_trip() -> None:
    config = TransformerConfig(num_kv_heads=4, activation="swiglu", dropout_rate=0)
    assert TransformerConfig.from_dict(config.to_dict()) == config
    assert list(config.to_dict())[:2] == ["vocab_size", "hidden_size"]


def test_problem_seen_from_the_outer_configuration() -> None:
    assert FieldProblem("num_heads", "m").under("model_config").field == "model_config.num_heads"


def test_public_names_are_frozen_and_sorted() -> None:
    names = "ConfigError FieldProblem GPTModel TransformerConfig fuse"
    assert app.transformer.__all__ == names.split()
    for name in app.transformer.__all__:
        assert getattr(app.transformer, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'Missing'"):
        _ = app.transformer.Missing


def test_configuration_never_imports_torch() -> None:
    program = (
        "import sys, app.transformer, app.transformer.config, app.transformer.errors\n"
        "app.transformer.TransformerConfig().validate()\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_scaled_rotations_are_read_and_checked() -> None:
    scaling = {"factor": 32.0, "original_max_position_embeddings": 4096}
    config = TransformerConfig.from_dict({"rope_scaling": scaling})
    config.validate()
    assert TransformerConfig.from_dict(config.to_dict()) == config
    wrong = {"factor": 0.5, "high_freq_factor": 1.0, "low_freq": 1.0}
    with pytest.raises(ConfigError) as caught:
        TransformerConfig.from_dict({"rope_scaling": wrong, "qk_norm_weights": True})
    assert [str(problem) for problem in caught.value.problems] == [
        "rope_scaling.low_freq: `low_freq` is not a known key; did you mean `low_freq_factor`?",
        "rope_scaling.factor: `factor` is 0.5; it must be at least 1 and at most "
        "1000000000000.0; Llama 3.1 has 8.0",
        "rope_scaling.high_freq_factor: `high_freq_factor` is 1.0; it must be above "
        "low_freq_factor=1.0 and at most 1000000000000.0; Llama 3.1 has 4.0",
        "`qk_norm_weights` is true and `qk_norm` is not; set qk_norm as well",
    ]
