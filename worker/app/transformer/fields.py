"""Strict reading of dataclass fields: unknown keys and wrong types become `FieldProblem`s.

Used by every configuration of the library, so that all of them speak alike. Knows plain field
types only: `int`, `float`, `bool`, `str`, `None`, `Literal[...]`, `list[str]` and unions of these.
Fields of any other type (nested configurations) are left to their owner.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from app.transformer.errors import FieldProblem

_PYTHONS_NULL = "None"
"""YAML reads this word as text, whatever its writer meant, so no field may have it as value."""
_OCTAL = re.compile(r"[+-]?0[0-7]{1,20}")
_BASE_60 = re.compile(r"[1-9]\d{0,9}(:[0-5]?\d){1,5}")
"""Both match texts that YAML 1.1 would read as numbers, if they had no quotes."""
_MAX_CHARACTERS = 200
"""Of a value in a message."""
_MAX_SUGGESTIONS = 20
"""Unknown keys for which the nearest known key is searched."""
_SCALARS = frozenset({int, float, str, bool, type(None)})
_TYPE_NAMES: dict[Any, str] = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "text",
    list[str]: "a list of texts",
}


@cache
def _field_types(owner: type) -> dict[str, Any]:
    """Return the annotation of each field of a dataclass."""
    assert dataclasses.is_dataclass(owner)
    hints = typing.get_type_hints(owner)
    return {field.name: hints[field.name] for field in dataclasses.fields(owner)}


@cache
def _alternatives(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the annotation alone."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def _is_plain(annotation: Any) -> bool:
    return all(
        alternative in (int, float, bool, str, list[str], type(None))
        or typing.get_origin(alternative) is typing.Literal
        for alternative in _alternatives(annotation)
    )


@cache
def _plain_fields(owner: type) -> dict[str, Any]:
    """Return the annotation of each field of plain type."""
    return {name: kind for name, kind in _field_types(owner).items() if _is_plain(kind)}


@cache
def _usual_types(annotation: Any) -> frozenset[type]:
    """Return the types of which every value is accepted, for a quick test before `_matches`."""
    types = {part for part in _alternatives(annotation) if part in (int, float, bool, str)}
    if type(None) in _alternatives(annotation):
        types.add(type(None))
    return frozenset(types | {int}) if float in types else frozenset(types)


def _choices(annotation: Any) -> list[Any]:
    """Return the values of all `Literal[...]` in an annotation."""
    return [
        choice
        for alternative in _alternatives(annotation)
        if typing.get_origin(alternative) is typing.Literal
        for choice in typing.get_args(alternative)
    ]


def _matches(value: object, alternative: Any) -> bool:
    if typing.get_origin(alternative) is typing.Literal:
        return any(
            type(value) is type(choice) and value == choice
            for choice in typing.get_args(alternative)
        )
    if alternative == list[str]:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if alternative is float:  # `lr: 1` in a YAML file is meant as 1.0; True is not
        return isinstance(value, int | float) and not isinstance(value, bool)
    if alternative is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, alternative)


def _expected(annotation: Any) -> str:
    """Return what a value may be, e.g. `an integer or null`."""
    choices = [repr(choice) for choice in _choices(annotation)]
    names = [_TYPE_NAMES[part] for part in _alternatives(annotation) if part in _TYPE_NAMES]
    words = [f"one of {', '.join(choices)}"] if choices else []
    words += names
    if type(None) in _alternatives(annotation):
        words.append("null")
    return " or ".join(words)


def shown(value: object) -> str:
    """Return the text of `value` for a message, shortened to 200 characters.

    Numbers of more than 128 bits are described: Python refuses to print thousands of digits.
    """
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a number of {int(value.bit_length() * math.log10(2)) + 1} digits"
    try:
        text = repr(value)
    except ValueError:
        return f"a {type(value).__name__} that holds a number of thousands of digits"
    if len(text) <= _MAX_CHARACTERS:
        return text
    return f"{text[: _MAX_CHARACTERS // 2]}… ({len(text)} characters)"


def _remedy(value: object, annotation: Any) -> str:
    """Return how to write what was probably meant, after a semicolon; empty without a guess."""
    wants_text = str in _alternatives(annotation) or any(
        isinstance(choice, str) for choice in _choices(annotation)
    )
    if isinstance(value, bool):
        if not wants_text:
            return ""
        none = "; null means none" if type(None) in _alternatives(annotation) else ""
        return f"; YAML reads no, off, yes and on as false and true: put a word in quotes{none}"
    if isinstance(value, int | float) and str in _alternatives(annotation):
        return f'; put it in quotes: "{shown(value)}"'
    if isinstance(value, str):
        near = difflib.get_close_matches(
            value.lower(), [choice for choice in _choices(annotation) if isinstance(choice, str)], 1
        )
        if near:
            return f"; did you mean {near[0]!r}?"
        wants_number = any(part in (int, float) for part in _alternatives(annotation))
        if wants_number:
            return f"; write {_number_spelling(value)}"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return f"; write {int(value)}"
    return ""


def _number_spelling(text: str) -> str:
    """Return what to write instead of a text where a number belongs."""
    if _OCTAL.fullmatch(text):
        decimal, octal = int(text), int(text, 8)
        return f"{decimal}, or {octal} if octal is meant, as YAML 1.1 reads it"
    if _BASE_60.fullmatch(text):
        minutes = [int(part) for part in text.split(":")]
        total = sum(part * 60**place for place, part in enumerate(reversed(minutes)))
        return f"one number; YAML 1.1 reads it to the base 60, as {total}"
    try:
        number = float(text)
    except ValueError:
        return "a number"
    if not math.isfinite(number) or abs(number) >= 2**63:
        return "a number of at most 18 digits" if len(text) > 18 else "a number without quotes"
    # A whole number is shown without a point: perhaps the field takes integers only.
    return f"{number!r} without quotes" if number % 1 else f"{number:.0f} without quotes"


def to_plain(value: Any) -> Any:
    """Return what `dataclasses.asdict` returns for a configuration, in a third of the time."""
    if type(value) in _SCALARS:  # nearly all
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: to_plain(getattr(value, name)) for name in _field_types(type(value))}
    if isinstance(value, list):
        return [to_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    return value


def type_problems(config: Any) -> list[FieldProblem]:
    """Return a problem for each plain field whose value is not of the field's type.

    Args:
        config: an instance of a dataclass.
    """
    owner: type = type(config)
    problems = []
    for name, annotation in _plain_fields(owner).items():
        value = getattr(config, name)
        if not _is_of_type(value, annotation):
            message = f"`{name}` is {shown(value)}; {_rule(value, annotation)}"
            problems.append(FieldProblem(name, message))
    return problems


def _is_of_type(value: object, annotation: Any) -> bool:
    if value == _PYTHONS_NULL:
        return False
    if type(value) in _usual_types(annotation):
        return True
    return any(_matches(value, alternative) for alternative in _alternatives(annotation))


def _rule(value: object, annotation: Any) -> str:
    """Return rule and remedy for a value of a wrong type."""
    if value == _PYTHONS_NULL:
        return "YAML takes that word as text; write null, or leave the key out"
    return f"it must be {_expected(annotation)}{_remedy(value, annotation)}"


def unknown_key_problems(keys: Iterable[object], known: Iterable[str]) -> list[FieldProblem]:
    """Return a problem for each of `keys` that is not in `known`, with the nearest known key.

    The search for the nearest takes a millisecond a key. Only the first few get one: people
    misspell some keys, not thousands.
    """
    fields = set(known)
    names = sorted(fields)
    unknown = [str(key) for key in keys if key not in fields]
    return [
        *(_unknown_key(key, names) for key in unknown[:_MAX_SUGGESTIONS]),
        *(
            FieldProblem(key, f"`{key}` is not a known key; leave it out")
            for key in unknown[_MAX_SUGGESTIONS:]
        ),
    ]


def _unknown_key(key: str, names: list[str]) -> FieldProblem:
    near = difflib.get_close_matches(key, names, 1, cutoff=0.5)
    remedy = f"did you mean `{near[0]}`?" if near else f"known keys are {', '.join(names)}"
    return FieldProblem(key, f"`{key}` is not a known key; {remedy}")


def read_known(owner: type, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[FieldProblem]]:
    """Return the `values` that are fields of the dataclass `owner`, and problems for the others."""
    known = _field_types(owner)
    kept = {key: value for key, value in values.items() if key in known}
    return kept, unknown_key_problems(values, known)
