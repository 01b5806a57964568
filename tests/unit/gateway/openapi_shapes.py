"""Checks JSON against the schemas of the gateway's own OpenAPI document."""

from __future__ import annotations

from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from gateway.application import create_app
from gateway.settings import GatewaySettings


@cache
def document() -> dict[str, Any]:
    """The document; made once, since it takes about a second."""
    return create_app(GatewaySettings()).openapi()


def assert_shape(body: Any, schema: str) -> None:
    """Raise `ValidationError` where the body is not of the schema with this name."""
    whole = {"$ref": f"#/components/schemas/{schema}", "components": document()["components"]}
    Draft202012Validator(whole).validate(body)
