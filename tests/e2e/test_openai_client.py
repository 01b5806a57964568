"""OpenAI's own client against a whole stack, with a token: what a user of any such client gets."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from dashboard import start
from gateways import gateway_with_token
from running_stack import RunningStack

ANSWERS = {"Is it far?": "No.", "Why?": "It is near."}
TOKEN = "open-sesame"


@pytest.fixture(scope="module")
def url(stack: RunningStack) -> Iterator[str]:
    with gateway_with_token(stack, TOKEN) as found:
        yield found


@pytest.fixture(scope="module")
def asking(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=TOKEN) as made:
        yield made


@pytest.fixture(scope="module")
def chats(stack: RunningStack, api: httpx.Client) -> str:
    """The name of a job that has learnt its answers by heart."""
    path = stack.data_dir.parent / "chats.jsonl"
    rows = [{"prompt": asked, "completion": said} for asked, said in ANSWERS.items()] * 4
    path.write_text("\n".join(map(json.dumps, rows)))
    config = {
        "model_config": {
            "vocab_size": 256, "hidden_size": 32, "num_layers": 1, "num_heads": 2,
            "max_position_embeddings": 128,
        },
        "tokenizer": "byte", "max_steps": 60, "warmup_steps": 5, "learning_rate": 0.01,
        "batch_size": 2, "eval_steps": 1000, "save_steps": 1000, "val_fraction": 0.0,
    }  # fmt: skip
    job_id = start(api, path, config, status="succeeded")
    return str(api.get(f"/jobs/{job_id}").json()["name"])


def test_a_conversation_is_answered_whole_and_in_pieces(asking: openai.OpenAI, chats: str) -> None:
    for question, expected in ANSWERS.items():
        options: Any = {
            "model": chats, "messages": [{"role": "user", "content": question}],
            "temperature": 0, "max_tokens": 60,
        }  # fmt: skip
        answer = asking.chat.completions.create(**options)
        assert answer.choices[0].message.content == expected
        assert answer.choices[0].finish_reason == "stop"
        chunks = list(
            asking.chat.completions.create(
                **options, stream=True, stream_options={"include_usage": True}
            )
        )
        said = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
        assert "".join(said) == expected
        assert chunks[-1].usage == answer.usage
        assert answer.usage is not None
        assert answer.usage.prompt_tokens > len(question)


def test_a_text_stops_before_a_stop_text_and_has_probabilities(
    asking: openai.OpenAI, finished: str
) -> None:
    options: Any = {"model": finished, "prompt": "12 bott", "max_tokens": 24, "temperature": 0}
    whole = asking.completions.create(**options, logprobs=2)
    choice = whole.choices[0]
    assert (choice.finish_reason, len(choice.text.encode())) == ("length", 24)
    assert choice.logprobs is not None
    assert choice.logprobs.tokens is not None
    assert "".join(choice.logprobs.tokens) == choice.text
    stop = choice.text[5:8]
    before = choice.text[: choice.text.index(stop)]
    stopped = asking.completions.create(**options, stop=[stop])
    assert (stopped.choices[0].text, stopped.choices[0].finish_reason) == (before, "stop")
    chunks = list(asking.completions.create(**options, stop=[stop], stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == before
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_several_choices_are_those_of_their_seeds(asking: openai.OpenAI, finished: str) -> None:
    options: Any = {"model": finished, "prompt": "12", "max_tokens": 16}
    several = asking.completions.create(**options, n=2, seed=5)
    alone = asking.completions.create(**options, seed=6)
    assert several.choices[1].text == alone.choices[0].text
    assert several.choices[0].text != several.choices[1].text
    assert several.model.startswith("ckpt_")


def test_a_prompt_may_be_token_ids_or_be_echoed(asking: openai.OpenAI, finished: str) -> None:
    options: Any = {"model": finished, "max_tokens": 8, "temperature": 0}
    prompt = "12 bott"
    expected = asking.completions.create(**options, prompt=prompt)
    by_ids = asking.completions.create(**options, prompt=[*prompt.encode()])
    assert (by_ids.choices[0].text, by_ids.usage) == (expected.choices[0].text, expected.usage)
    several = asking.completions.create(**options, prompt=[[*b"12"], [*prompt.encode()]])
    assert several.choices[1].text == expected.choices[0].text
    echoed = asking.completions.create(**options, prompt=prompt, echo=True)
    assert echoed.choices[0].text == prompt + expected.choices[0].text
    chunks = asking.completions.create(**options, prompt=prompt, echo=True, stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks) == echoed.choices[0].text
    scored = asking.completions.create(**options, prompt=[*prompt.encode()], echo=True, logprobs=2)
    scores = scored.choices[0].logprobs
    assert (scored.choices[0].text, scored.usage) == (echoed.choices[0].text, expected.usage)
    assert scores is not None
    assert scores.tokens is not None
    assert scores.token_logprobs is not None
    assert "".join(scores.tokens) == echoed.choices[0].text
    assert scores.token_logprobs[0] is None
    assert all(score is not None and score < 0 for score in scores.token_logprobs[1:])
    with pytest.raises(openai.BadRequestError, match="holds 99999; ids must be those"):
        asking.completions.create(**options, prompt=[99999])


def test_penalties_lower_what_was_said_before(asking: openai.OpenAI, finished: str) -> None:
    options: Any = {"model": finished, "prompt": "12 bott", "max_tokens": 12, "temperature": 0}
    frequency, presence = 1.5, 0.5
    answer = asking.completions.create(
        **options, logprobs=20, frequency_penalty=frequency, presence_penalty=presence
    )
    scores = answer.choices[0].logprobs
    assert scores is not None
    said: Counter[str] = Counter()
    for token, likely in zip(scores.tokens or [], scores.top_logprobs or [], strict=True):
        lowered = {
            each: score - frequency * said[each] - presence * (said[each] > 0)
            for each, score in likely.items()
        }
        assert lowered[token] == max(lowered.values())
        said[token] += 1
    assert said.total() == options["max_tokens"]
    assert answer.choices[0].text != asking.completions.create(**options).choices[0].text


def test_models_and_refusals(asking: openai.OpenAI, url: str, chats: str, finished: str) -> None:
    assert chats in [model.id for model in asking.models.list()]
    assert asking.models.retrieve(chats).id == chats
    with openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0) as stranger:
        for call in (
            stranger.models.list,
            lambda: stranger.completions.create(model=finished, prompt="x", stream=True),
        ):
            with pytest.raises(openai.AuthenticationError):
                call()
    with pytest.raises(openai.BadRequestError, match="the checkpoint has no chat template"):
        asking.chat.completions.create(
            model=finished, messages=[{"role": "user", "content": "Hi"}], stream=True
        )
