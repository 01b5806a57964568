"""Every RPC has a route, every route an RPC, and the document tells the truth about both."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from google.protobuf.descriptor import FileDescriptor

import training_engine.v1
from gateway import contract
from gateway.application import create_app
from gateway.routes.declare import PREFIX, RPC
from gateway.schemas import shapes
from gateway.settings import GatewaySettings
from training_engine.descriptions import description
from training_engine.messages import enum_words
from training_engine.v1 import job_pb2, options_pb2


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(GatewaySettings()).openapi()


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def proto_files() -> list[FileDescriptor]:
    names = [module.name for module in pkgutil.iter_modules(training_engine.v1.__path__)]
    return [
        importlib.import_module(f"training_engine.v1.{name}").DESCRIPTOR
        for name in names
        if name.endswith("_pb2")
    ]


def test_every_rpc_has_a_route_and_every_route_an_rpc(document: dict[str, Any]) -> None:
    rpcs = {
        f"{service.name}.{method.name}"
        for file in proto_files()
        for service in file.services_by_name.values()
        for method in service.methods
    }
    routed = {
        name: operation.get(RPC, [])
        for name, operation in operations(document).items()
        if PREFIX in name
    }
    assert [name for name, behind in routed.items() if not behind] == []
    assert {rpc for behind in routed.values() for rpc in behind} == rpcs


def test_the_promised_routes_are_there_with_their_codes(document: dict[str, Any]) -> None:
    promised = {
        "POST /configs": 201,
        "GET /configs": 200,
        "GET /configs/{config_id}": 200,
        "DELETE /configs/{config_id}": 204,
        "POST /configs/validate": 200,
        "POST /jobs/start": 201,
        "GET /jobs": 200,
        "GET /jobs/{job_id}": 200,
        "GET /jobs/{job_id}/status": 200,
        "POST /jobs/{job_id}/stop": 202,
        "GET /jobs/{job_id}/metrics": 200,
        "GET /jobs/{job_id}/metrics/history": 200,
        "GET /jobs/{job_id}/throughput": 200,
        "GET /jobs/{job_id}/checkpoints": 200,
        "GET /checkpoints/{checkpoint_id}": 200,
        "DELETE /checkpoints/{checkpoint_id}": 204,
        "GET /checkpoints/{checkpoint_id}/download": 200,
        "POST /jobs/{job_id}/resume": 202,
        "GET /jobs/{job_id}/stream": 200,
        "GET /jobs/{job_id}/logs": 200,
        "DELETE /jobs/{job_id}": 204,
        "POST /checkpoints/{checkpoint_id}/generate": 200,
        "POST /checkpoints/{checkpoint_id}/evaluate": 200,
        "POST /datasets": 201,
        "GET /datasets": 200,
        "GET /datasets/{dataset_id}": 200,
        "DELETE /datasets/{dataset_id}": 204,
        "GET /workers": 200,
    }
    found = operations(document)
    for name, status in promised.items():
        method, path = name.split(" ")
        responses = found[f"{method} {PREFIX}{path}"]["responses"]
        assert str(status) in responses, name
        assert "422" not in responses, name
        (refusal,) = responses["400"]["content"].items()
        assert refusal[0] == "application/problem+json"
        assert refusal[1]["schema"] == {"$ref": "#/components/schemas/Problem"}
    assert {"/healthz", "/readyz", "/metrics"} <= set(document["paths"])


def test_operations_and_fields_are_described(document: dict[str, Any]) -> None:
    assert [name for name, op in operations(document).items() if not op.get("description")] == []
    fields = document["components"]["schemas"]["TrainingConfig"]["properties"]
    assert [name for name, schema in fields.items() if not schema.get("description")] == []
    for body in ("StartJobBody", "CreateConfigBody", "GenerateBody", "JobStatus", "Problem"):
        assert document["components"]["schemas"][body]["examples"], body


def references(value: Any) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(references, value)) if value else set()
    if not isinstance(value, dict):
        return set()
    own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
    return own.union(*map(references, value.values()))


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) <= known
    start = document["components"]["schemas"]["StartJobBody"]["properties"]["config"]
    assert {"$ref": "#/components/schemas/TrainingConfig"} in start["anyOf"]


def shown_messages() -> Iterator[tuple[str, list[Any]]]:
    """The name of each schema that is made of a message, and the message's fields that it has."""
    for file in proto_files():
        for message in file.message_types_by_name.values():
            hidden = in_the_address_or_at_the_top(message)
            fields = [field for field in message.fields if field.name not in hidden]
            yield shapes.name_of(message), fields
            for view in message.GetOptions().Extensions[options_pb2.rest_view]:
                yield view.name, contract.shown_fields(message, view.name)


def in_the_address_or_at_the_top(message: Any) -> set[str]:
    """Fields of requests and answers that REST has in another place than their shape."""
    texts = {field.name for field in message.fields if field.name.endswith(contract.DOCUMENT)}
    for route in contract.routes():
        if message is route.method.input_type:
            texts |= set(route.variables)
        if message is route.method.output_type:
            texts.add(route.answer_field)
    return texts


def test_every_field_of_a_message_is_in_its_shape_with_its_comment(
    document: dict[str, Any],
) -> None:
    schemas = document["components"]["schemas"]
    of_messages = {name: fields for name, fields in shown_messages() if name in schemas}
    for name, fields in of_messages.items():
        for field in fields:
            shown = schemas[name]["properties"][field.name]
            assert description(field) in shown["description"], (name, field.name)
    by_hand = {"Problem", "GeneratedText", "GeneratedSample", "SampledToken", "SessionBody"}
    by_hand |= {"SessionState", "Health", "PromptAnswer", "EvaluateBody", "MeasuredCheckpoint"}
    assert set(schemas) - set(of_messages) == {*by_hand, "ExecutionBody", "ChatMessageBody"}


def test_every_rule_of_the_protos_is_a_route(document: dict[str, Any]) -> None:
    for route in contract.routes():
        operation = document["paths"][PREFIX + route.path][route.verb]
        assert route.rpc in operation[RPC], route.rpc
        assert str(route.status) in operation["responses"], route.rpc
        if route.is_unary:
            assert operation["description"] == description(route.method)
            assert operation["summary"].replace(" ", "") == route.method.name
    without = {
        f"{service.name}.{method.name}"
        for file in proto_files()
        for service in file.services_by_name.values()
        for method in service.methods
    } - {route.rpc for route in contract.routes()}
    assert without == {"MetricsService.StreamMetrics"}, "REST has one stream of all events"


def test_limits_of_the_protos_are_in_the_document(document: dict[str, Any]) -> None:
    history = document["paths"][f"{PREFIX}/jobs/{{job_id}}/metrics/history"]["get"]
    query = {each["name"]: each["schema"] for each in history["parameters"]}
    assert (query["page_size"]["minimum"], query["page_size"]["maximum"]) == (0, 10_000)
    assert query["max_points"]["anyOf"][0] == {"type": "integer", "minimum": 2, "maximum": 10_000}
    schemas = document["components"]["schemas"]
    processes = schemas["ExecutionBody"]["properties"]["processes"]["anyOf"][0]
    assert (processes["minimum"], processes["maximum"]) == (1, 2**31 - 1)
    assert schemas["CreateConfigBody"]["required"] == ["name", "config"]
    assert schemas["CreateConfigBody"]["properties"]["request_id"]["maxLength"] == 200
    words = schemas["Job"]["properties"]["status"]["anyOf"][0]["enum"]
    assert words == list(enum_words(job_pb2.JobStatus.DESCRIPTOR).values())


async def test_docs_and_dashboard_need_no_other_host(client: httpx.AsyncClient) -> None:
    for path in ("/", "/docs"):
        page = await client.get(path)
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        assert "http://" not in page.text
        assert "https://" not in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
    for path in ("/swagger/swagger-ui-bundle.js", "/swagger/swagger-ui.css", "/static/docs.js"):
        assert (await client.get(path)).status_code == 200, path
    assert (await client.get("/openapi.json")).json()["info"]["title"] == "Training Engine"
    assert (await client.get("/static/../application.py")).status_code == 404
