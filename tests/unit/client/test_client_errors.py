"""Failures as typed exceptions, alike over gRPC and REST."""

from __future__ import annotations

from http import HTTPStatus

import grpc
import httpx
import pytest
from scripted_service import ScriptedService, code_pb2, refuse

from training_engine import (
    ConflictError,
    DeadlineExceededError,
    FieldProblem,
    InternalError,
    InvalidArgumentError,
    InvalidConfigError,
    NotFoundError,
    PayloadTooLargeError,
    RateLimitedError,
    StateForbidsError,
    TrainingEngine,
    TrainingEngineError,
    UnauthenticatedError,
    UnavailableError,
)
from training_engine import _http as http
from training_engine.errors import TOKEN_NEEDED, error_for
from training_engine.reasons import CALL_STATUSES
from training_engine.v1.errors_pb2 import ErrorReason

PROBLEMS = {
    "learning_rate": "`learning_rate` is -1.0; it must be > 0; try 6e-4",
    "batch_size": "`batch_size` is 0; it must be > 0; try 8",
}


def test_every_reason_below_60_ends_calls_and_says_how() -> None:
    # Numbers from 60 on say why a job failed; a call ends with only one of them.
    names = [name for name, number in ErrorReason.items() if 0 < number < 60]
    ends_calls = {name.removeprefix("ERROR_REASON_") for name in names} | {"INVALID_DATA"}
    assert set(CALL_STATUSES) == ends_calls
    for status in CALL_STATUSES.values():
        assert status.grpc_code in grpc.StatusCode.__members__
        assert HTTPStatus(status.http_status) >= HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("reason", CALL_STATUSES)
def test_every_reason_has_its_exception(reason: str) -> None:
    error = error_for(reason.lower(), "why", fallback=DeadlineExceededError)
    assert not isinstance(error, DeadlineExceededError)
    assert isinstance(error, InternalError) is (reason == "INTERNAL")
    assert error.retryable is CALL_STATUSES[reason].retryable
    assert error.retryable is (error.may_pass and reason != "WORKER_UNAVAILABLE")


def test_a_reason_that_is_newer_than_the_sdk_goes_by_its_code() -> None:
    error = error_for("something_newer", "why", fallback=UnavailableError)
    assert type(error) is UnavailableError
    assert error.retryable


def test_an_invalid_configuration_lists_every_problem(
    service: ScriptedService, engine: TrainingEngine
) -> None:
    service.on["StartJob"] = lambda request, context: refuse(
        context, code_pb2.INVALID_ARGUMENT, "INVALID_CONFIG", "2 problems", PROBLEMS
    )
    with pytest.raises(InvalidConfigError) as caught:
        engine.jobs.start({"learning_rate": -1.0, "batch_size": 0})
    assert caught.value.code == "invalid_config"
    assert caught.value.problems == tuple(FieldProblem(*item) for item in PROBLEMS.items())
    assert str(caught.value).splitlines() == [
        "2 problems",
        "  `learning_rate` is -1.0; it must be > 0; try 6e-4",
        "  `batch_size` is 0; it must be > 0; try 8",
    ]


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (FieldProblem("batch_size", "`batch_size` is 0"), "`batch_size` is 0"),
        (FieldProblem("tokenizer", "gpt3 is unknown"), "tokenizer: gpt3 is unknown"),
        (FieldProblem("model_config.bias", "`bias` is 1"), "model_config.bias: `bias` is 1"),
        (FieldProblem("", "the file is empty"), "the file is empty"),
    ],
)
def test_a_problem_names_its_field_once(problem: FieldProblem, text: str) -> None:
    assert str(problem) == text


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (code_pb2.NOT_FOUND, "JOB_NOT_FOUND", NotFoundError),
        (code_pb2.FAILED_PRECONDITION, "STATE_FORBIDS", StateForbidsError),
        (code_pb2.FAILED_PRECONDITION, "IN_USE", ConflictError),
        (code_pb2.INVALID_ARGUMENT, "PATH_NOT_ALLOWED", InvalidArgumentError),
        (code_pb2.UNAUTHENTICATED, "UNAUTHENTICATED", UnauthenticatedError),
        (code_pb2.INTERNAL, "INTERNAL", InternalError),
        (code_pb2.NOT_FOUND, "SOMETHING_NEWER", NotFoundError),
    ],
)
def test_reasons_over_grpc(
    service: ScriptedService,
    engine: TrainingEngine,
    code: int,
    reason: str,
    kind: type[TrainingEngineError],
) -> None:
    service.on["GetJob"] = lambda request, context: refuse(context, code, reason, "what happened")
    with pytest.raises(kind) as caught:
        engine.jobs.get("j1")
    assert type(caught.value) is kind
    assert caught.value.code == reason.lower()
    said = TOKEN_NEEDED if kind is UnauthenticatedError else "what happened"
    assert caught.value.message == said
    assert len(service.asked("GetJob")) == 1


def _response(status: int, body: object, **headers: str) -> httpx.Response:
    request = httpx.Request("GET", "http://gateway/api/training/jobs/j1")
    if isinstance(body, str):
        return httpx.Response(status, text=body, headers=headers, request=request)
    return httpx.Response(status, json=body, headers=headers, request=request)


def test_problem_json_gives_the_same_exception() -> None:
    body = {
        "type": "urn:training-engine:problem:invalid_config",
        "title": "Bad Request",
        "status": 400,
        "detail": "2 problems",
        "reason": "invalid_config",
        "errors": [{"field": field, "message": text} for field, text in PROBLEMS.items()],
    }
    error = http.problem(_response(400, body))
    assert isinstance(error, InvalidConfigError)
    assert error.problems[1] == FieldProblem("batch_size", PROBLEMS["batch_size"])
    assert error.message == "2 problems"


def test_retry_after_is_kept() -> None:
    error = http.problem(
        _response(429, {"reason": "rate_limited", "detail": "slow down"}, **{"retry-after": "7"})
    )
    assert isinstance(error, RateLimitedError)
    assert error.retry_after == 7.0


@pytest.mark.parametrize(
    ("status", "kind", "remedy"),
    [
        (404, NotFoundError, "see whether the URL is the gateway's"),
        (413, PayloadTooLargeError, "or upload over gRPC (--address)"),
        (502, UnavailableError, "see whether the gateway runs"),
    ],
)
def test_an_answer_that_is_no_problem_json_goes_by_its_status(
    status: int, kind: type[TrainingEngineError], remedy: str
) -> None:
    page = "<html><TITLE>\n 413 Too\tlarge </title>a proxy</html>"
    error = http.problem(_response(status, page, server="nginx"))
    assert type(error) is kind
    assert error.message.startswith(
        f"http://gateway/api/training/jobs/j1 answered {status} (server: nginx; it says '413 Too "
        "large'), which is not the gateway's answer but that of something before it; "
    )
    assert error.message.endswith(remedy)


def test_a_redirect_is_named_with_its_target() -> None:
    error = http.problem(_response(308, "moved", location="https://gateway/api"))
    assert error.message == (
        "http://gateway/api/training/jobs/j1 answered 308 and points to https://gateway/api; use "
        "that address"
    )


def test_something_else_behind_the_url_is_named() -> None:
    with pytest.raises(InternalError, match=r"not a JSON object .a page titled 'welcome'.; is it"):
        http.answer(_response(200, "<html><title>welcome</title></html>"))


def test_an_absent_control_plane_is_named_with_the_remedy(service: ScriptedService) -> None:
    address = service.address
    service.stop()
    with (
        TrainingEngine(address, retry_for=0.2) as engine,
        pytest.raises(UnavailableError) as caught,
    ):
        engine.jobs.get("j1")
    assert str(caught.value) == (
        f"no control plane at {address}; start one with `training-engine up`"
    )
    assert caught.value.code == "control_plane_unavailable"


def test_an_absent_gateway_is_named_with_the_remedy(service: ScriptedService) -> None:
    url = f"http://127.0.0.1:{service.port}"
    service.stop()
    with (
        TrainingEngine.over_rest(url, retry_for=0.2) as engine,
        pytest.raises(UnavailableError) as caught,
    ):
        engine.jobs.get("j1")
    assert str(caught.value) == f"no gateway at {url}; start one with `training-engine up`"


def test_an_older_service_is_named(service: ScriptedService, engine: TrainingEngine) -> None:
    import grpc

    service.on["GetJob"] = lambda request, context: context.abort(
        grpc.StatusCode.UNIMPLEMENTED, "Method not found!"
    )
    with pytest.raises(TrainingEngineError, match="may be older than this SDK") as caught:
        engine.jobs.get("j1")
    assert caught.value.code == "unimplemented"


def test_a_call_has_a_deadline(service: ScriptedService) -> None:
    import threading

    release = threading.Event()
    service.on["GetJob"] = lambda request, context: release.wait(30)
    with (
        TrainingEngine(service.address, timeout=0.2) as engine,
        pytest.raises(DeadlineExceededError) as caught,
    ):
        engine.jobs.get("j1")
    release.set()
    assert isinstance(caught.value, TimeoutError)
    assert len(service.asked("GetJob")) == 1


@pytest.mark.parametrize("bad", ["", None])
def test_an_empty_id_never_reaches_the_service(engine: TrainingEngine, bad: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"job_id is .*; it must be a non-empty string"):
        engine.jobs.get(bad)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://", ""])
def test_a_url_without_scheme_or_host_is_refused(url: str) -> None:
    if not url:
        TrainingEngine.over_rest(url).close()  # the default
        return
    with pytest.raises(InvalidArgumentError, match="must begin with http:// or https://"):
        TrainingEngine.over_rest(url)


def test_a_missing_token_is_explained_in_the_words_of_the_caller(
    service: ScriptedService, engine: TrainingEngine
) -> None:
    said = "the call carries no known token; send the metadata `authorization: Bearer TOKEN`"
    service.on["GetJob"] = lambda request, context: refuse(
        context, code_pb2.UNAUTHENTICATED, "UNAUTHENTICATED", said
    )
    with pytest.raises(UnauthenticatedError) as caught:
        engine.jobs.get("j")
    assert str(caught.value) == (
        "the service asks for an access token, and got none that it knows; set "
        "TRAINING_ENGINE_TOKEN to a token that the service was started with, or pass token=... "
        "in a program"
    )
