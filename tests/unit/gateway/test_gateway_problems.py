"""Every refusal is a problem with the right status, reason and fields; none is a 500."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import pytest
from memory_state import State
from openapi_shapes import assert_shape
from running_gateway import client_for, gateway_for

from control_plane.rpc_errors import RpcError
from gateway.application import create_app
from gateway.settings import GatewaySettings

API = "/api/training"
JSON = {"Content-Type": "application/json"}


def problem(response: httpx.Response, status: int, reason: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert_shape(body, "Problem")
    assert body["status"] == status
    assert body["reason"] == reason
    assert body["type"] == f"urn:training-engine:problem:{reason}"
    assert "Traceback" not in response.text
    return body


@pytest.mark.parametrize(
    ("method", "path", "reason"),
    [
        ("GET", "/configs/x", "config_not_found"),
        ("DELETE", "/configs/x", "config_not_found"),
        ("GET", "/jobs/x", "job_not_found"),
        ("GET", "/jobs/x/status", "job_not_found"),
        ("GET", "/jobs/x/stream", "job_not_found"),
        ("GET", "/jobs/x/metrics", "job_not_found"),
        ("GET", "/jobs/x/metrics/history", "job_not_found"),
        ("GET", "/jobs/x/logs", "job_not_found"),
        ("GET", "/jobs/x/checkpoints", "job_not_found"),
        ("POST", "/jobs/x/stop", "job_not_found"),
        ("POST", "/jobs/x/resume", "job_not_found"),
        ("DELETE", "/jobs/x", "job_not_found"),
        ("GET", "/checkpoints/x", "checkpoint_not_found"),
        ("GET", "/checkpoints/x/download", "checkpoint_not_found"),
        ("GET", "/datasets/x", "dataset_not_found"),
        ("GET", "/jobs/%00%F0%9F%92%A9%ff", "job_not_found"),
    ],
)
async def test_unknown_ids_are_404(
    client: httpx.AsyncClient, method: str, path: str, reason: str
) -> None:
    problem(await client.request(method, API + path), 404, reason)


async def test_unknown_checkpoint_to_generate_from_is_404_before_any_event(
    client: httpx.AsyncClient,
) -> None:
    for stream in (True, False):
        sent = await client.post(f"{API}/checkpoints/x/generate", json={"stream": stream})
        problem(sent, 404, "checkpoint_not_found")


async def test_unknown_routes_and_methods_are_problems(client: httpx.AsyncClient) -> None:
    body = problem(await client.get(f"{API}/nothing"), 404, "route_not_found")
    assert body["detail"] == "no such address; /docs lists every one that there is"
    for path, methods in (
        (f"{API}/jobs", "GET, HEAD"),
        (f"{API}/configs", "GET, HEAD, POST"),
        (f"{API}/jobs/x", "DELETE, GET, HEAD, PATCH"),
        (f"{API}/checkpoints/x/download", "GET, HEAD"),
        ("/healthz", "GET, HEAD"),
        ("/static/style.css", "GET, HEAD"),
    ):
        refused = await client.put(path)
        body = problem(refused, 405, "method_not_allowed")
        assert body["detail"] == f"this address does not take PUT; it takes {methods}"
        assert refused.headers["allow"] == methods, path


async def test_an_invalid_config_lists_every_problem(client: httpx.AsyncClient) -> None:
    sent = await client.post(
        f"{API}/jobs/start", json={"config": {"batchsize": 8, "learning_rate": -1}}
    )
    assert problem(sent, 400, "invalid_config")["errors"] == [
        {"field": "batchsize", "message": "batchsize is not a field; see the reference"},
        {"field": "learning_rate", "message": "learning_rate is -1; it must be > 0"},
    ]


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ("{", "", "the body is not JSON at character 1"),
        ("", "", "the body is missing; it is required"),
        ("[]", "", "the body is []: it should be"),
        ("null", "", "the body is None: it should be a valid dictionary"),
        ('{"config": {}, "datasetpath": "x"}', "datasetpath", "datasetpath is not known here"),
        ('{"config": {}, "execution": {"gpu": 1}}', "execution.gpu", "remove it or correct"),
        ('{"config": []}', "config", "config is []: it should be an object, or the text of a YAML"),
        ('{"config": {}, "name": 5}', "name", "name is 5: it should be a valid string"),
        ('{"config": {}, "execution": {"nodes": 0}}', "execution.nodes", "greater than or equal"),
        ('{"config": {}, "execution": {"nodes": 1e30}}', "execution.nodes", "execution.nodes is"),
        ('{"config": {}, "config_id": "c"}', "", "exactly one of `config` and `config_id`"),
        ("{}", "", "exactly one of `config` and `config_id`"),
        ('{"config": {"a": 1, "a": 2}}', "", "names 'a' twice in one object"),
        ('{"config": {"a": NaN}}', "", "holds NaN, which JSON does not have"),
        ('{"config": {"a": 1e999}}', "", "holds a number that cannot be read"),
        ('{"config": {"a": ' + "9" * 5000 + "}}", "", "holds a number that cannot be read"),
        ('{"config": {"a": "\\ud800"}}', "", "is not valid Unicode"),
        ('{"config": ' + "[" * 30_000 + "]" * 30_000 + "}", "", "nested too deeply"),
    ],
)
async def test_malformed_requests_name_the_fault(
    client: httpx.AsyncClient, state: State, body: str, field: str, message: str
) -> None:
    sent = await client.post(f"{API}/jobs/start", content=body.encode(), headers=JSON)
    errors = problem(sent, 400, "invalid_argument")["errors"]
    assert [error["field"] for error in errors] == [field]
    assert message in errors[0]["message"]
    assert state.jobs == {}


async def test_bytes_that_are_no_text_and_other_media_types_are_refused(
    client: httpx.AsyncClient,
) -> None:
    broken = await client.post(f"{API}/jobs/start", content=b'{"a": "\xff"}', headers=JSON)
    assert "not valid Unicode" in problem(broken, 400, "invalid_argument")["detail"]
    form = await client.post(f"{API}/jobs/start", data={"config": "{}"})
    detail = problem(form, 400, "invalid_argument")["detail"]
    assert detail == "the body must be JSON, sent with Content-Type: application/json"
    upload = await client.post(f"{API}/datasets?name=a.txt", files={"file": b"x"})
    assert "send the file itself" in problem(upload, 400, "invalid_argument")["detail"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("page_size=abc", "page_size"),
        ("page_size=-1", "page_size"),
        ("page_size=99999999999999999999", "page_size"),
        ("status=done", "status"),
        ("colour=red", "colour"),
    ],
)
async def test_query_parameters_are_checked(
    client: httpx.AsyncClient, query: str, field: str
) -> None:
    body = problem(await client.get(f"{API}/jobs?{query}"), 400, "invalid_argument")
    assert [error["field"] for error in body["errors"]] == [field]


@pytest.mark.parametrize("path", ["/jobs/x", "/jobs/x/status", "/jobs/x/metrics", "/configs/x"])
async def test_a_query_that_no_route_takes_is_refused_by_name(
    client: httpx.AsyncClient, path: str
) -> None:
    refused = await client.get(f"{API}{path}?page_sise=1")
    message = "page_sise is not known here; remove it or correct its spelling"
    body = problem(refused, 400, "invalid_argument")
    assert body["errors"] == [{"field": "page_sise", "message": message}]


async def test_a_query_field_is_given_once_unless_it_is_a_list(client: httpx.AsyncClient) -> None:
    refused = await client.get(f"{API}/jobs?page_size=1&page_size=2&tags=a&tags=b")
    message = "page_size is given twice in the query; keep one of the two"
    body = problem(refused, 400, "invalid_argument")
    assert body["errors"] == [{"field": "page_size", "message": message}]
    assert (await client.get(f"{API}/jobs?page_size=1&tags=a&tags=b")).status_code == 200


async def test_large_bodies_are_413_announced_or_not(client: httpx.AsyncClient) -> None:
    announced = await client.post(f"{API}/configs", content=bytes(100_000), headers=JSON)
    problem(announced, 413, "payload_too_large")

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield bytes(10_000)

    silent = await client.post(f"{API}/configs", content=chunks(), headers=JSON)
    detail = problem(silent, 413, "payload_too_large")["detail"]
    assert detail == "the body is larger than the 65536 bytes that are accepted here"


async def test_two_different_idempotency_keys_are_refused(client: httpx.AsyncClient) -> None:
    sent = await client.post(
        f"{API}/jobs/start",
        json={"config": {}, "request_id": "a"},
        headers={"Idempotency-Key": "b"},
    )
    assert problem(sent, 400, "invalid_argument")["detail"] == (
        "Idempotency-Key is 'b' and request_id is 'a'; send one of them"
    )


@pytest.mark.parametrize(
    ("code", "reason", "status"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN", 400),
        (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED", 409),
        (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", 401),
        (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED", 403),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "PAYLOAD_TOO_LARGE", 413),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", 429),
        (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", 503),
        (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN", 503),
        (grpc.StatusCode.DATA_LOSS, "ARTIFACT_DAMAGED", 502),
    ],
)
async def test_each_reason_has_its_status(
    client: httpx.AsyncClient, state: State, code: grpc.StatusCode, reason: str, status: int
) -> None:
    state.fail_next = RpcError(code, reason, "why", retry_after_seconds=6.5)
    response = await client.get(f"{API}/jobs")
    detail = problem(response, status, reason.lower())["detail"]
    if status == 401:  # the gateway has let the request in
        assert "asks for a token that this gateway does not" in detail
        assert "--auth-tokens-file (TRAINING_ENGINE_AUTH_TOKENS, " in detail
    else:
        assert detail == "why"
    assert response.headers["retry-after"] == "7"


async def test_a_defect_of_the_gateway_shows_no_traceback() -> None:
    app = create_app(GatewaySettings())

    @app.get("/defect")
    async def defect() -> None:
        raise ZeroDivisionError("a secret detail")

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        response = await client.get("/defect")
    assert problem(response, 500, "internal")["detail"] == (
        "the gateway failed; its log has the cause"
    )


async def test_a_control_plane_that_is_away_is_503_with_retry_after(
    state: State, unused_port: int
) -> None:
    async with (
        gateway_for(unused_port, control_plane_timeout_seconds=2) as url,
        client_for(url) as client,
    ):
        for path in ("/jobs", "/jobs/x/stream", "/checkpoints/x/download"):
            response = await client.get(API + path)
            problem(response, 503, "control_plane_unavailable")
            assert response.headers["retry-after"] == "2"
        upload = await client.post(f"{API}/datasets?name=a.txt", content=b"x" * 3_000_000)
        problem(upload, 503, "control_plane_unavailable")
        unready = await client.get("/readyz")
        detail = problem(unready, 503, "control_plane_unavailable")["detail"]
        assert detail.startswith(f"no control plane answers at 127.0.0.1:{unused_port}")
        assert (await client.get("/healthz")).status_code == 200
