"""The model: token embeddings, a stack of pre-norm blocks, and a projection to the vocabulary."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Literal, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from app.transformer.attention import CausalSelfAttention, LayerCache, document_mask
from app.transformer.config import TransformerConfig
from app.transformer.generation import sample
from app.transformer.initialization import initialize
from app.transformer.layers import MLP, build_norm
from app.transformer.ngrams import NgramEmbedding
from app.transformer.positions import rotary_table, sinusoidal_table
from app.transformer.sampling import Sampling, SamplingOptions

IGNORED_LABEL = -100
"""Positions with this label do not count in the loss."""


class Block(nn.Module):
    """Attention and MLP, each behind a norm and added to the residual stream."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        mixes = config.mix_in_embedding
        self.mix = nn.Parameter(torch.tensor([1.0, 0.0])) if mixes else None
        self.attention_norm = build_norm(config)
        self.attention = CausalSelfAttention(config)
        self.mlp_norm = build_norm(config)
        self.mlp = MLP(config)

    def forward(
        self,
        x: Tensor,
        rotary: Tensor | None = None,
        cache: LayerCache | None = None,
        mask: Tensor | None = None,
        embedding: Tensor | None = None,
    ) -> Tensor:
        if embedding is not None:
            x = self.mixed(x, embedding)
        attended: Tensor = self.attention(self.attention_norm(x), rotary, cache, mask)
        x = x + attended
        widened: Tensor = self.mlp(self.mlp_norm(x))
        return x + widened

    def mixed(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Return the block's input, of the stream and of what the first block got."""
        return x if self.mix is None else self.mix[0] * x + self.mix[1] * embedding


class GPTModel(nn.Module):
    """A causal decoder-only transformer.

    Raises `ConfigError` if `config` is not valid. State-dict keys are `token_embedding.weight`,
    `blocks.{i}.…`, `final_norm.…`, with `position_embedding.weight` for learned positions,
    `ngram_embedding.weight` for tables of n-grams and `lm_head.weight` for an untied output
    projection.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        config.validate()
        self.config = config
        length, hidden = config.max_position_embeddings, config.hidden_size
        self.token_embedding = _embedding(config.vocab_size, hidden)
        self.ngram_embedding = NgramEmbedding(config) if config.ngram_size > 1 else None
        if config.position_encoding_type == "learned":
            self.position_embedding = _embedding(length, hidden)
        self._build_tables()
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.final_norm = build_norm(config)
        self.lm_head = (
            None if config.tie_word_embeddings else nn.Linear(hidden, config.vocab_size, bias=False)
        )
        self.gradient_checkpointing = False
        if not self.token_embedding.weight.is_meta:
            initialize(self, config)

    @classmethod
    def unfilled(cls, config: TransformerConfig) -> GPTModel:
        """Return a model on the CPU whose parameters hold nothing yet; the caller fills them.

        It takes no time to draw weights that are replaced, and no random numbers.
        """
        with torch.device("meta"):
            model = cls(config)
        model.to_empty(device="cpu")
        model._build_tables()
        return model

    def _build_tables(self) -> None:
        """Calculate what positions add, or turn by, where nothing of that is learned."""
        config, kind = self.config, self.config.position_encoding_type
        if kind == "sinusoidal":
            table = sinusoidal_table(config.max_position_embeddings, config.hidden_size)
            self.register_buffer("sinusoids", table, persistent=False)
        elif kind == "rotary":
            self.register_buffer("rotary", rotary_table(config), persistent=False)

    def enable_gradient_checkpointing(self) -> None:
        """Keep only each block's input and compute the block again in the backward pass.

        Activation memory falls from all layers' to one layer's; a step costs about a third more.
        """
        self.gradient_checkpointing = True

    def forward(
        self,
        input_ids: Tensor,
        labels: Tensor | None = None,
        *,
        reduction: Literal["mean", "sum"] = "mean",
        positions: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Predict the token after each position.

        `input_ids` is int64 [batch, time], time ≤ `max_position_embeddings`. `labels`, of the
        same shape, holds at position t the target of the prediction at t: the *next* token. The
        caller shifts, as in `inputs, labels = tokens[:, :-1], tokens[:, 1:]`. Labels of -100 are
        ignored. `positions` is for rows of several documents, see `hidden_states`.

        Returns logits [batch, time, vocab] and, with labels, the cross-entropy in nats: the mean
        over the labels that count, or with `reduction="sum"` their sum, which is what gradient
        accumulation needs to weight by tokens.

        Raises:
            ValueError: The context is longer than `max_position_embeddings`.
        """
        logits = self.project(self.hidden_states(input_ids, positions=positions))
        if labels is None:
            return logits, None
        # In full precision also under autocast, which on a CPU would leave it in half.
        loss = F.cross_entropy(
            logits.flatten(0, 1).float(),
            labels.flatten(),
            ignore_index=IGNORED_LABEL,
            reduction=reduction,
        )
        return logits, loss

    def hidden_states(
        self,
        input_ids: Tensor,
        caches: list[LayerCache] | None = None,
        positions: Tensor | None = None,
        before: Tensor | None = None,
    ) -> Tensor:
        """Return the normed output of the last block, [batch, time, hidden].

        With `caches`, one for each block, `input_ids` continues their sequence, and `before` holds
        its last tokens, at least `ngram_size` - 1 of them if there are so many. `positions`, int64
        [batch, time], is the place of each token in its document, from 0: then a token sees its own
        document alone, and each gets what it would get in a row of its own.
        """
        start = caches[0].length if caches else 0
        self._require_context(start + input_ids.shape[1])
        places = slice(start, start + input_ids.shape[1]) if positions is None else positions
        x = embedding = self._embed(input_ids, places, before)
        rotary = self._rotary_at(places)
        mask = None if positions is None else document_mask(positions)
        for index, block in enumerate(self.blocks):
            if self.gradient_checkpointing and self.training:
                x = checkpoint(block, x, rotary, None, mask, embedding, use_reentrant=False)
            else:
                x = block(x, rotary, caches[index] if caches else None, mask, embedding)
        normed: Tensor = self.final_norm(x)
        return normed

    def project(self, hidden: Tensor) -> Tensor:
        """Return logits over the vocabulary, [..., hidden] -> [..., vocab]."""
        head = self.token_embedding if self.lm_head is None else self.lm_head
        return F.linear(hidden, head.weight)

    def generate(
        self,
        input_ids: Tensor,
        max_new_tokens: int,
        *,
        stop_tokens: Collection[int] = (),
        **options: Unpack[SamplingOptions],
    ) -> Tensor:
        """Continue each row of `input_ids`, int64 [batch, time ≥ 1].

        Returns prompt and continuation, [batch, time + new]: fewer than `max_new_tokens` only
        when every row has produced one of `stop_tokens`, which a finished row then repeats.
        `options` are those of `sampling.Sampling`: `temperature`, `top_k`, `seed` and so on. A
        prompt longer than `max_position_embeddings` is seen from its end; when the context fills
        up, its newer half goes on. Neither the global random state nor the training mode changes.

        Raises:
            ValueError: An argument is out of range.
        """
        steps = list(sample(self, input_ids, max_new_tokens, Sampling(**options), stop_tokens))
        return torch.cat((input_ids, *(step.tokens[:, None] for step in steps)), 1)

    def generate_stream(
        self,
        input_ids: Tensor,
        max_new_tokens: int,
        *,
        stop_tokens: Collection[int] = (),
        **options: Unpack[SamplingOptions],
    ) -> Iterator[int]:
        """Like `generate` for a single row, [1, time], yielding each new token id at once."""
        if input_ids.dim() != 2 or len(input_ids) != 1:
            raise ValueError(
                f"`input_ids` is of shape {tuple(input_ids.shape)}; a stream continues one row, "
                "[1, time]; use generate for a batch"
            )
        steps = sample(self, input_ids, max_new_tokens, Sampling(**options), stop_tokens)
        return (int(step.tokens) for step in steps)

    def _require_context(self, end: int) -> None:
        longest = self.config.max_position_embeddings
        if end > longest:
            raise ValueError(
                f"the context is {end} tokens; it must be at most "
                f"max_position_embeddings={longest}; shorten the input or train a longer model"
            )

    def _embed(
        self, input_ids: Tensor, places: slice | Tensor, before: Tensor | None = None
    ) -> Tensor:
        x: Tensor = self.token_embedding(input_ids)
        if self.ngram_embedding is not None:
            x = x + self.ngram_embedding(input_ids, _numbers(places, input_ids.device), before)
        if self.config.position_encoding_type == "learned":
            x = x + _rows(self.position_embedding.weight, places)
        elif self.config.position_encoding_type == "sinusoidal":
            x = x + _rows(self.get_buffer("sinusoids"), places).to(x.dtype)
        return F.dropout(x, self.config.dropout_rate, self.training)

    def _rotary_at(self, places: slice | Tensor) -> Tensor | None:
        """Return the rotations of these places, to be broadcast over the heads."""
        if self.config.position_encoding_type != "rotary":
            return None
        table = self.get_buffer("rotary")[:, places]
        return table if isinstance(places, slice) else table.unsqueeze(2)


def _numbers(places: slice | Tensor, device: torch.device) -> Tensor:
    if isinstance(places, Tensor):
        return places
    return torch.arange(places.start, places.stop, device=device)


def _embedding(rows: int, width: int) -> nn.Embedding:
    """Return a table of rows; one that holds nothing draws none.

    The first draw on the device `meta` imports parts of torch for two seconds.
    """
    if torch.get_default_device().type == "meta":
        return nn.Embedding(rows, width, _weight=torch.empty(rows, width))
    return nn.Embedding(rows, width)


def _rows(table: Tensor, places: slice | Tensor) -> Tensor:
    return table[places] if isinstance(places, slice) else F.embedding(places, table)
