"""Every RPC has a route, every route an RPC, and the document tells the truth about both."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import httpx
import pytest
from google.protobuf.descriptor import Descriptor, FileDescriptor
from pydantic import BaseModel

import training_engine.v1
from gateway.application import create_app
from gateway.routes.declare import PREFIX, RPC
from gateway.schemas import checkpoints, configs, datasets, jobs, metrics, workers
from gateway.schemas.base import FieldProblem
from gateway.settings import GatewaySettings
from training_engine.v1 import (
    checkpoint_pb2,
    config_pb2,
    dataset_pb2,
    generation_pb2,
    job_pb2,
    metrics_pb2,
    worker_pb2,
)


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


def aliases(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


@pytest.mark.parametrize(
    ("message", "model", "more"),
    [
        (config_pb2.TrainingConfig, configs.TrainingConfig, set()),
        (config_pb2.TransformerConfig, configs.TransformerConfig, set()),
        (config_pb2.DistributedConfig, configs.DistributedConfig, set()),
        (config_pb2.Config, configs.Config, set()),
        (config_pb2.FieldProblem, FieldProblem, set()),
        (config_pb2.MemoryEstimate, configs.MemoryEstimate, set()),
        (config_pb2.ValidateConfigResponse, configs.Validation, set()),
        (job_pb2.Job, jobs.Job, set()),
        (job_pb2.Execution, jobs.Execution, set()),
        (job_pb2.Execution, jobs.ExecutionBody, set()),
        (job_pb2.LogLine, jobs.LogLine, set()),
        (job_pb2.Rewind, jobs.Rewind, set()),
        (metrics_pb2.MetricPoint, metrics.MetricPoint, set()),
        (metrics_pb2.GetThroughputResponse, metrics.Throughput, {"job_id"}),
        (checkpoint_pb2.Checkpoint, checkpoints.Checkpoint, set()),
        (generation_pb2.GenerateResponse, checkpoints.GeneratedToken, set()),
        (dataset_pb2.Dataset, datasets.Dataset, set()),
        (worker_pb2.Worker, workers.Worker, set()),
    ],
)
def test_a_shape_has_the_fields_of_its_proto(
    message: Any, model: type[BaseModel], more: set[str]
) -> None:
    descriptor: Descriptor = message.DESCRIPTOR
    assert aliases(model) == set(descriptor.fields_by_name) | more


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
