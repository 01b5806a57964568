"""Reads a configuration document, YAML or JSON, into a plain mapping and the problems of its form.

Mistakes that the parsers accept silently are problems here: a key that appears twice, a document
that is not a mapping. Text that YAML 1.1 would turn into another value stays text (`010`, octal;
`1:30`, base 60; dates), so that the check of the field names it.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import sys
import typing
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, cast

from app.training.home import expanded
from app.transformer.errors import ConfigError, FieldProblem

_REMEDY = "write one `key: value` per line, as in examples/tiny.yaml"
# YAML 1.1 reads `6e-4` (no dot) as text; its author means the number.
_NUMBER = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_LONGEST_NUMBER = 100
"""Characters. A longer one stays text, so that the type check names its field: Python takes long to
read thousands of digits, and refuses to write them out."""
_FIRST_OF_NUMBERS = "-+0123456789."
_YAML_INTEGER = re.compile(r"[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)$")
_YAML_FLOAT = re.compile(
    r"([-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+][0-9]+)?|\.[0-9][0-9_]*([eE][-+][0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
)


def read_document_file(path: str | os.PathLike[str]) -> str:
    """Return the text of a configuration file, in UTF-8 or UTF-16.

    Raises:
        ConfigError: The file is not text.
        OSError: The file does not exist or cannot be read.
    """
    data = expanded(path).read_bytes()
    try:
        return data.decode(_encoding(data))
    except UnicodeDecodeError as error:
        reason = (
            f"{os.fspath(path)} is not text in UTF-8 or UTF-16 ({error.reason} at byte "
            f"{error.start}); give a YAML or JSON file, saved as UTF-8"
        )
        raise ConfigError([FieldProblem("document", reason)]) from None


def _encoding(data: bytes) -> str:
    """UTF-16 is known by its mark, or by the zero byte of its first character."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if 0 in data[:2]:
        return "utf-16-be" if data[0] == 0 else "utf-16-le"
    return "utf-8-sig"


def parse_document(text: str) -> tuple[dict[str, Any], list[FieldProblem]]:
    """Return the mapping that a YAML or JSON text holds, and the problems of its form.

    A document that cannot be read at all gives an empty mapping and one problem.
    """
    twice: list[str] = []
    try:
        loaded = _load(text, twice)
    except RecursionError:
        return {}, [_form_problem("it is nested too deeply")]
    except ValueError as error:
        return {}, [_form_problem(f"it is neither YAML nor JSON: {error}")]
    if not isinstance(loaded, Mapping):
        found = "nothing" if loaded is None else f"a {type(loaded).__name__}"
        return {}, [_form_problem(f"it holds {found} and must be a mapping of keys to values")]
    return dict(loaded), [_duplicate(key) for key in dict.fromkeys(twice)]


def read_numbers(owner: type, values: Mapping[Any, Any]) -> dict[str, Any]:
    """`values` with numbers where YAML left text for a number field of the dataclass `owner`.

    Text with an exponent counts for integer fields too (`max_steps: 1e5`); a quoted `"8"` does
    not, and neither does a fraction: those stay as they are, for the type check to name.
    """
    hints = _hints(owner)
    return {str(key): _read_number(value, hints.get(str(key))) for key, value in values.items()}


@cache
def _hints(owner: type) -> dict[str, Any]:
    """Remembered: evaluating annotations takes half a millisecond, and services read often."""
    return typing.get_type_hints(owner)


def _read_number(value: Any, hint: Any) -> Any:
    wanted = {hint, *typing.get_args(hint)}
    if str in wanted or isinstance(value, bool):
        return value
    if (
        isinstance(value, str)
        and len(value) <= _LONGEST_NUMBER
        and _NUMBER.fullmatch(value.strip())
    ):
        if float in wanted:
            return float(value)
        if int in wanted and "e" in value.lower() and float(value).is_integer():
            return int(float(value))
    if isinstance(value, float) and float not in wanted and int in wanted and value.is_integer():
        return int(value)
    if isinstance(value, int) and float in wanted and int not in wanted:
        return float(value) if abs(value) <= sys.float_info.max else value
    return value


def read_exponent(value: Any) -> Any:
    """Return the number where YAML left text with an exponent (`1e-4`); else `value`."""
    is_short = isinstance(value, str) and len(value) <= _LONGEST_NUMBER and "e" in value.lower()
    return float(value) if is_short and _NUMBER.fullmatch(value.strip()) else value


def _form_problem(reason: str) -> FieldProblem:
    return FieldProblem("document", f"the document cannot be used: {reason}; {_REMEDY}")


def _duplicate(key: str) -> FieldProblem:
    return FieldProblem(key, f"`{key}` appears twice in the document; keep one of the two")


def _load(text: str, twice: list[str]) -> Any:
    if text.lstrip().startswith("{"):
        try:
            return json.loads(
                text,
                object_pairs_hook=lambda pairs: _unique(pairs, twice),
                parse_int=_integer,
            )
        except json.JSONDecodeError:
            twice.clear()  # `{a: 1}` is YAML's flow style
    return _load_yaml(text, twice)


def _integer(text: str) -> int | str:
    return int(text) if len(text) <= _LONGEST_NUMBER else text


def _unique(pairs: list[tuple[str, Any]], twice: list[str]) -> dict[str, Any]:
    twice += _repeated(key for key, _ in pairs)
    return dict(pairs)


def _repeated(keys: Iterable[str]) -> list[str]:
    return [key for key, count in Counter(keys).items() if count > 1]


def _load_yaml(text: str, twice: list[str]) -> Any:
    import yaml  # here, so that importing the configuration stays cheap

    class Loader(yaml.SafeLoader):
        """`SafeLoader` that notes overwritten keys, keeps long numbers as text, refuses aliases.

        Aliases can make a document that is endless, or far larger than its text.
        """

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                event = cast("Any", self).get_event()
                problem = f"alias *{event.anchor} is not allowed; write the value out"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
            return super().compose_node(parent, index)

        def construct_number(self, node: Any) -> Any:
            if len(node.value) > _LONGEST_NUMBER:
                return node.value
            whole = node.tag == "tag:yaml.org,2002:int"
            return (self.construct_yaml_int if whole else self.construct_yaml_float)(node)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            twice.extend(_repeated(str(key.value) for key, _ in getattr(node, "value", [])))
            return cast("dict[Any, Any]", super().construct_mapping(node, deep))

    Loader.yaml_implicit_resolvers = _resolvers()
    for kind in ("int", "float"):
        Loader.add_constructor(f"tag:yaml.org,2002:{kind}", Loader.construct_number)
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"{where}{getattr(error, 'problem', None) or error}") from None


@cache
def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """Which plain words mean another type than text: YAML 1.1's rules without its surprises."""
    import yaml

    tag = "tag:yaml.org,2002:{}".format
    replaced = {tag("int"), tag("float"), tag("timestamp")}
    rules = {
        first: [rule for rule in known if rule[0] not in replaced]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    for first in _FIRST_OF_NUMBERS:
        rules.setdefault(first, []).extend(
            [(tag("int"), _YAML_INTEGER), (tag("float"), _YAML_FLOAT)]
        )
    return rules
