"""Which tensors of a family's files make up each tensor of ours.

One table serves both ways: an import joins the parts, an export cuts them. Never imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.transformer.config import TransformerConfig
from app.transformer.families import Family

_GPT2_BLOCK = {
    "attention_norm": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.output": "attn.c_proj",
    "mlp_norm": "ln_2",
    "mlp.up": "mlp.c_fc",
    "mlp.output": "mlp.c_proj",
}
BASE_PREFIXES: dict[Family, str] = {
    "gpt2": "transformer.",
    "llama": "model.",
    "mistral": "model.",
    "qwen2": "model.",
    "qwen3": "model.",
}
"""Before the name of every tensor but the head's; files of a model without its head lack it."""

HEAD = "lm_head.weight"
EMBEDDINGS: dict[Family, str] = {
    family: prefix + ("wte.weight" if family == "gpt2" else "embed_tokens.weight")
    for family, prefix in BASE_PREFIXES.items()
}
COMPUTED = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")
"""Ends of names of tensors in older files that hold no weights."""


@dataclass(frozen=True, slots=True)
class Part:
    """A tensor of theirs: some rows of one of ours."""

    name: str
    shape: tuple[int, ...]
    """As it is stored."""
    transposed: bool = False
    """Whether it is stored as [in, out], the transpose of `nn.Linear`'s [out, in]."""

    @property
    def rows(self) -> int:
        """Rows of our tensor."""
        return self.shape[-1] if self.transposed else self.shape[0]

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one row of our tensor."""
        return self.shape[:-1] if self.transposed else self.shape[1:]


Layout = dict[str, tuple[Part, ...]]


def layout(config: TransformerConfig, family: Family) -> Layout:
    """Return, for every tensor of our model by name, the parts of it in the order of its rows."""
    prefix, hidden = BASE_PREFIXES[family], config.hidden_size
    embedding = (config.vocab_size, hidden)
    final = "ln_f" if family == "gpt2" else "norm"
    parts: Layout = {"token_embedding.weight": (Part(EMBEDDINGS[family], embedding),)}
    if family == "gpt2":
        positions = (config.max_position_embeddings, hidden)
        parts["position_embedding.weight"] = (Part(f"{prefix}wpe.weight", positions),)
    for layer in range(config.num_layers):
        parts |= (_gpt2_block if family == "gpt2" else _llama_block)(config, layer)
    parts["final_norm.weight"] = (Part(f"{prefix}{final}.weight", (hidden,)),)
    if family == "gpt2":
        parts["final_norm.bias"] = (Part(f"{prefix}{final}.bias", (hidden,)),)
    if not config.tie_word_embeddings:
        parts[HEAD] = (Part(HEAD, embedding),)
    return parts


def _gpt2_block(config: TransformerConfig, layer: int) -> Layout:
    hidden, inner = config.hidden_size, config.mlp_size
    shapes = {
        "attention_norm": (hidden,),
        "attention.qkv": (hidden, 3 * hidden),
        "attention.output": (hidden, hidden),
        "mlp_norm": (hidden,),
        "mlp.up": (hidden, inner),
        "mlp.output": (inner, hidden),
    }
    parts: Layout = {}
    for ours, theirs in _GPT2_BLOCK.items():
        name, shape = f"transformer.h.{layer}.{theirs}", shapes[ours]
        parts[f"blocks.{layer}.{ours}.weight"] = (
            Part(f"{name}.weight", shape, transposed=len(shape) == 2),
        )
        parts[f"blocks.{layer}.{ours}.bias"] = (Part(f"{name}.bias", shape[-1:]),)
    return parts


def _llama_block(config: TransformerConfig, layer: int) -> Layout:
    hidden, inner, head = config.hidden_size, config.mlp_size, config.head_size
    keys, queries = config.key_value_heads * head, config.attention_size
    ours, theirs = f"blocks.{layer}.", f"model.layers.{layer}."
    parts: Layout = {}

    def add(name: str, rows: dict[str, int], width: int, *, biased: bool) -> None:
        stored = [(f"{theirs}{part}", count) for part, count in rows.items()]
        parts[f"{ours}{name}.weight"] = tuple(Part(f"{n}.weight", (c, width)) for n, c in stored)
        if biased:
            parts[f"{ours}{name}.bias"] = tuple(Part(f"{n}.bias", (c,)) for n, c in stored)

    def add_norm(name: str, part: str, size: int) -> None:
        parts[f"{ours}{name}.weight"] = (Part(f"{theirs}{part}.weight", (size,)),)

    add_norm("attention_norm", "input_layernorm", hidden)
    attention = {"q_proj": queries, "k_proj": keys, "v_proj": keys}
    rows = {f"self_attn.{name}": count for name, count in attention.items()}
    add("attention.qkv", rows, hidden, biased=config.has_qkv_bias)
    add("attention.output", {"self_attn.o_proj": hidden}, queries, biased=config.bias)
    if config.qk_norm:
        add_norm("attention.query_norm", "self_attn.q_norm", head)
        add_norm("attention.key_norm", "self_attn.k_norm", head)
    add_norm("mlp_norm", "post_attention_layernorm", hidden)
    add("mlp.up", {"mlp.gate_proj": inner, "mlp.up_proj": inner}, hidden, biased=config.bias)
    add("mlp.output", {"mlp.down_proj": hidden}, inner, biased=config.bias)
    return parts
