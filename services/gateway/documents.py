"""Reads requests strictly: refuses unknown names, and JSON that parsers read differently."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, get_args, get_origin

from fastapi import Request, Response
from fastapi.routing import APIRoute

from gateway.problems import ProblemError
from training_engine.errors import FieldProblem


def _malformed(message: str) -> ProblemError:
    return ProblemError(message, errors=[FieldProblem("", message)])


def _unknown_query(names: list[str]) -> ProblemError:
    errors = [
        FieldProblem(name, f"{name} is not known here; remove it or correct its spelling")
        for name in names
    ]
    return ProblemError("; ".join(error.message for error in errors), errors=errors)


def _repeated_query(names: list[str]) -> ProblemError:
    errors = [
        FieldProblem(name, f"{name} is given twice in the query; keep one of the two")
        for name in names
    ]
    return ProblemError("; ".join(error.message for error in errors), errors=errors)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise _malformed(f"the body names {key!r} twice in one object; keep one of them")
        result[key] = value
    return result


def _constant(name: str) -> Any:
    raise _malformed(
        f"the body holds {name}, which JSON does not have; use a finite number or null"
    )


def parse(data: bytes) -> Any:
    """Return a JSON document.

    Raises:
        json.JSONDecodeError: The text is not JSON.
        ProblemError: The JSON has a name twice, or a value that cannot be passed on.
    """
    try:
        text = data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
        # Lone surrogates and numbers beyond a double cannot be sent on.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise _malformed("the body is nested too deeply; flatten it") from None
    except UnicodeError:
        raise _malformed("the body holds text that is not valid Unicode; send UTF-8") from None
    except ValueError as error:
        raise _malformed(f"the body holds a number that cannot be read: {error}") from None
    return value


class StrictRequest(Request):
    """A request whose JSON is read by `parse`."""

    async def json(self) -> Any:
        return parse(await self.body())


class StrictRoute(APIRoute):
    """A route that gets `StrictRequest`s."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        # A route with a query checks its names itself: its shape forbids others.
        shapes = [param.field_info.annotation for param in self.dependant.query_params]
        lists = {name for shape in shapes for name in _list_fields(shape)}

        async def strict(request: Request) -> Response:
            given = Counter(name for name, _ in request.query_params.multi_items())
            if not shapes and given:
                raise _unknown_query(sorted(given))
            # Of several values only the last would be read, without a word.
            if twice := [name for name, times in given.items() if times > 1 and name not in lists]:
                raise _repeated_query(sorted(twice))
            return await handle(StrictRequest(request.scope, request.receive))

        return strict


def _list_fields(shape: Any) -> list[str]:
    """Return the names of a query's fields that take several values."""
    return [
        name
        for name, field in getattr(shape, "model_fields", {}).items()
        if list in (get_origin(part) for part in (field.annotation, *get_args(field.annotation)))
    ]
