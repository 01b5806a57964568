"""Sampling draws as Hugging Face's `generate` and its processors do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tiny_model import build, tokens
from transformers import AutoModelForCausalLM
from transformers.generation import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from app.transformer.generation import sample
from app.transformer.huggingface import export_model
from app.transformer.sampling import Sampling

LENGTHS = {"max_position_embeddings": 40}
NEW = 20


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A model of ours, and the same as `transformers` loads its export."""
    ours, folder = build(**LENGTHS).eval(), tmp_path_factory.mktemp("export") / "out"
    export_model(ours, folder)
    return ours, AutoModelForCausalLM.from_pretrained(folder)


def theirs(model: Any, prompt: torch.Tensor, **options: Any) -> Any:
    settings = {"max_new_tokens": NEW, "do_sample": False, "return_dict_in_generate": True}
    mask = torch.ones_like(prompt)
    return model.generate(
        prompt, attention_mask=mask, output_logits=True, pad_token_id=0, **settings, **options
    )


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("penalty", [None, 0.8, 1.3, 3.0])
def test_greedy_text_and_repetition_penalty_are_theirs(
    models: tuple[Any, Any], rows: int, penalty: float | None
) -> None:
    ours, exported = models
    prompt = tokens(rows, time=12)
    result = ours.generate(prompt, NEW, temperature=0, repetition_penalty=penalty)
    assert torch.equal(result, theirs(exported, prompt, repetition_penalty=penalty).sequences)


def test_logits_of_each_step_are_theirs(models: tuple[Any, Any]) -> None:
    ours, exported = models
    prompt = tokens(1, time=12)
    steps = list(sample(ours, prompt, NEW, Sampling(temperature=0, repetition_penalty=1.3)))
    expected = theirs(exported, prompt, repetition_penalty=1.3)
    found = torch.stack([step.logits for step in steps]).log_softmax(-1)
    raw = torch.stack(expected.logits).log_softmax(-1)
    torch.testing.assert_close(found, raw, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"min_p": 0.1},
        {"min_p": 0.5, "temperature": 2.0},
        {"min_p": 0.02, "temperature": 0.7, "top_k": 20, "top_p": 0.9},
        {"min_p": 1.0},
        {"min_p": 0.0},
        {"top_p": 0.6, "temperature": 1.5, "repetition_penalty": 1.4},
    ],
)
def test_each_cut_keeps_the_probabilities_that_their_processors_keep(
    options: dict[str, Any],
) -> None:
    rows = torch.randn(50, 61, generator=torch.Generator().manual_seed(2)) * 4
    earlier = tokens(50, time=9)
    sampling = Sampling(**options)
    seen = torch.zeros(50, 61, dtype=torch.bool).scatter_(1, earlier, value=True)
    penalized = sampling._penalized(rows, seen) if sampling.penalizes else rows
    expected = LogitsProcessorList(
        [
            kind(options[name])
            for name, kind in (
                ("repetition_penalty", RepetitionPenaltyLogitsProcessor),
                ("temperature", TemperatureLogitsWarper),
                ("top_k", TopKLogitsWarper),
                ("top_p", TopPLogitsWarper),
                ("min_p", MinPLogitsWarper),
            )
            if name in options
        ]
    )(earlier, rows.clone())
    torch.testing.assert_close(sampling.filtered(penalized).softmax(-1), expected.softmax(-1))


def test_frequency_and_presence_lower_what_was_drawn() -> None:
    rows, drawn = torch.zeros(1, 4), torch.tensor([[0.0, 1.0, 3.0, 0.0]])
    sampling = Sampling(frequency_penalty=0.5, presence_penalty=0.25)
    assert sampling._lowered(rows, drawn).tolist() == [[0.0, -0.75, -1.75, 0.0]]
    assert not Sampling(frequency_penalty=0, presence_penalty=0.0).counts
    model = build().eval()
    prompt = tokens(1, time=12)
    for name in ("frequency_penalty", "presence_penalty"):
        options: dict[str, Any] = {name: 2.0}
        steps = list(sample(model, prompt, NEW, Sampling(temperature=0, **options)))
        counts = torch.zeros(1, model.config.vocab_size)  # the prompt does not count
        for step in steps:
            lowered = step.logits - 2 * (counts if name[0] == "f" else counts.clamp(max=1))
            assert torch.equal(step.tokens, lowered.argmax(-1))
            counts[0, step.tokens] += 1
        assert counts.max() < NEW


def test_ids_beyond_the_vocabulary_in_use_are_never_drawn() -> None:
    rows = torch.zeros(4000, 61)
    rows[:, 40:] = 9.0  # the likeliest by far
    for options in ({}, {"temperature": 0.0}, {"top_k": 5}, {"top_p": 0.5}, {"min_p": 0.9}):
        sampling = Sampling(vocab_size=40, seed=1, **options)
        assert int(sampling.draw(rows, sampling.generator(rows.device)).max()) < 40


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_p": 1.5}, "`min_p` is 1.5; it must be at least 0 and at most 1; try 0.05"),
        ({"min_p": float("nan")}, "`min_p` is nan"),
        ({"repetition_penalty": 0.0}, "`repetition_penalty` is 0.0; it must be above 0 and finite"),
        ({"repetition_penalty": float("inf")}, "`repetition_penalty` is inf"),
        ({"frequency_penalty": 2.5}, "`frequency_penalty` is 2.5; it must be -2 to 2; try 0.5"),
        ({"presence_penalty": -3.0}, "`presence_penalty` is -3.0; it must be -2 to 2"),
        ({"top_k": 0}, "`top_k` is 0; it must be at least 1"),
        ({"vocab_size": 0}, "`vocab_size` is 0; it must be at least 1"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(**options)


def test_a_penalty_counts_the_whole_prompt_beyond_the_context() -> None:
    model = build(max_position_embeddings=4).eval()
    prompt = torch.arange(30)[None]
    free = int(model.generate(prompt, 1, temperature=0)[0, -1])
    start = torch.cat((torch.tensor([[free]]), prompt[:, prompt[0] != free]), 1)
    assert int(model.generate(start, 1, temperature=0)[0, -1]) == free
    assert int(model.generate(start, 1, temperature=0, repetition_penalty=1e6)[0, -1]) >= 30
