"""Writes the tables of docs/configuration.md from the docstrings under the configurations' fields.

python docs/generate_configuration.py [FILE]

The text above the marker in the page is written by hand and kept.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
import typing
from pathlib import Path
from typing import Any

from app.training.config import (
    AlertRule,
    DataConfig,
    DataSource,
    DistributedConfig,
    LoraConfig,
    TrainingConfig,
)
from app.transformer.config import RopeScaling, TransformerConfig

PAGE = Path(__file__).with_name("configuration.md")
MARKER = (
    "<!-- The tables below are generated: edit the docstrings, then run this file's neighbour,\n"
    "generate_configuration.py. -->"
)
SECTIONS: tuple[tuple[type, str, str], ...] = (
    (TrainingConfig, "Training", "The top level of a file, and `app.training.TrainingConfig`."),
    (
        TransformerConfig,
        "Model",
        "Under `model_config:`, and `app.transformer.TransformerConfig`.",
    ),
    (
        RopeScaling,
        "Longer contexts",
        "Under `model_config.rope_scaling:`, and `app.transformer.config.RopeScaling`.",
    ),
    (DataConfig, "Data", "Under `data:`; see [Which files](training.md#which-files)."),
    (
        DataSource,
        "Sources of a mixture",
        "In the list `data.sources`; see [Mixtures](training.md#mixtures).",
    ),
    (LoraConfig, "Adapters", "Under `lora:`; see [Adapters](training.md#adapters-lora)."),
    (AlertRule, "Alerts", "In the list `alerts`; see [Alerts](training.md#alerts)."),
    (
        DistributedConfig,
        "Several processes",
        "Under `distributed:`; see [Several processes](training.md#several-processes).",
    ),
)


def field_docstrings(owner: type) -> dict[str, str]:
    """Return the string below each field of a dataclass, as one line."""
    (definition,) = ast.parse(inspect.cleandoc(inspect.getsource(owner))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, below in zip(definition.body, definition.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            found[field.target.id] = " ".join(str(below.value.value).split())
    return found


def type_name(annotation: Any) -> str:
    """A type as a writer of YAML thinks of it."""
    names: dict[Any, str] = {
        int: "integer",
        float: "number",
        bool: "true, false",
        str: "text",
        list[str]: "list of texts",
        type(None): "null",
    }
    if typing.get_origin(annotation) is typing.Literal:
        return ", ".join(f"`{choice}`" for choice in typing.get_args(annotation))
    if annotation in names:
        return names[annotation]
    if dataclasses.is_dataclass(annotation):
        return "mapping"
    if typing.get_origin(annotation) is list:
        return "list of mappings"
    if parts := typing.get_args(annotation):
        return ", ".join(type_name(part) for part in parts)
    raise TypeError(f"no name for {annotation}")


def default_of(field: dataclasses.Field[Any]) -> str:
    """A default as YAML has it."""
    if field.default is dataclasses.MISSING:
        return "`[]`" if field.default_factory is list else "all defaults"
    if field.default is None:
        return "null"
    if isinstance(field.default, bool):
        return str(field.default).lower()
    return f"`{field.default}`"


def table(owner: type) -> str:
    """One row for each field, in the order of the dataclass."""
    docstrings, hints = field_docstrings(owner), typing.get_type_hints(owner)
    rows = ["| field | type | default | |", "|---|---|---|---|"]
    for field in dataclasses.fields(owner):
        meaning = docstrings[field.name].replace("|", "\\|")
        rows.append(
            f"| `{field.name}` | {type_name(hints[field.name])} | {default_of(field)} | {meaning} |"
        )
    return "\n".join(rows)


def page() -> str:
    """The whole page."""
    by_hand, _, _ = PAGE.read_text(encoding="utf-8").partition(MARKER)
    parts = [by_hand.rstrip(), MARKER]
    for owner, title, where in SECTIONS:
        parts.append(f"## {title}\n\n{where}\n\n{table(owner)}")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1] if sys.argv[1:] else PAGE).write_text(page(), encoding="utf-8")
