"""The values that each child of a sweep gets: all combinations, or random draws.

A draw is a pure function of the seed, the child's number and the parameter's name, so that another
parameter or more trials change nothing about the draws that were there.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.training.config import FieldProblem
from app.training.document import read_exponent
from app.transformer.fields import shown

Values = dict[str, Any]
"""By dotted name of the configuration's field."""

_EXAMPLES = {
    "uniform": "weight_decay: {uniform: [0, 0.1]}",
    "log_uniform": "learning_rate: {log_uniform: [1e-4, 1e-2]}",
    "integers": "model_config.num_layers: {integers: [2, 6]}",
    "values": "learning_rate: [1e-3, 3e-3]",
    "step": "model_config.hidden_size: {integers: [64, 512], step: 64}",
}
"""Of each way to say what a parameter may be."""
RANGES = ("uniform", "log_uniform", "integers")


@dataclass(frozen=True, slots=True)
class Choices:
    """One of several values."""

    values: tuple[Any, ...]

    @property
    def size(self) -> float:
        """Different values."""
        return len(self.values)

    def draw(self, share: float) -> Any:
        """Return the value at a share of the whole, in [0, 1)."""
        return self.values[int(share * len(self.values))]


@dataclass(frozen=True, slots=True)
class Range:
    """A value between two bounds, both included."""

    kind: str
    """One of `RANGES`."""
    low: float
    high: float
    step: float = 0.0
    """Only `low` and whole steps above it are drawn; 0 for every value."""

    def draw(self, share: float) -> Any:
        """Return the value at a share of the whole, in [0, 1)."""
        if self.step:
            value = self.low + int(share * self._steps) * self.step
            return int(value) if self.kind == "integers" else float(f"{value:.12g}")
        if self.kind == "integers":
            return int(self.low) + int(share * (int(self.high) - int(self.low) + 1))
        if self.kind == "uniform":
            return self.low + share * (self.high - self.low)
        return math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))

    @property
    def size(self) -> float:
        """Different values; infinity where they are not counted."""
        if self.step:
            return self._steps
        return self.high - self.low + 1 if self.kind == "integers" else math.inf

    @property
    def _steps(self) -> int:
        return math.floor((self.high - self.low) / self.step + 1e-9) + 1  # 0.3 / 0.1 is below 3


Parameter = Choices | Range


def read_parameter(name: str, spec: Any) -> Parameter | FieldProblem:
    """Return what a parameter may be, or what is wrong with it."""
    if isinstance(spec, Sequence) and not isinstance(spec, str):
        spec = {"values": spec}
    kinds = [key for key in spec if key != "step"] if isinstance(spec, Mapping) else []
    if len(kinds) != 1 or kinds[0] not in (*RANGES, "values"):
        ways = ", ".join(RANGES)
        return _problem(name, spec, f"it must be a list of values, or one of {ways}: [low, high]")
    kind = kinds[0]
    if "step" in spec:
        return _stepped(name, kind, spec)
    return _choices(name, spec[kind]) if kind == "values" else _range(name, kind, spec[kind])


def _stepped(name: str, kind: str, spec: Mapping[str, Any]) -> Range | FieldProblem:
    if kind not in ("uniform", "integers"):
        return _problem(name, spec, "only `uniform` and `integers` have a `step`", "step")
    drawn, step = _range(name, kind, spec[kind]), read_exponent(spec["step"])
    if isinstance(drawn, FieldProblem):
        return drawn
    is_usable = _is_number(step) and 0 < step <= drawn.high - drawn.low
    if not is_usable or (kind == "integers" and not float(step).is_integer()):
        rule = "its `step` must be above 0 and at most high - low, and whole for `integers`"
        return _problem(name, spec, rule, "step")
    return replace(drawn, step=float(step))


def _choices(name: str, given: Any) -> Choices | FieldProblem:
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        return _problem(name, given, "it must be a list of at least one value", "values")
    values = tuple(map(read_exponent, given))
    known: set[Any] = set()
    for value in values:
        if (same := _identity(value)) in known:
            rule = f"it must have each value once, and has {shown(value)} twice; leave one out"
            return _problem(name, given, rule, "values")
        known.add(same)
    return Choices(values)


def _identity(value: Any) -> Any:
    """Return what equal values share: 1 and 1.0 are equal, 1 and true are not."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return json.dumps(value, sort_keys=True, default=str)


def _range(name: str, kind: str, given: Any) -> Range | FieldProblem:
    if isinstance(given, Sequence):
        given = [read_exponent(each) for each in given]
    if not (isinstance(given, Sequence) and len(given) == 2 and all(map(_is_number, given))):
        return _problem(name, given, f"`{kind}` takes two finite numbers, [low, high]", kind)
    low, high = given
    if kind == "integers" and not all(float(each).is_integer() for each in given):
        return _problem(name, given, "`integers` takes two whole numbers", kind)
    if low >= high or (kind == "log_uniform" and low <= 0):
        above = "0 < low < high" if kind == "log_uniform" else "low < high"
        return _problem(name, given, f"it must hold {above}", kind)
    return Range(kind, float(low), float(high))


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _problem(name: str, given: Any, rule: str, kind: str = "log_uniform") -> FieldProblem:
    text = f"`parameters.{name}` is {shown(given)}; {rule}, e.g. {_EXAMPLES[kind]}"
    return FieldProblem(f"parameters.{name}", text)


def nested_names(names: Iterable[str]) -> list[FieldProblem]:
    """Return a problem for each parameter that is a part of another one: both would set it."""
    known = set(names)
    return [
        FieldProblem(
            f"parameters.{name}",
            f"`parameters.{name}` is a part of `parameters.{whole}`, and one of them would undo "
            f"the other; leave one out, or write what it sets into the values of `{whole}`",
        )
        for name in sorted(known)
        for whole in sorted(known)
        if name.startswith(f"{whole}.")
    ]


def combinations(parameters: Mapping[str, Parameter]) -> float:
    """Return the number of different children that can be drawn; infinity for most ranges."""
    return math.prod(each.size for each in parameters.values())


def grid_size(parameters: Mapping[str, Parameter]) -> int:
    """Return the number of combinations of the listed values."""
    lists = [each.values for each in parameters.values() if isinstance(each, Choices)]
    return math.prod(map(len, lists))


def grid(parameters: Mapping[str, Parameter]) -> list[Values]:
    """Return all combinations; the last parameter changes first."""
    lists = [each.values for each in parameters.values() if isinstance(each, Choices)]
    return [dict(zip(parameters, values, strict=True)) for values in itertools.product(*lists)]


def draws(parameters: Mapping[str, Parameter], trials: int, seed: int) -> list[Values]:
    """Return the values of each of `trials` children."""
    return [
        {name: each.draw(_share(seed, number, name)) for name, each in parameters.items()}
        for number in range(1, trials + 1)
    ]


def _share(seed: int, number: int, name: str) -> float:
    """Return a number in [0, 1) with 53 random bits."""
    digest = hashlib.sha256(f"{seed}:{number}:{name}".encode()).digest()
    return (int.from_bytes(digest[:8], "little") >> 11) / (1 << 53)


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted names as a nested mapping."""
    changes: dict[str, Any] = {}
    for name, value in values.items():
        *parents, last = name.split(".")
        place = changes
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return changes
