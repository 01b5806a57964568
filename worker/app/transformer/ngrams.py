"""Tables of n-grams: what a token says together with the few before it, by look-up.

They spare the first layers what an n-gram model knows (Roy et al. 2022, arXiv:2207.06366; pairs in
modded-nanogpt), for one row a token and length.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.transformer.config import TransformerConfig


class NgramEmbedding(nn.Module):
    """The sum of a vector for each n-gram of 2 to `ngram_size` tokens that ends at a token.

    `weight` holds a table for each length, one below the other, at first zero. A table has
    `ngram_rows` rows; where there are more n-grams than rows, several share one. One row more is
    for tokens with too few before them in their document.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.size, self.rows = config.ngram_size, config.ngram_rows
        self.factors = [config.vocab_size**back % self.rows for back in range(self.size)]
        self.weight = nn.Parameter(torch.zeros(config.ngram_table_rows, config.hidden_size))

    def forward(self, tokens: Tensor, places: Tensor, before: Tensor | None = None) -> Tensor:
        """Return a vector for each of `tokens`, int64 [batch, time] -> [batch, time, hidden].

        `places`, [time] or [batch, time], are their positions in their documents, from 0. `before`
        holds the tokens in front of these, [batch, any number]; at least `ngram_size` - 1 of them
        where there are so many.
        """
        known = tokens if before is None else torch.cat((before, tokens), 1)
        missing = tokens.shape[1] + self.size - 1 - known.shape[1]
        known = F.pad(known, (missing, 0))  # a negative number cuts
        row, tables = tokens, []
        for back in range(1, self.size):
            start = self.size - 1 - back
            previous = known[:, start : start + tokens.shape[1]]
            row = (row + self.factors[back] * previous) % self.rows
            in_table = row.masked_fill(places < back, self.rows)
            tables.append(in_table + (back - 1) * (self.rows + 1))
        # One look-up for all lengths: its gradient is as large as all tables.
        return F.embedding(torch.stack(tables), self.weight).sum(0)
