"""Which matrices of a model get low-rank adapters, and of what size. Never imports torch.

The fused `attention.qkv` and `mlp.up` are several matrices one below the other: in the formats of
others q_proj, k_proj and v_proj, gate_proj and up_proj. Each has adapters of its own. In GPT-2's
form they are one matrix (c_attn, c_fc), and so they are here.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from app.transformer.config import TransformerConfig
from app.transformer.errors import FieldProblem, UnsupportedModelError
from app.transformer.families import family_of

FACTOR_A, FACTOR_B = "lora_a", "lora_b"
_DEFAULT_TARGETS = ("attention.*",)


@dataclass
class LoraConfig:
    """Low-rank adapters that are trained in place of the weights (LoRA, Hu et al. 2021)."""

    rank: int = 8
    """Columns of the factor B and rows of the factor A of each adapter, >= 1."""

    alpha: float = 16.0
    """The product B A counts alpha / rank times, > 0."""

    targets: list[str] = field(default_factory=list)
    """Linear layers of the blocks that get adapters: ends of their names, or patterns of them, such
    as `attention.qkv`, `attention.qkv.query`, `mlp.*` or `blocks.[0-3].*`; each must match
    something. Empty: `attention.*`."""

    dropout: float = 0.0
    """Share of an adapter's inputs that training sets to zero, in [0, 1)."""


@dataclass(frozen=True, slots=True)
class Part:
    """A matrix of its own in a linear layer."""

    name: str
    """Such as "query"; empty for the only one."""
    rows: int
    adapted: bool


@dataclass(frozen=True, slots=True)
class AdaptedLayer:
    """A linear layer with adapters."""

    name: str
    """Of the module, such as "blocks.0.attention.qkv"."""
    inputs: int
    parts: tuple[Part, ...]
    """In the order of its rows; at least one is adapted."""

    @property
    def factor_a(self) -> str:
        """Name of the parameter with the factors A of its parts."""
        return f"{self.name}.{FACTOR_A}"

    @property
    def factor_b(self) -> str:
        """Name of the parameter with the factors B of its parts."""
        return f"{self.name}.{FACTOR_B}"

    @property
    def adapted_rows(self) -> list[int]:
        """Rows of each part that has an adapter."""
        return [part.rows for part in self.parts if part.adapted]

    def factor_shapes(self, rank: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the shapes of A and B, those of the parts one below the other."""
        rows = self.adapted_rows
        return (len(rows) * rank, self.inputs), (sum(rows), rank)


def adapted_layers(model: TransformerConfig, targets: Sequence[str]) -> list[AdaptedLayer]:
    """Return the layers that `targets` mean, in the order of the model."""
    wanted = targets or _DEFAULT_TARGETS
    found = []
    for name, inputs, rows in _linear_layers(model):
        parts = tuple(
            Part(part, count, any(_matches(_full(name, part), each) for each in wanted))
            for part, count in rows.items()
        )
        if any(part.adapted for part in parts):
            found.append(AdaptedLayer(name, inputs, parts))
    return found


def adapter_parameters(model: TransformerConfig, lora: LoraConfig) -> int:
    """Return the number of parameters of all adapters."""
    return sum(
        rows * columns
        for layer in adapted_layers(model, lora.targets)
        for rows, columns in layer.factor_shapes(lora.rank)
    )


def target_problems(model: TransformerConfig, lora: LoraConfig) -> list[FieldProblem]:
    """Return a problem for each target that means no layer of a valid model."""
    names = [_full(name, part) for name, _, rows in _linear_layers(model) for part in rows]
    shown = ", ".join(n.removeprefix("blocks.0.") for n in names if n.startswith("blocks.0."))
    return [
        FieldProblem(
            "lora.targets",
            f"`lora.targets` has {target!r}, which matches no linear layer of a block; layers are "
            f"{shown}",
        )
        for target in lora.targets
        if not any(_matches(name, target) for name in names)
    ]


def _full(name: str, part: str) -> str:
    return f"{name}.{part}" if part else name


def _matches(name: str, target: str) -> bool:
    """Whether a target is a layer's name, its end, that of the layer around it, or a pattern."""
    forms = (target, f"*.{target}", f"{target}.*", f"*.{target}.*")
    return any(fnmatch.fnmatchcase(name, form) for form in forms)


def _linear_layers(model: TransformerConfig) -> Iterator[tuple[str, int, dict[str, int]]]:
    """Yield name, inputs and parts of the blocks' linear layers."""
    hidden, keys = model.hidden_size, model.key_value_heads * model.head_size
    qkv = {"query": model.attention_size, "key": keys, "value": keys}
    up = {"": model.mlp_size}
    if model.activation == "swiglu":
        up = {"gate": model.mlp_size, "gated": model.mlp_size}
    if _is_gpt2(model):
        qkv = {"": sum(qkv.values())}
    for number in range(model.num_layers):
        block = f"blocks.{number}."
        yield f"{block}attention.qkv", hidden, qkv
        yield f"{block}attention.output", model.attention_size, {"": hidden}
        yield f"{block}mlp.up", hidden, up
        yield f"{block}mlp.output", model.mlp_size, {"": hidden}


def _is_gpt2(model: TransformerConfig) -> bool:
    try:
        return family_of(model) == "gpt2"
    except UnsupportedModelError:
        return False
