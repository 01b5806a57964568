"""Sampled text: stop texts and ids, several samples, log-probabilities, long prompts."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from app.training.sampled_text import SampledPiece, sample_pieces
from app.training.stop_texts import before_stop
from app.training.tokenizer import ByteTokenizer, CharTokenizer, PretrainedTokenizer, Tokenizer
from app.training.tokenizer_training import train_bpe
from app.transformer import GPTModel, TransformerConfig
from app.transformer.scoring import score_tokens

PROMPT = "To be, or not to be"


def build(vocab_size: int = 300, context: int = 64) -> GPTModel:
    torch.manual_seed(1)
    config = TransformerConfig(
        vocab_size=vocab_size, hidden_size=16, num_layers=1, num_heads=2,
        max_position_embeddings=context, initializer_range=0.5,
    )  # fmt: skip
    return GPTModel(config)


def text_of(pieces: list[SampledPiece], number: int = 0) -> str:
    return "".join(piece.text for piece in pieces if piece.sample == number)


def letters(count: int = 12, context: int = 64, **options: Any) -> list[SampledPiece]:
    """Text of a model whose vocabulary is padded, and whose tokens are letters."""
    tokenizer = CharTokenizer(" ,Tabcdefnort")
    options = {"seed": 3, "max_tokens": count, **options}
    return list(sample_pieces(build(context=context), tokenizer, PROMPT, **options))


@pytest.mark.parametrize(
    ("stop", "pieces", "shown", "reason"),
    [
        (["<|end|>"], ["No.", "<|", "end|>", "more"], ["No.", "", ""], "stop"),
        (["<|end|>"], ["a<", "|e", "x"], ["a", "", "<|ex"], "length"),
        (["<|end|>"], ["a<|end", "<|end|>"], ["a", "<|end"], "stop"),
        (["<|end|>"], ["a", "<|"], ["a", "<|"], "length"),
        (["aab"], ["a", "a", "a", "b", "c"], ["", "", "a", ""], "stop"),
        (["xyz", "y"], ["ax", "y", "z"], ["a", "x"], "stop"),
        (["cd", "bcd"], ["ab", "c", "d"], ["a", "", ""], "stop"),
        (["\n\n"], ["a\n", "\nb"], ["a", ""], "stop"),
        ([], ["a", "b"], ["a", "b"], "length"),
    ],
)
def test_no_part_of_a_stop_text_is_given_out(
    stop: list[str], pieces: list[str], shown: list[str], reason: str
) -> None:
    last = len(pieces) - 1
    sampled = [SampledPiece(i, i, t, "length" * (i == last)) for i, t in enumerate(pieces)]
    found = list(before_stop(stop, iter(sampled)))
    assert [piece.text for piece in found] == shown
    assert found[-1].finish_reason == reason
    assert all(not piece.finish_reason for piece in found[:-1])


def test_stop_texts_and_ids_end_a_sample() -> None:
    whole = letters(40)
    text = text_of(whole)
    stop = text[5:8]
    ended = letters(40, stop=[stop, "never"])
    assert text_of(ended) == text[: text.index(stop)]
    assert ended[-1].finish_reason == "stop"
    stop_id = whole[7].token_id
    by_id = letters(40, stop_token_ids=[stop_id])
    first = [piece.token_id for piece in whole].index(stop_id)
    assert text_of(by_id) == text[:first]
    assert (by_id[-1].token_id, by_id[-1].finish_reason) == (stop_id, "stop")


def test_a_special_token_is_a_stop_text_and_the_tokenizers_end_ends_a_text() -> None:
    trained = train_bpe([PROMPT * 20], 270)
    definition = trained.to_dict()["definition"]
    tokenizer = PretrainedTokenizer(definition, "t", {"eos_token": "<|endoftext|>"})
    assert tokenizer.end_of_text_id is not None
    model = build(tokenizer.vocab_size + 30)
    with torch.no_grad():  # always the end, and beyond the tokenizer what is likelier still
        model.final_norm.weight.zero_()
        model.final_norm.bias.fill_(1.0)
        model.token_embedding.weight[tokenizer.end_of_text_id] = 1.0
        model.token_embedding.weight[tokenizer.vocab_size :] = 2.0
    (piece,) = sample_pieces(model, tokenizer, PROMPT, temperature=0)
    assert (piece.token_id, piece.text) == (tokenizer.end_of_text_id, "")
    assert piece.finish_reason == "stop"


def test_ids_beyond_the_tokenizer_are_never_sampled() -> None:
    pieces = letters(300, temperature=50.0)
    assert max(piece.token_id for piece in pieces) < 13
    assert len({piece.token_id for piece in pieces}) > 6


def test_a_sample_is_what_its_seed_gives_alone() -> None:
    pieces = letters(num_samples=3, seed=7)
    alone = [letters(seed=seed) for seed in (7, 8, 9)]
    assert [text_of(pieces, number) for number in range(3)] == [text_of(each) for each in alone]
    assert len({text_of(each) for each in alone}) == 3
    assert [(p.sample, p.index) for p in pieces] == [(s, i) for s in range(3) for i in range(12)]
    greedy = letters(num_samples=2, temperature=0)
    assert text_of(greedy, 0) == text_of(greedy, 1)
    assert len({text_of(letters(30, seed=None)) for _ in range(3)}) == 3


@pytest.mark.parametrize("options", [{}, {"temperature": 0.0, "repetition_penalty": 1.5}])
def test_log_probabilities_are_those_of_the_model(options: dict[str, Any]) -> None:
    pieces = letters(logprobs=4, **options)
    model = build()
    tokenizer = CharTokenizer(" ,Tabcdefnort")
    ids = tokenizer.encode(PROMPT).tolist()
    for piece in pieces:
        with torch.no_grad():
            scores = model.eval()(torch.tensor([ids]))[0][0, -1].log_softmax(-1)[:13]
        assert piece.logprob == pytest.approx(float(scores[piece.token_id]), abs=1e-4)
        best = scores.topk(4)
        assert [top.token_id for top in piece.top_logprobs] == best.indices.tolist()
        found = [top.logprob for top in piece.top_logprobs]
        assert found == pytest.approx(best.values.tolist(), abs=1e-4)
        assert [top.text for top in piece.top_logprobs] == [
            tokenizer.decode([top.token_id]) for top in piece.top_logprobs
        ]
        assert piece.token_text == tokenizer.decode([piece.token_id])
        ids.append(piece.token_id)
    assert letters()[0].logprob is None
    every = letters(1, logprobs=20)[0].top_logprobs
    assert {top.token_id for top in every} == set(range(13))  # of the letters, not of the padding
    assert sum(math.exp(top.logprob) for top in every) < 0.9


@pytest.mark.parametrize("dropped", [0, 11])
def test_a_prompt_has_the_log_probabilities_that_the_model_gives(dropped: int) -> None:
    context = len(PROMPT) - dropped
    model, tokenizer = build(context=context), CharTokenizer(" ,Tabcdefnort")
    pieces = list(
        sample_pieces(model, tokenizer, PROMPT, max_tokens=2, num_samples=2, prompt_logprobs=3)
    )
    scored = pieces[0].prompt_logprobs
    assert [piece.prompt_logprobs for piece in pieces] == [scored, (), scored, ()]
    assert [piece.prompt_text for piece in pieces] == [PROMPT, None, PROMPT, None]
    assert "".join(token.text for token in scored) == PROMPT
    seen = torch.tensor([[token.token_id for token in scored[dropped:]]])
    with torch.no_grad():
        expected = model.eval()(seen)[0][0].log_softmax(-1)[:, :13]
    assert [token.logprob for token in scored[: dropped + 1]] == [None] * (dropped + 1)
    for place, token in enumerate(scored[dropped + 1 :]):
        assert token.logprob == pytest.approx(float(expected[place, token.token_id]), abs=1e-5)
        best = expected[place].topk(3)
        assert [each.token_id for each in token.top_logprobs] == best.indices.tolist()
        assert [each.logprob for each in token.top_logprobs] == pytest.approx(best.values.tolist())


def test_a_long_prompt_is_scored_in_pieces() -> None:
    model = build(context=300)
    tokens = torch.randint(13, (300,), generator=torch.Generator().manual_seed(1))
    scores = score_tokens(model, tokens, 13, 1)
    with torch.no_grad():
        expected = model.eval()(tokens[None])[0][0, :-1].log_softmax(-1)[:, :13]
    torch.testing.assert_close(scores.logprobs, expected.gather(1, tokens[1:, None])[:, 0])
    assert scores.likeliest[:, 0].equal(expected.argmax(-1))
    with pytest.raises(ValueError, match=r"`prompt_logprobs` is 20 for a prompt of 3000 tokens"):
        sample_pieces(model, ByteTokenizer(), "a" * 3000, prompt_logprobs=20)


def test_the_end_of_a_prompt_that_is_longer_than_the_context_is_seen_and_that_is_said() -> None:
    pieces = letters(context=8, temperature=0)
    said = [(piece.prompt_tokens, piece.dropped_prompt_tokens) for piece in pieces]
    assert said == [(19, 11)] + [(None, None)] * 11
    tokenizer = CharTokenizer(" ,Tabcdefnort")
    cut = list(
        sample_pieces(build(context=8), tokenizer, PROMPT[-8:], temperature=0, max_tokens=12)
    )
    assert text_of(pieces) == text_of(cut)
    assert (cut[0].prompt_tokens, cut[0].dropped_prompt_tokens) == (8, 0)


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), train_bpe([PROMPT * 20], 260)])
def test_held_back_text_comes_at_the_end(tokenizer: Tokenizer) -> None:
    model, options = build(300), {"max_tokens": 30, "seed": 5}
    whole = text_of(list(sample_pieces(model, tokenizer, PROMPT, **options)))  # type: ignore[arg-type]
    held = list(sample_pieces(model, tokenizer, PROMPT, stop=[whole + "!"], **options))  # type: ignore[arg-type]
    assert [piece.text for piece in held] == [""] * 29 + [whole]
    assert held[-1].finish_reason == "length"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 0}, "`num_samples` is 0; it must be at least 1"),
        ({"logprobs": 21}, "`logprobs` is 21; it must be 0 to 20; leave it out for none"),
        ({"logprobs": -1}, "`logprobs` is -1; it must be 0 to 20"),
        ({"prompt_logprobs": 21}, "`prompt_logprobs` is 21; it must be 0 to 20; leave it out for"),
        ({"stop": ["a", ""]}, "it must be texts of at least one character"),
        ({"stop_token_ids": [1, 300]}, r"`stop_token_ids` is \[300\]; it must be ids of the model"),
        ({"min_p": 2.0}, "`min_p` is 2.0; it must be at least 0 and at most 1"),
    ],
)
def test_bad_options_are_named_before_the_first_piece(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        sample_pieces(build(), ByteTokenizer(), PROMPT, **options)
