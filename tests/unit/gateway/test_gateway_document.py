"""The OpenAPI document is for people: everything in it is described, and shown by an example."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from gateway.application import create_app
from gateway.settings import GatewaySettings

FILE = "application/octet-stream"

Operation = tuple[str, dict[str, Any]]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(GatewaySettings()).openapi()


def operations(document: dict[str, Any]) -> Iterator[Operation]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def contents(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every body but files: what is sent, and each answer by its status."""
    for name, operation in operations(document):
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            if kind != FILE:
                yield f"{name} takes {kind}", content
        for status, answer in operation["responses"].items():
            for kind, content in answer.get("content", {}).items():
                if kind != FILE:
                    yield f"{name} answers {status} {kind}", content


def test_every_operation_says_what_it_does(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert len(operation.get("summary", "")) > 3, name
        assert operation.get("description", "").endswith("."), name
        for status, answer in operation["responses"].items():
            assert answer["description"] not in ("", "Successful Response"), (name, status)
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), (name, parameter["name"])
    assert len({operation["summary"] for _, operation in operations(document)}) == len(
        list(operations(document))
    )
    assert {tag["name"] for tag in document["tags"] if tag["description"]} == {
        tag for _, operation in operations(document) for tag in operation["tags"]
    }


def test_every_schema_and_field_is_described(document: dict[str, Any]) -> None:
    missing = [
        f"{name}.{field}"
        for name, schema in document["components"]["schemas"].items()
        for field, described in {"": schema, **schema.get("properties", {})}.items()
        if not described.get("description")
    ]
    assert missing == []


def test_every_body_has_an_example_that_its_schema_allows(document: dict[str, Any]) -> None:
    schemas = {"components": document["components"]}
    missing = []
    for name, content in contents(document):
        found = examples(document, content)
        if not found:
            missing.append(name)
        for example in found:
            if "json" in name.rpartition(" ")[2]:
                validate(example, {**content["schema"], **schemas}, name)
    assert missing == []


def examples(document: dict[str, Any], content: dict[str, Any]) -> list[Any]:
    """Examples beside the schema, or in it."""
    if "example" in content:
        return [content["example"]]
    schema = content.get("schema", {})
    for option in schema.get("anyOf", [schema]):
        name = option.get("$ref", "").rpartition("/")[2]
        found = document["components"]["schemas"].get(name, option).get("examples", [])
        if found:
            return list(found)
    return []


def validate(example: Any, schema: dict[str, Any], name: str) -> None:
    try:
        Draft202012Validator(schema).validate(example)
    except ValidationError as error:
        pytest.fail(f"{name}: {error.json_path}: {error.message}")


def test_tokens_and_sessions_are_declared(document: dict[str, Any]) -> None:
    schemes = document["components"]["securitySchemes"]
    assert schemes["token"]["scheme"] == "bearer"
    assert (schemes["session"]["in"], schemes["session"]["name"]) == (
        "cookie",
        "training_engine_session",
    )
    for name, operation in operations(document):
        needed = " /api/training/" in name
        assert operation.get("security", []) == (
            [{}, {"token": []}, {"session": []}] if needed else []
        ), name
