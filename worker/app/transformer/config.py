"""The shape of a GPT-style transformer: its fields, its rules and its size. Never imports torch."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from app.transformer.errors import ConfigError, FieldProblem
from app.transformer.fields import read_known, shown, type_problems

Activation = Literal["gelu_approximate", "gelu", "relu", "relu_squared", "swiglu"]
PositionEncoding = Literal["learned", "sinusoidal", "rotary"]
Norm = Literal["layer_norm", "rms_norm"]

LARGEST_SIZES = {
    "vocab_size": 2**31,
    "hidden_size": 2**20,
    "num_layers": 2**16,
    "num_heads": 2**20,
    "num_kv_heads": 2**20,
    "head_dim": 2**20,
    "intermediate_size": 2**24,
    "max_position_embeddings": 2**31,
    "ngram_size": 8,
    "ngram_rows": 2**31,
}
"""Each size is at least 1 and at most this: far above any model, and small enough to calculate
with what follows from several of them."""

MOST_PARAMETERS = 10**14
"""Of a whole model."""


@dataclass
class RopeScaling:
    """How rotations reach beyond the context that a model was first trained with, as in Llama 3.1.

    Wavelengths longer than `original_max_position_embeddings` / `low_freq_factor` are stretched by
    `factor`, those shorter than it / `high_freq_factor` stay, and those between are mixed.
    """

    factor: float = 8.0
    """How much longer the slow wavelengths become, >= 1."""

    low_freq_factor: float = 1.0
    """Turns in the original context below which a wavelength is stretched, > 0."""

    high_freq_factor: float = 4.0
    """Turns in the original context above which a wavelength stays, > `low_freq_factor`."""

    original_max_position_embeddings: int = 8192
    """The context before, in tokens, >= 1."""

    def problems(self) -> list[FieldProblem]:
        """Return everything wrong with it; fields are named relative to this block."""
        problems = type_problems(self)
        if problems:
            return problems
        rules = (
            ("factor", 1 <= self.factor <= 1e12, f"at least 1 and at most {1e12}"),
            ("low_freq_factor", self.low_freq_factor > 0, "above 0"),
            (
                "high_freq_factor",
                self.low_freq_factor < self.high_freq_factor <= 1e12,
                f"above low_freq_factor={self.low_freq_factor} and at most {1e12}",
            ),
            (
                "original_max_position_embeddings",
                1 <= self.original_max_position_embeddings <= 2**31,
                f"at least 1 and at most {2**31}",
            ),
        )
        return [_scaling_problem(name, self, rule) for name, fits, rule in rules if not fits]


def _scaling_problem(name: str, scaling: RopeScaling, rule: str) -> FieldProblem:
    value, default = getattr(scaling, name), getattr(RopeScaling, name)
    message = f"`{name}` is {shown(value)}; it must be {rule}; Llama 3.1 has {default}"
    return FieldProblem(name, message)


@dataclass
class TransformerConfig:
    """A decoder-only transformer. The defaults are GPT-2 small: 124,439,808 parameters."""

    vocab_size: int = 50257
    """Number of token ids, > 0; every token of the data must be below it. GPT-2's by default."""

    hidden_size: int = 768
    """Width of the residual stream, > 0."""

    num_layers: int = 12
    """Number of blocks (attention + MLP), > 0."""

    num_heads: int = 12
    """Query heads, > 0; must divide `hidden_size`. 64 dimensions a head is customary."""

    num_kv_heads: int | None = None
    """Key/value heads shared by groups of query heads (GQA, Ainslie et al. 2023); must divide
    `num_heads`. None means one for each query head."""

    head_dim: int | None = None
    """Dimensions of a head, > 0, even with rotary positions. None means `hidden_size` /
    `num_heads`."""

    intermediate_size: int | None = None
    """Width of the MLP, > 0. None means 4 × `hidden_size`, whatever the activation."""

    max_position_embeddings: int = 1024
    """Longest context in tokens, > 0."""

    activation: Activation = "gelu_approximate"
    """MLP non-linearity. "gelu_approximate" is GPT-2's tanh form; "relu_squared" is Primer's
    (So et al. 2021); "swiglu" adds a gate (Shazeer 2020)."""

    dropout_rate: float = 0.0
    """Probability of dropping embeddings, attention weights and residual branches, in [0, 1)."""

    position_encoding_type: PositionEncoding = "learned"
    """How positions are encoded: a learned table (GPT-2), fixed sinusoids (Vaswani et al. 2017), or
    rotations of queries and keys (RoPE, Su et al. 2021)."""

    rope_theta: float = 10000.0
    """Base of the rotations' wavelengths, >= 1; larger ones reach further. Llama 3 has 500000."""

    rope_scaling: RopeScaling | None = None
    """Stretches slow rotations for contexts beyond the first training's. None: not at all."""

    layer_norm_type: Norm = "layer_norm"
    """Pre-norm of each branch and the final norm."""

    norm_epsilon: float = 1e-5
    """Added to the variance or mean square in every norm, > 0. GPT-2 and Llama 3 have 1e-5, Qwen
    1e-6."""

    qk_norm: bool = False
    """Normalise each query and key head to unit root mean square, before the rotation. Lets the
    learning rate be larger."""

    qk_norm_weights: bool = False
    """With `qk_norm`: then scale each dimension of a head by a weight, one vector for all query
    heads of a block and one for its key heads, as in Qwen3."""

    bias: bool = True
    """Biases in linear layers and layer norms. RMS norms have none in any case."""

    qkv_bias: bool | None = None
    """Biases of queries, keys and values, as in Qwen2. None means as `bias` says."""

    tie_word_embeddings: bool = True
    """Use the token embedding as the output projection too."""

    ngram_size: int = 1
    """Longest n-gram, 1 to 8, with a vector of its own: to each token's embedding those of the
    n-grams of 2 to `ngram_size` tokens that end at it are added. A short run learns much faster
    by that. 1: none."""

    ngram_rows: int = 16384
    """Rows of the table of each length of n-gram, > 0. Where there are more n-grams, several share
    a row. Without effect where `ngram_size` is 1."""

    mix_in_embedding: bool = False
    """Begin each block with a sum of its input and the embedding, by two learned weights of its
    own, at first 1 and 0 (modded-nanogpt's lambdas)."""

    initializer_range: float = 0.02
    """Standard deviation of initial weights, > 0. Projections back into the residual stream get
    it divided by sqrt(2 × `num_layers`), as in GPT-2."""

    zero_init_output_projections: bool = False
    """Start projections back into the residual stream at zero instead, so that every block
    begins as the identity; an untied output head starts at zero as well."""

    def __post_init__(self) -> None:
        self._unread: list[FieldProblem] = []
        scaling = cast("Any", self.rope_scaling)
        if isinstance(scaling, Mapping):
            known, unknown = read_known(RopeScaling, scaling)
            self._unread = [problem.under("rope_scaling") for problem in unknown]
            self.rope_scaling = RopeScaling(**known)

    @property
    def head_size(self) -> int:
        """`head_dim` with its default filled in."""
        return self.hidden_size // self.num_heads if self.head_dim is None else self.head_dim

    @property
    def has_qkv_bias(self) -> bool:
        """`qkv_bias` with its default filled in."""
        return self.bias if self.qkv_bias is None else self.qkv_bias

    @property
    def key_value_heads(self) -> int:
        """`num_kv_heads` with its default filled in."""
        return self.num_heads if self.num_kv_heads is None else self.num_kv_heads

    @property
    def mlp_size(self) -> int:
        """`intermediate_size` with its default filled in."""
        return 4 * self.hidden_size if self.intermediate_size is None else self.intermediate_size

    @property
    def ngram_table_rows(self) -> int:
        """Rows of all tables of n-grams: each has one more than `ngram_rows`."""
        return (self.ngram_size - 1) * (self.ngram_rows + 1)

    def problems(self) -> list[FieldProblem]:
        """Everything that keeps this configuration from being built; empty when it is valid."""
        found = self.problems_of_fields()
        found += _relation_problems(self, {problem.field for problem in found})
        return found or _too_many_parameters(self)

    def problems_of_fields(self) -> list[FieldProblem]:
        """Return what is wrong with fields alone, whatever the others are."""
        found = self._unread + type_problems(self) + _scaling_problems(self.rope_scaling)
        return found + _range_problems(self, {problem.field for problem in found})

    def validate(self) -> None:
        """Raise one `ConfigError` that lists every problem, if there is any."""
        found = self.problems()
        if found:
            raise ConfigError(found)

    def to_dict(self) -> dict[str, Any]:
        """Every field by name, in order, as plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TransformerConfig:
        """Build from field names and values.

        Fields left out keep their defaults. Values of the right type are left to `validate`.

        Raises:
            ConfigError: There are unknown keys or wrong types. It lists the problems of `validate`
                as well.
        """
        config, unknown = cls.read(values)
        if unknown or config._unread or type_problems(config):
            raise ConfigError(unknown + config.problems())
        return config

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> tuple[TransformerConfig, list[FieldProblem]]:
        """Return the configuration that the known keys of `values` make, and each problem.

        For callers that gather the problems of several configurations before they refuse any;
        `problems` of the result has the rest.
        """
        kept, unknown = read_known(cls, values)
        return cls(**kept), unknown

    def num_parameters(self) -> int:
        """Trainable parameters of the model this describes, a tied embedding counted once."""
        return sum(self.parameters_by_part().values())

    def parameters_by_part(self) -> dict[str, int]:
        """Trainable parameters of each kind of layer, those of all blocks together.

        `ngrams` is of their tables, `positions` of learned ones, `mix` of `mix_in_embedding`,
        `head` of an untied output projection.
        """
        hidden, bias = self.hidden_size, int(self.bias)
        has_positions = self.position_encoding_type == "learned"
        norm = hidden * (1 + (bias if self.layer_norm_type == "layer_norm" else 0))
        attention = hidden * (self._qkv_size + self.attention_size) + bias * hidden
        attention += int(self.has_qkv_bias) * self._qkv_size
        head_norms = 2 * self.head_size if self.qk_norm_weights else 0
        mlp = hidden * (self._up_size + self.mlp_size) + bias * (self._up_size + hidden)
        return {
            "embedding": self.vocab_size * hidden,
            "ngrams": self.ngram_table_rows * hidden,
            "positions": self.max_position_embeddings * hidden if has_positions else 0,
            "mix": 2 * self.num_layers if self.mix_in_embedding else 0,
            "attention": self.num_layers * attention,
            "mlp": self.num_layers * mlp,
            "norms": norm * (2 * self.num_layers + 1) + self.num_layers * head_norms,
            "head": 0 if self.tie_word_embeddings else self.vocab_size * hidden,
        }

    def num_matrix_parameters(self) -> int:
        """Parameters in the matrices of the blocks."""
        attention = self.hidden_size * (self._qkv_size + self.attention_size)
        mlp = self.hidden_size * (self._up_size + self.mlp_size)
        return self.num_layers * (attention + mlp)

    @property
    def attention_size(self) -> int:
        """Width of all query heads together."""
        return self.num_heads * self.head_size

    @property
    def _qkv_size(self) -> int:
        return self.attention_size + 2 * self.key_value_heads * self.head_size

    @property
    def _up_size(self) -> int:
        return self.mlp_size * (2 if self.activation == "swiglu" else 1)


def _range_problems(config: TransformerConfig, bad: set[str]) -> list[FieldProblem]:
    """Values of the right type that are out of their own range."""
    found = []
    for name, most in LARGEST_SIZES.items():
        value = getattr(config, name)
        if name not in bad and value is not None and not 1 <= value <= most:
            default = getattr(TransformerConfig, name)
            remedy = "leave it out" if default is None else f"GPT-2 small has {default}"
            rule = "at least 1" if value < 1 else f"at most {most}"
            found.append(
                FieldProblem(name, f"`{name}` is {shown(value)}; it must be {rule}; {remedy}")
            )
    if "dropout_rate" not in bad and not 0.0 <= config.dropout_rate < 1.0:
        found.append(
            FieldProblem(
                "dropout_rate",
                f"`dropout_rate` is {shown(config.dropout_rate)}; it must be at least 0 and "
                "below 1; try 0.1, or 0 for none",
            )
        )
    for name, least, example in (("norm_epsilon", 1e-12, 1e-5), ("rope_theta", 1.0, 10000.0)):
        if name not in bad and not least <= getattr(config, name) <= 1e12:
            rule = f"at least {least} and at most {1e12}; try {example}"
            message = f"`{name}` is {shown(getattr(config, name))}; it must be {rule}"
            found.append(FieldProblem(name, message))
    deviation = config.initializer_range
    if "initializer_range" not in bad and not 0 < deviation <= sys.float_info.max:
        found.append(
            FieldProblem(
                "initializer_range",
                f"`initializer_range` is {shown(deviation)}; it must be above 0 and finite; "
                "try 0.02",
            )
        )
    return found


def _relation_problems(config: TransformerConfig, bad: set[str]) -> list[FieldProblem]:
    """Fields that are fine alone and do not fit each other."""
    found: list[FieldProblem] = []
    if not bad & {"hidden_size", "num_heads", "head_dim"}:
        if config.head_dim is None and config.hidden_size % config.num_heads:
            found.append(_not_a_divisor("num_heads", config.num_heads, "hidden_size", config))
            bad = bad | {"num_heads"}
        elif config.position_encoding_type == "rotary" and config.head_size % 2:
            found.append(_odd_rotary_head(config))
    if config.qk_norm_weights and not config.qk_norm and not bad & {"qk_norm", "qk_norm_weights"}:
        message = "`qk_norm_weights` is true and `qk_norm` is not; set qk_norm as well"
        found.append(FieldProblem("qk_norm_weights", message))
    if (
        not bad & {"num_heads", "num_kv_heads"}
        and config.num_kv_heads is not None
        and config.num_heads % config.num_kv_heads
    ):
        found.append(_not_a_divisor("num_kv_heads", config.num_kv_heads, "num_heads", config))
    if (
        "hidden_size" not in bad
        and config.position_encoding_type == "sinusoidal"
        and config.hidden_size % 2
    ):
        found.append(
            FieldProblem(
                "hidden_size",
                f"`hidden_size` is {config.hidden_size}; it must be even for sinusoidal "
                f"positions; try {config.hidden_size + 1}",
            )
        )
    return found


def _too_many_parameters(config: TransformerConfig) -> list[FieldProblem]:
    count = config.num_parameters()
    if count <= MOST_PARAMETERS:
        return []
    message = (
        f"`hidden_size` is {config.hidden_size}; with num_layers={config.num_layers} and "
        f"vocab_size={config.vocab_size} the model has {count} parameters; it must have at most "
        f"{MOST_PARAMETERS}; make one of them smaller"
    )
    return [FieldProblem("hidden_size", message)]


def _scaling_problems(scaling: Any) -> list[FieldProblem]:
    if scaling is None:
        return []
    if not isinstance(scaling, RopeScaling):
        rule = f"`rope_scaling` is {shown(scaling)}; it must be null or a mapping of "
        names = ", ".join(field.name for field in dataclasses.fields(RopeScaling))
        return [FieldProblem("rope_scaling", rule + names)]
    return [problem.under("rope_scaling") for problem in scaling.problems()]


def _odd_rotary_head(config: TransformerConfig) -> FieldProblem:
    if config.head_dim is not None:
        rule = f"`head_dim` is {config.head_dim}; it must be even for rotary positions"
        return FieldProblem("head_dim", f"{rule}; try {config.head_dim + 1}")
    return FieldProblem(
        "num_heads",
        f"`num_heads` is {config.num_heads}; it must leave an even number of dimensions a head "
        f"for rotary positions, and hidden_size={config.hidden_size} leaves {config.head_size}; "
        "try another num_heads, or learned positions",
    )


def _not_a_divisor(
    name: str, value: int, whole_name: str, config: TransformerConfig
) -> FieldProblem:
    whole: int = getattr(config, whole_name)
    # Bounded searches: the numbers come from a client, who may write 10**18.
    nearest = min(value, whole)
    below = next((n for n in range(nearest, max(nearest - 4096, 0), -1) if whole % n == 0), 1)
    highest = min(whole, 2 * value, value + 4096)
    above = next((n for n in range(value, highest + 1) if whole % n == 0), below)
    remedy = f"{below}" if above == below else f"{below} or {above}"
    return FieldProblem(
        name, f"`{name}` is {value}; it must divide {whole_name}={whole}; try {remedy}"
    )
