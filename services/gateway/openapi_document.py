"""Builds the OpenAPI document: FastAPI's own, corrected and completed from the routes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from gateway.contract import PREFIX
from gateway.schemas import examples
from gateway.schemas.base import SHOWN_AS
from gateway.schemas.problem import Problem
from gateway.schemas.shapes import Shape, answer
from gateway.sessions import COOKIE
from training_engine.v1 import checkpoint_pb2, generation_pb2, job_pb2

_SCHEMAS = "#/components/schemas/"

_TAGS = {
    "configs": "Stored configurations, and whether one is valid.",
    "jobs": "Start, look, stop, resume, delete; logs and live events.",
    "metrics": "What a job measured, and how fast it trains.",
    "checkpoints": "List, look, download, delete; text sampled from one.",
    "datasets": "Uploaded files to train on.",
    "sweeps": "The same configuration with many values: start, look, stop, resume, delete.",
    "workers": "The processes that train.",
    "session": "Signing a browser in, where the gateway has tokens.",
    "operations": "Alive, ready, how busy: for those who run the gateway.",
}

_SECURITY_SCHEMES = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token that the gateway was started with; none where it has none.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": "What POST /api/session gives for a token; for pages of this origin only.",
    },
}
# The first means that a gateway without tokens asks for none.
_SECURITY: list[dict[str, list[str]]] = [{}, {"token": []}, {"session": []}]


def build(app: FastAPI) -> dict[str, Any]:
    """Return the document of the application's routes."""
    document: dict[str, Any] = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        tags=[{"name": name, "description": text} for name, text in _TAGS.items()],
    )
    # Relative to the document's own address, which may be below a proxy's prefix.
    document["servers"] = [{"url": "."}]
    schemas = document["components"]["schemas"]
    for model in _of_events():
        schema = model.model_json_schema(ref_template=_SCHEMAS + "{model}")
        schema.pop("$defs", None)
        schemas[model.__name__] = schema
    schemas.update(_with_references(schemas))
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for name, schema in schemas.items():
        if example := examples.example(name, schemas):
            schema["examples"] = [example]
    document["components"]["securitySchemes"] = _SECURITY_SCHEMES
    for path, operation in _operations(document):
        if path.startswith(f"{PREFIX}/"):
            operation["security"] = _SECURITY
        _complete(operation, schemas)
    return document


def _of_events() -> tuple[Shape, ...]:
    """Return the shapes that only events carry: no route answers with them alone."""
    messages = (
        job_pb2.Rewind,
        generation_pb2.GenerateResponse,
        checkpoint_pb2.Evaluation,
        checkpoint_pb2.EvaluateCheckpointResponse,
    )
    return Problem, *(answer(message.DESCRIPTOR) for message in messages)


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            yield path, operation


def _complete(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    responses = operation["responses"]
    responses.pop("422", None)  # this service answers 400 where FastAPI would 422
    for status, response in responses.items():
        if response["description"] == "Successful Response":
            response["description"] = _described(status, response, schemas)
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            kind = parameter["name"].removesuffix("_id")
            parameter["description"] = f"Id of the {kind}."
            parameter["example"] = examples.IDS.get(parameter["name"], f"{kind}_…")


def _described(status: str, response: dict[str, Any], schemas: dict[str, Any]) -> str:
    """Return the description of an answer, which is that of its shape."""
    for content in response.get("content", {}).values():
        name = content.get("schema", {}).get("$ref", "").removeprefix(_SCHEMAS)
        if name in schemas:
            return str(schemas[name]["description"])
    return "Done; the answer has no body." if status == "204" else "Text."


def _with_references(schema: Any) -> Any:
    """Return `schema` with a reference in place of each mark of SHOWN_AS."""
    if isinstance(schema, list):
        return [_with_references(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if SHOWN_AS in schema:
        rest = {key: value for key, value in schema.items() if key != SHOWN_AS}
        return {"$ref": f"{_SCHEMAS}{schema[SHOWN_AS]}", **rest}
    return {key: _with_references(value) for key, value in schema.items()}
