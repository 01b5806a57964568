"""Tables of n-grams: which row an n-gram has, and what begins a document."""

from __future__ import annotations

import pytest
import torch
from tiny_model import build, tokens

from app.transformer import TransformerConfig
from app.transformer.ngrams import NgramEmbedding


def rows_of(size: int, rows: int, text: list[int], seen: int = 0) -> list[int]:
    """Return the rows of the last table that a text of a vocabulary of 5 is looked up in.

    `seen` tokens of it are given as those before.
    """
    config = TransformerConfig(vocab_size=5, hidden_size=12, ngram_size=size, ngram_rows=rows)
    embedding = NgramEmbedding(config)
    numbers = torch.arange(-(size - 2) * (rows + 1.0), rows + 1).clamp(min=0)
    embedding.weight.data.copy_(numbers[:, None].expand(-1, 12))
    # Rows of the tables before the last count as 0.
    inputs = torch.tensor([text])
    places = torch.arange(seen, len(text))
    found = embedding(inputs[:, seen:], places, inputs[:, :seen] if seen else None)
    return [int(row) for row in found[0, :, 0]]


def test_each_ngram_has_a_row_of_its_own_where_there_are_enough() -> None:
    pairs = [[before, token] for before in range(5) for token in range(5)]
    assert sorted(rows_of(2, 25, pair)[1] for pair in pairs) == list(range(25))
    assert rows_of(3, 125, [1, 2, 3])[2] == 3 + 5 * 2 + 25 * 1


def test_with_fewer_rows_they_share_them() -> None:
    assert {rows_of(2, 7, pair)[1] for pair in ([0, 3], [2, 0], [4, 4])} == {3}


def test_what_has_too_few_before_it_has_the_last_row() -> None:
    assert rows_of(3, 125, [3, 1, 0])[:2] == [125, 125]


@pytest.mark.parametrize("seen", [1, 2, 4])
def test_tokens_that_came_before_count(seen: int) -> None:
    text = [1, 4, 0, 2, 3, 3]
    assert rows_of(3, 125, text, seen) == rows_of(3, 125, text)[seen:]


def test_tables_begin_without_effect_and_learn() -> None:
    inputs = tokens(time=9)
    plain, tabled = build(), build(ngram_size=2, ngram_rows=3721)
    assert tabled.ngram_embedding is not None
    torch.nn.init.zeros_(tabled.ngram_embedding.weight)
    assert torch.equal(plain(inputs)[0], tabled(inputs)[0])
    tabled(inputs[:, :-1], inputs[:, 1:])[1].backward()
    gradient = tabled.ngram_embedding.weight.grad
    assert gradient is not None
    pairs = zip(inputs[:, :-2].flatten().tolist(), inputs[:, 1:-1].flatten().tolist(), strict=True)
    used = {token + 61 * before for before, token in pairs}
    assert set(gradient.any(1).nonzero().flatten().tolist()) == used | {3721}
