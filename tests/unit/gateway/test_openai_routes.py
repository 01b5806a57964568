"""OpenAI's API at the gateway, asked by OpenAI's own client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from memory_state import BEGAN, State
from running_gateway import client_for, gateway_for

from training_engine.v1 import job_pb2

TURNS: Any = [{"role": "user", "content": "Is it far?"}]


@pytest.fixture
def models(state: State) -> None:
    """A job with two checkpoints, of which the first is the best, and one without any."""
    for name in ("first", "none"):
        state.jobs[f"job_{name}"] = job_pb2.Job(job_id=f"job_{name}", name=name, created_at=BEGAN)
    state.add_checkpoint("ckpt_1", "job_first", 10, b"weights").is_best = True
    state.add_checkpoint("ckpt_2", "job_first", 20, b"weights").is_best = False


@pytest.fixture
async def asking(url: str, models: None) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as made:
        yield made


async def test_a_text_is_continued(asking: openai.AsyncOpenAI, state: State) -> None:
    text = await asking.completions.create(model="first", prompt="To be", max_tokens=3)
    assert (text.object, text.model) == ("text_completion", "ckpt_1")
    (choice,) = text.choices
    assert (choice.text, choice.finish_reason, choice.logprobs) == ("ABC", "length", None)
    assert text.usage is not None
    counts = (text.usage.prompt_tokens, text.usage.completion_tokens, text.usage.total_tokens)
    assert counts == (5, 3, 8)
    await asking.completions.create(model="ckpt_2", prompt="x")
    assert (state.requests[-1].checkpoint_id, state.requests[-1].max_tokens) == ("ckpt_2", 16)


async def test_options_are_passed_on(asking: openai.AsyncOpenAI, state: State) -> None:
    own = {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.2, "stop_token_ids": [3]}
    await asking.completions.create(
        model="first", prompt="x", max_tokens=2, temperature=0, top_p=0.5, seed=-1, stop="End",
        presence_penalty=0.5, frequency_penalty=-1, logit_bias={}, user="me", n=2, extra_body=own,
    )  # fmt: skip
    asked = state.requests[-1]
    assert {name: getattr(asked, name) for name in own if name != "stop_token_ids"} == {
        name: value for name, value in own.items() if name != "stop_token_ids"
    }
    assert ([*asked.stop_token_ids], [*asked.stop]) == ([3], ["End"])
    assert (asked.temperature, asked.top_p, asked.num_samples) == (0.0, 0.5, 2)
    assert asked.seed == 2**63 - 1
    assert (asked.presence_penalty, asked.frequency_penalty) == (0.5, -1.0)
    assert not asked.HasField("logprobs")
    parts: Any = [{"type": "text", "text": text} for text in ("Is ", "it?")]
    await asking.chat.completions.create(
        model="first", max_tokens=9, max_completion_tokens=2, stop=["a", "b"],
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": parts},
        ],
    )  # fmt: skip
    asked = state.requests[-1]
    turns = [(message.role, message.content) for message in asked.messages]
    assert turns == [("system", "Be brief."), ("user", "Is it?")]
    assert (asked.max_tokens, [*asked.stop]) == (2, ["a", "b"])


async def test_null_and_empty_values_change_nothing(
    asking: openai.AsyncOpenAI, state: State
) -> None:
    await asking.completions.create(model="first", prompt="")
    plain = state.requests[-1]
    empty: Any = {"prompt": None, "max_tokens": None, "stop": [], "best_of": None, "n": None}
    own = {"stop_token_ids": None, "top_k": None, "min_p": None, "repetition_penalty": None}
    await asking.completions.create(model="first", **empty, extra_body=own)
    assert state.requests[-1] == plain
    await asking.completions.create(model="first", prompt="", n=2, best_of=2)
    assert state.requests[-1].num_samples == 2


async def test_several_prompts_have_several_choices_each(asking: openai.AsyncOpenAI) -> None:
    text = await asking.completions.create(
        model="first", prompt=["a", "bcd"], n=2, max_tokens=2, logprobs=1
    )
    assert [choice.index for choice in text.choices] == [0, 1, 2, 3]
    assert text.usage is not None
    assert (text.usage.prompt_tokens, text.usage.completion_tokens) == (4, 8)
    scores = text.choices[3].logprobs
    assert scores is not None
    assert (scores.tokens, scores.token_logprobs) == (["A", "B"], [-0.5, -0.5])
    assert (scores.text_offset, scores.top_logprobs) == ([0, 1], [{"A": -0.5}, {"B": -0.5}])


async def test_prompts_may_be_token_ids(asking: openai.AsyncOpenAI, state: State) -> None:
    one = await asking.completions.create(model="first", prompt=[7, 8, 9], max_tokens=1)
    assert one.usage is not None
    assert one.usage.prompt_tokens == 3
    assert ([*state.requests[-1].prompt_ids], state.requests[-1].prompt) == ([7, 8, 9], "")
    several = await asking.completions.create(model="first", prompt=[[1], [2, 3]], max_tokens=1)
    assert len(several.choices) == 2
    assert [*state.requests[-1].prompt_ids] == [2, 3]


async def test_echo_begins_each_choice_with_its_prompt(asking: openai.AsyncOpenAI) -> None:
    options: Any = {"model": "first", "prompt": ["to", "be"], "n": 2, "max_tokens": 2, "echo": True}
    text = await asking.completions.create(**options)
    assert [choice.text for choice in text.choices] == ["toAB", "toAB", "beAB", "beAB"]
    stream = await asking.completions.create(**options, stream=True)
    said = [choice async for chunk in stream for choice in chunk.choices]
    assert "".join(each.text for each in said if each.index == 3) == "beAB"


async def test_an_echoed_prompt_has_log_probabilities(asking: openai.AsyncOpenAI) -> None:
    options: Any = {"model": "first", "max_tokens": 2, "echo": True, "logprobs": 1}
    text = await asking.completions.create(prompt=["to", "b"], **options)
    scores = text.choices[0].logprobs
    assert scores is not None
    assert scores.tokens == ["t", "o", "A", "B"]
    assert scores.token_logprobs == [None, -0.25, -0.5, -0.5]
    assert scores.top_logprobs == [None, {"@": -0.125, "o": -0.25}, {"A": -0.5}, {"B": -0.5}]
    assert scores.text_offset == [0, 1, 2, 3]
    assert text.choices[1].text == "bAB"
    ids = await asking.completions.create(prompt=[116, 111], **options)
    assert (ids.choices[0].text, ids.choices[0].logprobs) == ("toAB", scores)
    stream = await asking.completions.create(prompt=[116, 111], **options, stream=True)
    first, second = [chunk.choices[0] async for chunk in stream]
    assert (first.text, second.text) == ("toA", "B")
    assert first.logprobs is not None
    assert second.logprobs is not None
    assert first.logprobs.tokens == scores.tokens[:3]
    assert (second.logprobs.tokens, second.logprobs.text_offset) == (["B"], [3])


async def test_echoed_ids_need_no_log_probabilities(
    asking: openai.AsyncOpenAI, state: State
) -> None:
    text = await asking.completions.create(model="first", prompt=[116], max_tokens=1, echo=True)
    assert (text.choices[0].text, text.choices[0].logprobs) == ("tA", None)
    assert state.requests[-1].prompt_logprobs == 0


@pytest.mark.parametrize("usage", [True, False])
async def test_a_streamed_text_is_the_whole_one(asking: openai.AsyncOpenAI, usage: bool) -> None:
    stream = await asking.completions.create(
        model="first", prompt="To be", max_tokens=3, n=2, stream=True, logprobs=0,
        stream_options={"include_usage": usage},
    )  # fmt: skip
    chunks = [chunk async for chunk in stream]
    said = [choice for chunk in chunks for choice in chunk.choices]
    texts = ["".join(choice.text for choice in said if choice.index == index) for index in (0, 1)]
    assert texts == ["ABC", "ABC"]
    assert [choice.finish_reason for choice in said] == [None, None, "length"] * 2
    offsets = [choice.logprobs.text_offset for choice in said if choice.logprobs]
    assert offsets == [[0], [1], [2]] * 2
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks[:-1])
    counts = chunks[-1].usage
    assert (None if counts is None else counts.total_tokens) == (11 if usage else None)


async def test_a_conversation_is_answered(asking: openai.AsyncOpenAI) -> None:
    answer = await asking.chat.completions.create(
        model="first", messages=TURNS, max_tokens=2, logprobs=True, top_logprobs=1
    )
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "AB")
    assert choice.finish_reason == "length"
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    first = choice.logprobs.content[0]
    assert (first.token, first.bytes, first.logprob) == ("A", [65], -0.5)
    assert [top.token for top in first.top_logprobs] == ["A"]


async def test_a_streamed_answer_begins_with_its_role(asking: openai.AsyncOpenAI) -> None:
    stream = await asking.chat.completions.create(
        model="first", messages=TURNS, max_tokens=2, stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    chunks = [chunk async for chunk in stream]
    deltas = [chunk.choices[0].delta for chunk in chunks[:-1]]
    assert [(delta.role, delta.content) for delta in deltas] == [
        ("assistant", ""), (None, "A"), (None, "B"), (None, None),
    ]  # fmt: skip
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None, None, None, "length"]
    assert (chunks[-1].choices, chunks[-1].object) == ([], "chat.completion.chunk")
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 2


async def test_what_the_model_did_not_see_is_said(asking: openai.AsyncOpenAI, state: State) -> None:
    state.context = 3
    text = await asking.completions.create(model="first", prompt="To be", max_tokens=1)
    (warning,) = (text.model_extra or {})["warnings"]
    assert warning.startswith("the prompt has 5 tokens; the model saw the last 3")


async def test_models_are_the_jobs_with_checkpoints(asking: openai.AsyncOpenAI) -> None:
    found = [model async for model in asking.models.list()]
    assert [(model.id, model.object) for model in found] == [("first", "model")]
    assert found[0].created == BEGAN.seconds
    assert (await asking.models.retrieve("ckpt_2")).id == "ckpt_2"
    with pytest.raises(openai.NotFoundError):
        await asking.models.retrieve("other")


@pytest.mark.parametrize(
    ("given", "param", "text"),
    [
        ({"frequency_penalty": 2.5}, "frequency_penalty", "frequency_penalty is 2.5"),
        ({"presence_penalty": -3}, "presence_penalty", "presence_penalty is -3"),
        ({"logit_bias": {"5": 1}}, "logit_bias", "it is not supported here"),
        ({"best_of": 3, "n": 2}, "best_of", "best_of is 3 and n is 2; the best of more texts"),
        ({"stop": 0}, "stop", "should be a text or a list of texts"),
        ({"suffix": "x"}, "suffix", "it should be left out, since it is not supported here"),
        ({"extra_body": {"nonsense": 1}}, "nonsense", "nonsense is not known here"),
        ({"n": 65}, "n", "n is 65"),
        ({"n": 33, "prompt": ["a", "b"]}, "prompt", "there may be 64 choices in all"),
        ({"temperature": -1}, "temperature", "temperature is -1"),
        (
            {"prompt": [1, "a"]},
            "prompt",
            "should be a text, a list of token ids, or a list of either",
        ),
        ({"prompt": [-1]}, "prompt", "should be a text, a list of token ids"),
        ({"prompt": []}, "prompt", "should be a text, a list of token ids"),
        ({"stop": [5]}, "stop", "should be a text or a list of texts"),
        ({"max_tokens": 0}, "max_tokens", "max_tokens is 0"),
        ({"max_tokens": 2**31}, "max_tokens", "max_tokens is 2147483648"),
        ({"extra_body": {"top_k": 2**40}}, "top_k", "top_k is 1099511627776"),
        ({"extra_body": {"stop_token_ids": [2**63]}}, "stop_token_ids.0", "9223372036854775808"),
        ({"extra_body": {"stop_token_ids": [-1]}}, "stop_token_ids.0", "is -1"),
        ({"seed": 1.5}, "seed", "seed is 1.5"),
    ],
)
async def test_what_is_refused_is_named(
    asking: openai.AsyncOpenAI, given: dict[str, Any], param: str, text: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await asking.completions.create(**{"model": "first", "prompt": "x", **given})
    error = refused.value
    assert (error.param, error.type) == (param, "invalid_request_error")
    assert error.code in ("invalid_argument", "unknown_field")
    assert text in error.message


@pytest.mark.parametrize(
    ("given", "param", "text"),
    [
        ({"messages": []}, "messages", "at least 1 item"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages.0.content",
            "a list of parts of type text",
        ),
        ({"tools": [{"type": "function"}]}, "tools", "it is not supported here"),
        ({"response_format": {"type": "json_object"}}, "response_format", "not supported here"),
        ({"top_logprobs": 2}, "top_logprobs", "set both"),
    ],
)
async def test_what_is_refused_of_a_conversation_is_named(
    asking: openai.AsyncOpenAI, given: dict[str, Any], param: str, text: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await asking.chat.completions.create(**{"model": "first", "messages": TURNS, **given})
    assert refused.value.param == param
    assert text in refused.value.message


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("other", "there is no job with this name or id"),
        ("none", "this job has no checkpoints yet"),
        ("ckpt_0", "no checkpoint has the id 'ckpt_0'"),
        ("job_00000000000000000000000000", "there is no job with this name or id"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_an_unknown_model_is_404(
    asking: openai.AsyncOpenAI, model: str, text: str, stream: bool
) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        await asking.completions.create(model=model, prompt="x", stream=stream)
    assert (refused.value.code, refused.value.type) == ("model_not_found", "not_found_error")
    assert text in refused.value.message


async def test_every_error_below_v1_has_openais_form(url: str, models: None) -> None:
    async with client_for(url) as client:
        json_type = {"Content-Type": "application/json"}
        answers = [
            await client.get("/v1/nowhere"),
            await client.get("/v1/completions"),
            await client.post("/v1/completions", content=b"{", headers=json_type),
            await client.post("/v1/models?x=1", content=b""),
            await client.post("/v1/completions", content=b"x" * (65 << 10), headers=json_type),
        ]
    assert [each.status_code for each in answers] == [404, 405, 400, 405, 413]
    assert "chat/completions and models" in answers[0].json()["error"]["message"]
    for each in answers:
        assert each.headers["content-type"] == "application/json"
        assert set(each.json()["error"]) == {"message", "type", "param", "code"}


async def test_a_token_is_asked_for(control_plane_port: int, models: None) -> None:
    async with gateway_for(control_plane_port, auth_tokens="open-sesame") as url:
        for key, known in (("open-sesame", True), ("wrong", False)):
            async with openai.AsyncOpenAI(
                base_url=f"{url}/v1", api_key=key, max_retries=0
            ) as asking:
                if known:
                    assert (await asking.models.list()).data
                    continue
                with pytest.raises(openai.AuthenticationError) as refused:
                    await asking.models.list()
                assert refused.value.code == "invalid_api_key"


async def test_a_stream_that_breaks_ends_with_an_error(
    asking: openai.AsyncOpenAI, state: State
) -> None:
    state.breaks_after = 2
    stream = await asking.completions.create(model="first", prompt="x", max_tokens=9, stream=True)
    assert [(await anext(stream)).choices[0].text for _ in range(2)] == ["A", "B"]
    with pytest.raises(openai.APIError, match="the file differs"):
        await anext(stream)


async def test_a_stream_has_pings_and_an_end(url: str, models: None, state: State) -> None:
    state.token_delay = 0.5
    body = {"model": "first", "prompt": "x", "max_tokens": 2, "stream": True}
    async with (
        client_for(url) as client,
        client.stream("POST", "/v1/completions", json=body) as sent,
    ):
        lines = [line async for line in sent.aiter_lines() if line]
    assert sent.headers["content-type"].startswith("text/event-stream")
    assert ": ping" in lines
    assert lines[-1] == "data: [DONE]"
    data = [json.loads(line[6:]) for line in lines[:-1] if line.startswith("data: ")]
    assert "".join(each["choices"][0]["text"] for each in data) == "AB"
