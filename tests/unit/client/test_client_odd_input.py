"""Input that no request can carry, counts beyond any list, and outputs in ASCII: clear errors."""

from __future__ import annotations

import io
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import Cli
from scripted_service import ScriptedService, job, job_pb2
from typer.testing import CliRunner

from training_engine import InvalidArgumentError, TrainingEngine
from training_engine.cli.app import app
from training_engine.cli.encoding import tolerate_encoding
from training_engine.v1 import checkpoint_pb2, metrics_pb2

LATIN = os.fsdecode(b"caf\xe9")
REFUSED = "it must be text in UTF-8; rename what it names, or write it in UTF-8"


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["start", "{path}", "--set", "max_steps=5", "--name", LATIN], "name"),
        (["status", LATIN], "name"),
        (["list", "--tag", LATIN], "tags"),
        (["list", "--search", LATIN], "search"),
        (["datasets", "upload", "{path}"], "name"),
    ],
)
@pytest.mark.parametrize("door", ["--address", "--url"])
def test_text_that_is_none(tmp_path: Path, door: str, arguments: list[str], name: str) -> None:
    path = tmp_path / (LATIN if arguments[0] == "datasets" else "c.yaml")
    path.write_text("max_steps: 5")
    address = "127.0.0.1:1" if door == "--address" else "http://127.0.0.1:1"
    command = [each.replace("{path}", str(path)) for each in arguments]
    refused = CliRunner().invoke(app, [door, address, *command])
    value = ascii([LATIN] if name == "tags" else LATIN)
    assert refused.stderr == f"error: {name} is {value.strip('[]')}; {REFUSED}\n"
    assert refused.exit_code == 2


def test_an_address_that_is_no_text() -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"^the address is 'caf\\udce9'; it must be text"
    ):
        TrainingEngine(LATIN)


@pytest.mark.parametrize("token", ["a\nb", "secret\n", "é"])
@pytest.mark.parametrize("make", [TrainingEngine, TrainingEngine.over_rest])
def test_a_token_that_no_header_carries(
    monkeypatch: pytest.MonkeyPatch, make: type[TrainingEngine], token: str
) -> None:
    rule = (
        "holds a character that no request can carry; it must be printable ASCII without line "
        "breaks; give it again"
    )
    with pytest.raises(InvalidArgumentError) as refused:
        make(token=token)
    assert str(refused.value) == f"the access token {rule}"
    monkeypatch.setenv("TRAINING_ENGINE_TOKEN", token)
    with pytest.raises(InvalidArgumentError) as refused:
        make()
    assert str(refused.value) == f"the access token in TRAINING_ENGINE_TOKEN {rule}"


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "--limit"],
        ["logs", "j", "--tail"],
        ["system", "j", "--tail"],
        ["samples", "j", "--tail"],
        ["samples", "j", "--step"],
        ["export", "j", "--output", "x", "--max-shard-gb"],
    ],
)
@pytest.mark.parametrize("huge", ["99999999999999999999", "1e400"])
def test_counts_beyond_any_list(cli: Cli, arguments: list[str], huge: str) -> None:
    refused = cli(*arguments, huge)
    assert refused.exit_code == 2
    assert "Invalid value for '--" in refused.stderr


def test_a_number_that_no_field_holds_is_named(cli: Cli) -> None:
    refused = cli("generate", "ckpt_01m81p43293ct71tx4pvvv2jry", "--max-tokens", "99999999999")
    assert refused.stderr == (
        "error: the request cannot be sent: max_tokens is 99999999999; it must be a whole number "
        "from -2147483648 to 2147483647\n"
    )


def test_a_report_that_cannot_be_written(cli: Cli, service: ScriptedService) -> None:
    service.on |= {
        "BatchGetJobs": lambda request, context: job_pb2.BatchGetJobsResponse(
            jobs=[job(each) for each in request.job_ids]
        ),
        "GetSeries": lambda request, context: metrics_pb2.GetSeriesResponse(),
        "ListSamples": lambda request, context: metrics_pb2.ListSamplesResponse(),
        "ListCheckpoints": lambda request, context: checkpoint_pb2.ListCheckpointsResponse(),
    }
    refused = cli("report", "--output", "/", "job_01m81nqx2t8ak7ns9myvdkzwbd")
    assert refused.stderr == "error: / cannot be written: Is a directory; choose another --output\n"
    assert refused.exit_code == 2


def test_an_output_in_ascii_has_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii"))
    tolerate_encoding()
    sys.stdout.write(json.dumps("é€😀", ensure_ascii=False))
    sys.stdout.flush()
    assert written.getvalue() == rb'"\u00e9\u20ac\ud83d\ude00"'
    assert json.loads(written.getvalue()) == "é€😀"


@pytest.mark.parametrize("make", [TrainingEngine, TrainingEngine.over_rest])
@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("timeout", -1, "from 0.001 to 1e+06"),
        ("timeout", "x", "from 0.001 to 1e+06"),
        ("timeout", math.nan, "from 0.001 to 1e+06"),
        ("timeout", math.inf, "from 0.001 to 1e+06"),
        ("retry_for", -1, "from 0 to inf"),
        ("reconnect_for", None, "from 0 to inf"),
    ],
)
def test_times_that_cannot_be_waited_for(make: Any, name: str, value: Any, rule: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        make(**{name: value})
    assert str(refused.value) == (
        f"{name} is {value!r}; it must be a number of seconds {rule}; try 30"
    )
    make(timeout=None, retry_for=math.inf).close()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda engine: engine.jobs.find(5), "the job is 5; give its id or its name"),
        (lambda engine: list(engine.jobs.list(status=5)), "status is 5; it must be one of queued"),
        (lambda engine: list(engine.jobs.list(tags=5)), "tags is 5; it must be a list of texts"),
        (
            lambda engine: engine.jobs.start(config={}, execution=5),
            "5 is given where a mapping of names to values must be",
        ),
        (lambda engine: type(engine)(5), "the address is 5, and must be HOST:PORT"),
        (lambda engine: type(engine)(token=5), "the access token holds a character that no"),
    ],
)
def test_values_of_another_type(engine: TrainingEngine, call: Any, said: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        call(engine)
    assert str(refused.value).startswith(said)
