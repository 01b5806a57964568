"""GenerationService over a real channel, with this test as the worker that samples."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from failure import failure_of
from started import running_job

from job_store.attempts import AttemptStore
from job_store.connection import Connection
from job_store.generation import GeneratedPiece, GenerationInbox
from job_store.ids import new_id
from job_store.records import CheckpointRecord
from training_engine.v1 import generation_pb2


async def checkpoint_id(stubs: Any, attempts: AttemptStore) -> str:
    job_id, token = await running_job(stubs, attempts)
    record = CheckpointRecord(
        new_id("checkpoint"), job_id, 1, 2, 2.5, 3, "ab" * 32, f"jobs/{job_id}/2.pt", 0
    )
    attempts.register_checkpoint(token, record)
    return record.checkpoint_id


async def test_tokens_pass_through(
    stubs: Any, attempts: AttemptStore, worker_connection: Connection
) -> None:
    request = generation_pb2.GenerateRequest(
        checkpoint_id=await checkpoint_id(stubs, attempts), prompt="To", max_tokens=2, seed=7
    )
    call = stubs.generation.Generate(request)
    inbox = GenerationInbox(worker_connection)
    taken = await asyncio.to_thread(inbox.take, 5)
    assert taken is not None
    assert (taken.prompt, taken.max_tokens, taken.seed, taken.top_k) == ("To", 2, 7, None)
    inbox.send(taken, [GeneratedPiece(0, 32, " "), GeneratedPiece(1, 98, "b", "length")])
    responses = [response async for response in call]
    assert [(r.index, r.token_id, r.text) for r in responses] == [(0, 32, " "), (1, 98, "b")]
    assert responses[-1].finish_reason == generation_pb2.FINISH_REASON_LENGTH


async def test_a_conversation_passes_through_in_place_of_a_prompt(
    stubs: Any, attempts: AttemptStore, worker_connection: Connection
) -> None:
    request = generation_pb2.GenerateRequest(
        checkpoint_id=await checkpoint_id(stubs, attempts),
        messages=[{"role": "user", "content": "Is it far?"}],
    )
    call = stubs.generation.Generate(request)
    inbox = GenerationInbox(worker_connection)
    taken = await asyncio.to_thread(inbox.take, 5)
    assert taken is not None
    assert (taken.prompt, [*map(tuple, taken.messages)]) == ("", [("user", "Is it far?")])
    inbox.send(taken, [GeneratedPiece(0, 32, "No.", "stop")])
    assert [response.text async for response in call] == ["No."]
    request.prompt = "Or"
    failure = await failure_of(stubs.generation.Generate(request).read())
    assert (failure.reason, list(failure.fields)) == ("INVALID_ARGUMENT", ["messages"])


async def test_options_and_what_they_bring_pass_through(
    stubs: Any, attempts: AttemptStore, worker_connection: Connection
) -> None:
    options = {
        "stop": ["\n\n", "End"],
        "stop_token_ids": [3, 5],
        "min_p": 0.05,
        "repetition_penalty": 1.2,
        "frequency_penalty": 0.5,
        "presence_penalty": -0.5,
        "num_samples": 2,
        "logprobs": 0,
        "prompt_logprobs": 2,
        "averaged": True,
        "prompts": ["To", "By"],
    }
    request = generation_pb2.GenerateRequest(
        checkpoint_id=await checkpoint_id(stubs, attempts), **options
    )
    call = stubs.generation.Generate(request)
    inbox = GenerationInbox(worker_connection)
    taken = await asyncio.to_thread(inbox.take, 5)
    assert taken is not None
    assert {name: getattr(taken, name) for name in options} == options
    likely = [(98, "b", -0.5), (32, " ", -1.5)]
    inbox.send(
        taken,
        [
            GeneratedPiece(
                0,
                98,
                "b",
                "stop",
                0,
                9,
                3,
                -0.5,
                "b",
                likely,
                0,
                [(84, "T", None, []), (111, "o", -2.5, likely)],
                "To",
            ),
            GeneratedPiece(0, 98, "b", "stop", prompt_index=1),
            GeneratedPiece(0, 32, " ", "length", 1, prompt_index=1),
            GeneratedPiece(0, 32, " ", "length", 1, 9, 3, -1.5, " "),
        ],
    )
    first, *others, second = [response async for response in call]
    assert [(other.prompt_index, other.sample) for other in others] == [(1, 0), (1, 1)]
    assert (first.prompt_tokens, first.dropped_prompt_tokens, first.logprob) == (9, 3, -0.5)
    assert (first.token_text, second.token_text) == ("b", " ")
    top = [(each.token_id, each.text, each.logprob) for each in first.top_logprobs]
    assert top == likely
    begin, behind = first.prompt_logprobs
    assert (begin.text, begin.HasField("logprob"), behind.logprob) == ("T", False, -2.5)
    assert ([each.text for each in behind.top_logprobs], first.prompt_text) == (["b", " "], "To")
    assert (second.HasField("prompt_text"), len(second.prompt_logprobs)) == (False, 0)
    assert (first.sample, second.sample, len(second.top_logprobs)) == (0, 1, 0)


async def test_a_text_that_takes_long_is_not_asked_for_again(
    stubs: Any, attempts: AttemptStore, worker_connection: Connection
) -> None:
    request = generation_pb2.GenerateRequest(checkpoint_id=await checkpoint_id(stubs, attempts))
    call = stubs.generation.Generate(request)
    inbox = GenerationInbox(worker_connection)
    taken = await asyncio.to_thread(inbox.take, 5)
    assert taken is not None
    key = f"{worker_connection.prefix}generation:{taken.request_id}:taken"
    worker_connection.transaction(("PEXPIRE", key, 20_000))  # as after a while of sampling
    inbox.send(taken, [GeneratedPiece(0, 32, " ")])
    assert worker_connection.transaction(("PTTL", key))[0] > 60_000
    inbox.send(taken, [GeneratedPiece(1, 32, " ", "length")])
    assert len([response async for response in call]) == 2


async def test_a_workers_refusal_and_its_absence(
    stubs: Any, attempts: AttemptStore, worker_connection: Connection
) -> None:
    request = generation_pb2.GenerateRequest(checkpoint_id=await checkpoint_id(stubs, attempts))
    call = stubs.generation.Generate(request)
    inbox = GenerationInbox(worker_connection)
    taken = await asyncio.to_thread(inbox.take, 5)
    assert taken is not None
    inbox.fail(taken, "ARTIFACT_DAMAGED", "the file differs")
    failure = await failure_of(call.read())
    assert (failure.code, failure.reason) == (grpc.StatusCode.DATA_LOSS, "ARTIFACT_DAMAGED")
    failure = await failure_of(stubs.generation.Generate(request).read())
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "WORKER_UNAVAILABLE")
    assert failure.message.startswith("no worker sent a token within 1 s")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"max_tokens": 0}, "`max_tokens` is 0; it must be 1 to 100000; try 256"),
        ({"temperature": -1.0}, "`temperature` is -1.0; it must be at least 0 and finite; try 1"),
        ({"temperature": float("nan")}, "`temperature` is nan"),
        ({"top_k": 0}, "`top_k` is 0; it must be at least 1"),
        ({"top_p": 1.5}, "`top_p` is 1.5; it must be above 0 and at most 1"),
        ({"prompt": "x" * 100_001}, "`prompt` has 100001 characters"),
        ({"min_p": 1.5}, "`min_p` is 1.5; it must be at least 0 and at most 1"),
        ({"repetition_penalty": 0.0}, "`repetition_penalty` is 0.0; it must be above 0 and finite"),
        ({"frequency_penalty": 2.5}, "`frequency_penalty` is 2.5; it must be -2 to 2"),
        ({"presence_penalty": -3.0}, "`presence_penalty` is -3.0; it must be -2 to 2"),
        ({"prompt_ids": [1] * 100_001}, "`prompt_ids` has 100001 entries"),
        ({"prompt_ids": [1], "prompt": "b"}, "`prompt_ids` and `prompt` are both given"),
        ({"num_samples": 65}, "`num_samples` is 65; it must be 1 to 64"),
        ({"logprobs": 21}, "`logprobs` is 21; it must be 0 to 20; leave it out for none"),
        ({"prompt_logprobs": -1}, "`prompt_logprobs` is -1; it must be 0 to 20; leave it out"),
        ({"stop": ["a"] * 17}, "`stop` has 17 entries; there must be at most 16"),
        ({"stop": ["a", ""]}, "`stop` has a text of 0 characters; each must have 1 to 200"),
        ({"prompts": ["a"] * 65}, "`prompts` has 65 entries; there must be at most 64"),
        ({"prompts": ["x" * 60_000] * 2}, "`prompts` has 120000 characters"),
        ({"prompts": ["a"], "prompt": "b"}, "`prompts` and `prompt` are both given"),
        ({"stop_token_ids": [1] * 101}, "`stop_token_ids` has 101 entries"),
    ],
)
async def test_what_generate_refuses(stubs: Any, fields: dict[str, Any], text: str) -> None:
    request = generation_pb2.GenerateRequest(checkpoint_id="ckpt_x", **fields)
    failure = await failure_of(stubs.generation.Generate(request).read())
    assert failure.reason == "INVALID_ARGUMENT"
    assert text in failure.message
