"""Text and losses from a checkpoint, by the process that a worker keeps beside its trainer."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import redis
from training_site import Site, connected

from app.training.inference import load_trained
from app.training.measured_data import measure_data
from job_store.evaluation import EvaluationClient, EvaluationReply, EvaluationRequest
from job_store.generation import GeneratedPiece, GenerationClient, GenerationRequest
from job_store.inference_requests import InferenceFailedError, InferenceTimeoutError
from job_store.records import CheckpointRecord, JobStatus


@pytest.fixture(scope="module")
def checkpoint(site: Site) -> CheckpointRecord:
    """A checkpoint, and a worker that answers."""
    site.start_worker(generation=True)
    job_id = site.submit(max_steps=2)
    record = site.wait(job_id, JobStatus.SUCCEEDED, JobStatus.FAILED)
    assert record.status is JobStatus.SUCCEEDED, site.logs()
    return site.store.checkpoints(job_id)[-1]


def generate(
    site: Site, request: GenerationRequest, *, leave_after: int = 0, seconds: float = 20.0
) -> list[GeneratedPiece]:
    async def run() -> list[GeneratedPiece]:
        pieces = []
        async with connected(site.url) as db:
            stream = GenerationClient(db).generate(request, seconds)
            async for piece in stream:
                pieces.append(piece)
                if len(pieces) == leave_after:
                    await stream.aclose()  # type: ignore[attr-defined]
                    break
        return pieces

    return asyncio.run(run())


def ask(checkpoint: CheckpointRecord, **options: Any) -> GenerationRequest:
    return GenerationRequest.of(checkpoint, "line 1", **{"max_tokens": 20, "seed": 7, **options})


def text_of(pieces: list[GeneratedPiece]) -> str:
    return "".join(piece.text for piece in pieces)


def test_text_comes_token_by_token_and_a_seed_repeats_it(
    site: Site, checkpoint: CheckpointRecord
) -> None:
    pieces = generate(site, ask(checkpoint))
    assert [piece.index for piece in pieces] == list(range(20))
    assert [piece.finish_reason for piece in pieces] == [""] * 19 + ["length"]
    ids = bytes(piece.token_id for piece in pieces)
    assert text_of(pieces) == ids.decode("utf-8", errors="replace")
    assert generate(site, ask(checkpoint)) == pieces
    assert generate(site, ask(checkpoint, seed=8)) != pieces
    empty = GenerationRequest.of(checkpoint, "", max_tokens=3, temperature=0.0)
    assert len(generate(site, empty)) == 3


def test_samples_and_their_options(site: Site, checkpoint: CheckpointRecord) -> None:
    pieces = generate(site, ask(checkpoint, num_samples=2, logprobs=2, min_p=0.01))
    assert [(p.sample, p.index) for p in pieces] == [(s, i) for s in (0, 1) for i in range(20)]
    assert (pieces[0].prompt_tokens, pieces[0].dropped_prompt_tokens) == (6, 0)
    assert all(len(piece.top_logprobs) == 2 for piece in pieces)
    second = generate(site, ask(checkpoint, seed=8, min_p=0.01))
    assert [p.token_id for p in second] == [p.token_id for p in pieces if p.sample == 1]
    (ended,) = generate(site, ask(checkpoint, stop_token_ids=[pieces[0].token_id], min_p=0.01))
    assert (ended.text, ended.finish_reason) == ("", "stop")


def test_prompts_in_one_request_get_what_they_get_alone(
    site: Site, checkpoint: CheckpointRecord
) -> None:
    prompts = ["line 1", "", "the quick brown"]
    pieces = generate(site, ask(checkpoint, prompts=prompts, num_samples=2))
    for number, prompt in enumerate(prompts):
        request = GenerationRequest.of(checkpoint, prompt, max_tokens=20, seed=7, num_samples=2)
        alone = [(piece.sample, piece.token_id) for piece in generate(site, request)]
        assert alone == [(p.sample, p.token_id) for p in pieces if p.prompt_index == number]
    ids = {"prompt_ids": [*b"line 1"], "presence_penalty": 0.5}
    request = GenerationRequest.of(checkpoint, "", max_tokens=20, seed=7, **ids)
    assert generate(site, request) == generate(site, ask(checkpoint, presence_penalty=0.5))


def test_the_average_of_the_weights_is_sampled_on_request(
    site: Site, checkpoint: CheckpointRecord
) -> None:
    with pytest.raises(InferenceFailedError, match="has no average of the weights") as failure:
        generate(site, ask(checkpoint, averaged=True))
    assert failure.value.code == "INVALID_ARGUMENT"
    job_id = site.submit(max_steps=4, warmup_steps=0, learning_rate=0.5, ema_decay=0.9)
    site.wait(job_id, JobStatus.SUCCEEDED)
    newest = site.store.checkpoints(job_id)[-1]
    averaged = generate(site, ask(newest, averaged=True))
    assert len(averaged) == 20
    assert averaged != generate(site, ask(newest))


def test_a_conversation_needs_a_model_that_was_trained_on_such(
    site: Site, checkpoint: CheckpointRecord
) -> None:
    request = GenerationRequest.of(checkpoint, "", messages=[("user", "Is it far?")])
    with pytest.raises(InferenceFailedError, match="the checkpoint has no chat template"):
        generate(site, request)


def test_text_comes_while_a_job_trains(site: Site, checkpoint: CheckpointRecord) -> None:
    job_id = site.submit(max_steps=100_000, save_steps=20, eval_steps=100_000)
    newest = site.wait_for(lambda: site.store.checkpoints(job_id))[-1]
    assert len(generate(site, ask(newest))) == 20
    assert site.job(job_id).status is JobStatus.RUNNING
    site.stop(job_id)
    site.wait(job_id, JobStatus.STOPPED)


def test_what_cannot_be_sampled_says_why(site: Site, checkpoint: CheckpointRecord) -> None:
    with pytest.raises(InferenceFailedError, match=r"`temperature` is -1.0; it must be") as failure:
        generate(site, ask(checkpoint, temperature=-1.0))
    assert failure.value.code == "INVALID_ARGUMENT"
    with pytest.raises(InferenceFailedError, match="`prompt_ids` holds 99999; ids must be those"):
        generate(site, GenerationRequest.of(checkpoint, "", prompt_ids=[99999]))
    job_id = site.submit(max_steps=2)
    site.wait(job_id, JobStatus.SUCCEEDED)
    other = site.store.checkpoints(job_id)[-1]
    path = site.artifacts / other.artifact
    content = bytearray(path.read_bytes())
    weights = site.weights(job_id)["token_embedding.weight"]
    content[content.index(weights.numpy().tobytes()) + 100] ^= 1
    path.write_bytes(content)
    with pytest.raises(InferenceFailedError, match="its file was damaged") as failure:
        generate(site, ask(other))
    assert failure.value.code == "ARTIFACT_DAMAGED"
    another = site.artifacts / checkpoint.artifact  # whole, and not what was registered here
    for ending in (".pt", ".json"):
        shutil.copyfile(another.with_suffix(ending), path.with_suffix(ending))
    with pytest.raises(InferenceFailedError, match="its file was damaged"):
        generate(site, ask(other))
    path.unlink()
    with pytest.raises(InferenceFailedError, match="was deleted; choose another one") as failure:
        generate(site, ask(other))
    assert failure.value.code == "CHECKPOINT_NOT_FOUND"


def test_a_reader_who_leaves_ends_the_sampling(site: Site, checkpoint: CheckpointRecord) -> None:
    generate(site, ask(checkpoint, max_tokens=100_000), leave_after=3)
    site.wait_for(lambda: "the reader of the text" in site.logs(), seconds=20)


def evaluate(
    site: Site, checkpoint: CheckpointRecord, data: Path, *, leave: bool = False, **options: Any
) -> list[EvaluationReply]:
    roots = (str(site.text.parent),)
    request = EvaluationRequest.of(checkpoint, str(data), data_roots=roots, **options)

    async def run() -> list[EvaluationReply]:
        replies = []
        async with connected(site.url) as db:
            stream = EvaluationClient(db).evaluate(request, 20.0)
            async for reply in stream:
                replies.append(reply)
                if leave:
                    await stream.aclose()  # type: ignore[attr-defined]
                    break
        return replies

    return asyncio.run(run())


def test_the_loss_on_data_is_that_of_the_library(site: Site, checkpoint: CheckpointRecord) -> None:
    loaded = load_trained(site.artifacts / checkpoint.artifact)
    last = evaluate(site, checkpoint, site.text, stride=16)[-1]
    expected = asdict(measure_data(loaded, site.text, stride=16))
    assert last.result == pytest.approx(expected, rel=1e-5)
    assert last.tokens_done == last.tokens_total == expected["tokens"]


def test_what_cannot_be_measured_says_why(site: Site, checkpoint: CheckpointRecord) -> None:
    def refusal(data: Path, **options: Any) -> tuple[str, str]:
        with pytest.raises(InferenceFailedError) as failure:
            evaluate(site, checkpoint, data, **options)
        return failure.value.code, failure.value.field

    foreign, empty = site.text.with_name("ids.jsonl"), site.text.with_name("empty.txt")
    foreign.write_text('{"input_ids": [1, 300, 2]}\n')
    empty.write_text("")
    link = site.text.with_name("link.txt")
    link.symlink_to("/etc/hostname")
    assert refusal(foreign) == ("INVALID_DATA", "dataset_path")
    assert refusal(empty) == ("INVALID_DATA", "dataset_path")
    assert refusal(link) == ("PATH_NOT_ALLOWED", "dataset_path")
    assert refusal(site.text, stride=33) == ("INVALID_ARGUMENT", "stride")
    assert refusal(site.text, averaged=True) == ("INVALID_ARGUMENT", "averaged")


def test_a_reader_who_leaves_ends_the_measuring(site: Site, checkpoint: CheckpointRecord) -> None:
    long = site.text.with_name("long.txt")
    long.write_text(site.text.read_text() * 20)
    evaluate(site, checkpoint, long, stride=1, leave=True)
    site.wait_for(lambda: "the reader of an evaluation is gone" in site.logs(), seconds=20)


def test_a_killed_inference_process_is_replaced(site: Site, checkpoint: CheckpointRecord) -> None:
    worker = site.worker()
    process = site.horse(worker)
    client = redis.Redis.from_url(site.url)
    client.lpush("te:generation:requests", b"\xff not json", b'{"artifact": 1}')
    client.close()
    assert len(generate(site, ask(checkpoint))) == 20
    os.kill(process, signal.SIGKILL)
    assert len(generate(site, ask(checkpoint))) == 20  # even if the dead one had popped it
    assert evaluate(site, checkpoint, site.text)[-1].result
    assert site.horse(worker) != process
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=10) == 0
    with pytest.raises(InferenceTimeoutError, match=r"no worker sent a token within 0.6 s"):
        generate(site, ask(checkpoint), seconds=0.6)
