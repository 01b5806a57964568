"""The routes of calls that take one message and answer with one: made from the protos."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from gateway.contract import DOCUMENT, REQUEST_ID, WHOLE_DOCUMENT, Plain, Route
from gateway.contract import routes as all_routes
from gateway.control_plane import PROTOBUF, Caller
from gateway.routes.declare import (
    NO_CONTENT,
    CallerOf,
    IdempotencyKey,
    answer,
    refusals,
    request_id,
    router,
    rpc,
)
from gateway.schemas import shapes

Endpoint = Callable[..., Coroutine[Any, Any, Response]]


def routers(*, with_answers: bool = False) -> list[APIRouter]:
    """Return a router for each service that has such calls.

    `with_answers`: describe the answers too, which only the OpenAPI document needs; making their
    models is half of the work of a start.
    """
    by_service: dict[str, APIRouter] = {}
    for route in all_routes():
        if route.is_unary:
            shape = shapes.answer_of(route) if with_answers else None
            _add(by_service.setdefault(route.service, router(route.service)), route, shape)
    return list(by_service.values())


def _add(routes: APIRouter, route: Route, answer_shape: shapes.Shape | None) -> None:
    routes.add_api_route(
        route.path,
        _endpoint(route),
        methods=[route.verb.upper()],
        name=route.name,
        description=route.description,
        status_code=route.status,
        response_model=answer_shape,
        responses=refusals(route),
        openapi_extra=rpc(route.rpc),
    )


def _endpoint(route: Route) -> Endpoint:
    """Return what handles the route's requests; FastAPI reads its parameters from the signature."""
    service, method = route.service, route.method.name

    async def handle(caller: Caller, **parameters: Any) -> Response:
        call = getattr(getattr(caller.control_plane, service), method)
        response = await caller.call(call, route.request(_values(parameters)))
        if route.status == NO_CONTENT:
            return Response(status_code=NO_CONTENT)
        if caller.takes_protobuf and route.verb == "get":
            return Response(response.SerializeToString(), media_type=PROTOBUF)
        plain = route.answer(response, parameters)
        headers = {"Location": route.location(plain)} if route.status == 201 else {}
        return answer(plain, route.status, **headers)

    handle.__signature__ = inspect.Signature(_parameters(route))  # type: ignore[attr-defined]
    return handle


def _parameters(route: Route) -> list[inspect.Parameter]:
    variables, message = tuple(route.variables), route.method.input_type
    parameters = [_parameter(name, str) for name in variables]
    if route.takes_body:
        body = shapes.body(message, variables)
        is_required = any(field.is_required() for field in body.model_fields.values())
        if is_required or shapes.has_choice(message):
            parameters.append(_parameter("body", body))
        else:
            parameters.append(_parameter("body", body | None, None))
    elif route.verb == "get" and set(message.fields_by_name) > set(variables):
        parameters.append(_parameter("query", Annotated[shapes.query(message, variables), Query()]))
    parameters.append(_parameter("caller", CallerOf))
    if route.is_change:
        parameters.append(_parameter("idempotency_key", IdempotencyKey, ""))
    return parameters


def _parameter(name: str, kind: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, keyword, annotation=kind, default=default)


def _values(parameters: Plain) -> Plain:
    """Return the fields of the message, from the request's path, query, body and header."""
    values = dict(parameters)
    key = values.pop("idempotency_key", None)
    for part in (values.pop("query", None), values.pop("body", None)):
        if part is not None:
            values |= part.model_dump(exclude_none=True)
    if key is not None:
        values[REQUEST_ID] = request_id(key, values.get(REQUEST_ID, ""))
    if WHOLE_DOCUMENT in values:
        values[WHOLE_DOCUMENT] = _text(values[WHOLE_DOCUMENT])
    if "config" in values:
        values[f"config{DOCUMENT}"] = _text(values.pop("config"))
    return values


def _text(config: Plain | str) -> str:
    """Return a configuration as text: the control plane alone reads and validates it."""
    if isinstance(config, str):
        return config
    return json.dumps(config, ensure_ascii=False, allow_nan=False)
