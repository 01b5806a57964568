"""`checkpoints`, `download` and `generate`."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import Cli
from scripted_service import (
    CheckpointFile,
    ScriptedService,
    checkpoint_pb2,
    generation_pb2,
)


def test_checkpoints_and_download(service: ScriptedService, cli: Cli, tmp_path: Path) -> None:
    file = CheckpointFile()
    service.on["ListCheckpoints"] = lambda request, context: checkpoint_pb2.ListCheckpointsResponse(
        checkpoints=[file.record(loss=2.5, is_best=True)]
    )
    service.on["GetCheckpoint"] = file.get
    service.on["DownloadCheckpoint"] = file.download
    assert cli("checkpoints", "j1").stdout.splitlines()[1].split() == [
        "ckpt_1",
        "7",
        "2.5",
        "1000",
        "B",
        "*",
    ]
    result = cli("download", "ckpt_1", "-o", "model.pt")
    assert result.stdout == "downloaded and verified model.pt\n"
    assert (tmp_path / "model.pt").read_bytes() == file.data
    plain = json.loads(cli("download", "ckpt_1", "--json").stdout)
    assert plain == {"checkpoint_id": "ckpt_1", "path": f"{tmp_path}/checkpoint_step_7.pt"}


def test_generate(service: ScriptedService, cli: Cli) -> None:
    service.on["Generate"] = lambda request, context: iter(
        [
            generation_pb2.GenerateResponse(token_id=7, text=" or"),
            generation_pb2.GenerateResponse(token_id=8, text=" not"),
            generation_pb2.GenerateResponse(token_id=0, finish_reason="FINISH_REASON_STOP"),
        ]
    )
    assert cli("generate", "ckpt_1", "--prompt", "To be", "--seed", "3").stdout == "To be or not\n"
    assert json.loads(cli("generate", "ckpt_1", "--prompt", "To be", "--json").stdout) == {
        "checkpoint_id": "ckpt_1",
        "prompt": "To be",
        "text": " or not",
        "token_ids": [7, 8, 0],
        "finish_reason": "stop",
        "prompt_tokens": None,
        "dropped_prompt_tokens": None,
        "prompt_logprobs": None,
        "prompt_text": None,
        "samples": [
            {
                "text": " or not",
                "token_ids": [7, 8, 0],
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
    }
    assert service.asked("Generate")[0].seed == 3


def test_generate_shows_every_sample_and_says_what_the_model_did_not_see(
    service: ScriptedService, cli: Cli
) -> None:
    token = generation_pb2.TokenLogprob(token_id=7, text=" or", logprob=-0.25)
    said = {"logprob": -0.25, "token_text": " or", "top_logprobs": [token]}
    service.on["Generate"] = lambda request, context: iter(
        generation_pb2.GenerateResponse(
            token_id=7, text=text, sample=sample, prompt_tokens=9, dropped_prompt_tokens=4,
            finish_reason="FINISH_REASON_STOP", **said,
        )
        for sample, text in enumerate([" or", " not"])
    )  # fmt: skip
    options = (
        "-n", "2", "--stop", "x", "--stop", "y", "--stop-token-id", "3", "--min-p", "0.1",
        "--repetition-penalty", "1.5",
    )  # fmt: skip
    done = cli("generate", "ckpt_1", "--prompt", "To", *options)
    assert done.stdout == "To or\n\nTo not\n"
    assert "the prompt has 9 tokens; the model sees the last 5" in done.stderr
    (request,) = service.asked("Generate")
    assert ([*request.stop], [*request.stop_token_ids]) == (["x", "y"], [3])
    assert (request.num_samples, request.min_p, request.repetition_penalty) == (2, 0.1, 1.5)
    whole = json.loads(cli("generate", "ckpt_1", "-n", "2", "--logprobs", "1", "--json").stdout)
    top = {"token_id": 7, "text": " or", "logprob": -0.25}
    assert [each["text"] for each in whole["samples"]] == [" or", " not"]
    assert whole["samples"][1]["logprobs"] == [{**top, "top_logprobs": [top]}]
    assert (whole["text"], whole["dropped_prompt_tokens"]) == (" or", 4)
    for flag in ("--logprobs", "--prompt-logprobs"):
        refused = cli("generate", "ckpt_1", flag, "1")
        assert f"{flag} is shown with --json alone" in refused.stderr
