"""What is wrong with a configuration, said once for the whole library.

    ValueError
    ├── ConfigError             a configuration with one or more `FieldProblem`s
    └── UnsupportedModelError   a model that cannot be had in the form asked for

Imports nothing but the standard library, so that a control plane can validate without torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One thing that has to change before a configuration can be used.

    The control plane reports these too. The SDK, which must not import the library nor be imported
    by it, has a class of its own by this name, for what it reads from an answer.
    """

    field: str
    """Path of the field, dotted: `learning_rate`, `model_config.num_heads`."""

    message: str
    """The value found, the rule it breaks, and what to write instead."""

    def under(self, path: str) -> FieldProblem:
        """Return the same problem seen from a configuration that holds this one at `path`."""
        return FieldProblem(f"{path}.{self.field}", self.message) if path else self

    def __str__(self) -> str:
        named = self.message.startswith(f"`{self.field}`")
        return self.message if named else f"{self.field}: {self.message}"


class ConfigError(ValueError):
    """A configuration that cannot be used; `problems` lists every reason, not only the first."""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        self.problems: tuple[FieldProblem, ...] = tuple(problems)
        count = len(self.problems)
        title = f"the configuration has {count} problem{'' if count == 1 else 's'}:"
        super().__init__("\n".join([title, *(f"  - {problem}" for problem in self.problems)]))


class UnsupportedModelError(ValueError):
    """A model without an equivalent in the other format, or files that hold no whole model.

    The message names the field or the tensor.
    """
