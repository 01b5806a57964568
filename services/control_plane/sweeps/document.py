"""What a person wants of a sweep: read, checked as a whole, and kept as a plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from app.training.config import ConfigError, FieldProblem, TrainingConfig
from app.training.source_names import loss_names
from control_plane.overlay import overlaid
from control_plane.sweeps.rungs import pause_steps
from control_plane.sweeps.values import (
    Choices,
    Parameter,
    Values,
    draws,
    grid,
    grid_size,
    nested,
    read_parameter,
)

MAX_CHILDREN = 1000
MAX_PARALLEL = 64
_DEFAULT_PARALLEL = 4
_LAST_SEED = 2**63 - 1
_KEYS = (
    "name", "config", "config_id", "dataset_path", "val_dataset_path", "execution", "parameters",
    "method", "trials", "seed", "metric", "goal", "halving", "max_parallel",
)  # fmt: skip
_METRICS = ("val_loss", "val_perplexity", "val_bits_per_byte")
_MOST_LISTED = 20
"""Problems of children that are listed."""


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """A checked sweep; it never changes."""

    config: dict[str, Any]
    """What all children share."""
    children: tuple[Values, ...]
    """The values of child 1, 2, …"""
    parameters: tuple[str, ...]
    method: str
    metric: str
    goal: str
    pauses: tuple[int, ...]
    """The steps at which rungs end before the last one."""
    factor: int
    """Of each rung one in so many goes on."""
    max_parallel: int
    dataset_path: str
    val_dataset_path: str
    execution: dict[str, Any]
    asked: dict[str, Any]
    """The document, for people."""

    def config_of(self, number: int) -> dict[str, Any]:
        """Return the configuration of a child as a mapping."""
        return overlaid(self.config, nested(self.children[number - 1]))

    def pause_of(self, rung: int) -> int | None:
        """Return the step at which a rung (from 0) ends; None where it ends with the run."""
        return self.pauses[rung] if rung < len(self.pauses) else None

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of all children."""
        return tuple(range(1, len(self.children) + 1))

    def to_document(self) -> str:
        """Return it as JSON text."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @staticmethod
    def of_document(text: str) -> SweepPlan:
        """Return what `to_document` gave."""
        stored = json.loads(text)
        lists = ("children", "parameters", "pauses")
        return SweepPlan(**stored | {name: tuple(stored[name]) for name in lists})


def read_plan(asked: Mapping[str, Any], config: Mapping[str, Any]) -> SweepPlan:
    """Return the plan of a document whose configuration has been found.

    Raises:
        ConfigError: It lists everything that is wrong, before a child is made.
    """
    problems = _unknown_keys(asked)
    parameters, wrong = _parameters(asked.get("parameters"))
    method, of_method = _method(asked, parameters)
    problems += wrong + of_method + _choice_problems(asked, config)
    if problems:
        raise ConfigError(problems)
    children = _children(asked, method, parameters)
    halving, of_halving = _halving(asked.get("halving"), len(children))
    plan = SweepPlan(
        config=dict(config),
        children=tuple(children),
        parameters=tuple(parameters),
        method=method,
        metric=asked.get("metric", "val_loss"),
        goal=asked.get("goal", "min"),
        pauses=(),
        factor=halving["factor"] if halving else 1,
        max_parallel=asked.get("max_parallel", _DEFAULT_PARALLEL),
        dataset_path=str(asked.get("dataset_path") or ""),
        val_dataset_path=str(asked.get("val_dataset_path") or ""),
        execution=dict(asked.get("execution") or {}),
        asked=dict(asked),
    )
    configs, wrong = _configs(plan)
    if of_halving + wrong:
        raise ConfigError(of_halving + wrong)
    return _with_rungs(plan, halving, configs) if halving else plan


def _unknown_keys(asked: Mapping[str, Any]) -> list[FieldProblem]:
    known = ", ".join(_KEYS)
    return [
        FieldProblem(str(key), f"`{str(key)[:80]}` is not known in a sweep; it has {known}")
        for key in asked
        if key not in _KEYS
    ]


def _parameters(asked: Any) -> tuple[dict[str, Parameter], list[FieldProblem]]:
    if not isinstance(asked, Mapping) or not asked:
        text = "`parameters` is missing; name fields of the configuration and their values, e.g. "
        return {}, [
            FieldProblem("parameters", f"{text}parameters: {{learning_rate: [1e-3, 3e-3]}}")
        ]
    read = {str(name): read_parameter(str(name), spec) for name, spec in asked.items()}
    problems = [each for each in read.values() if isinstance(each, FieldProblem)]
    return {n: each for n, each in read.items() if not isinstance(each, FieldProblem)}, problems


def _method(
    asked: Mapping[str, Any], parameters: Mapping[str, Parameter]
) -> tuple[str, list[FieldProblem]]:
    """Return grid or random, and what does not fit it."""
    method = asked.get("method", "random" if "trials" in asked else "grid")
    if method not in ("grid", "random"):
        rule = "it must be grid or random (and `halving` beside it prunes)"
        return "", [FieldProblem("method", f"`method` is {str(method)[:80]!r}; {rule}")]
    if method == "random":
        return method, [
            *_whole(asked, "trials", 1, MAX_CHILDREN),
            *_whole(asked, "seed", 0, _LAST_SEED),
        ]
    problems = [
        FieldProblem(
            f"parameters.{name}",
            f"`parameters.{name}` is a range, and a grid has only values; list them, or set "
            "method: random with `trials` and `seed`",
        )
        for name, each in parameters.items()
        if not isinstance(each, Choices)
    ]
    if not problems and (size := grid_size(parameters)) > MAX_CHILDREN:
        text = f"the grid has {size:,} children; a sweep has at most {MAX_CHILDREN:,}; "
        problems.append(
            FieldProblem("parameters", f"{text}list fewer values, or set method: random")
        )
    return method, problems


def _whole(asked: Mapping[str, Any], name: str, low: int, high: int) -> list[FieldProblem]:
    value = asked.get(name)
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return []
    shown = "missing" if value is None else f"{str(value)[:40]}"
    rule = f"random needs a whole number from {low} to {high:,}"
    return [FieldProblem(name, f"`{name}` is {shown}; {rule}; try {max(low, 16)}")]


def _choice_problems(asked: Mapping[str, Any], config: Mapping[str, Any]) -> list[FieldProblem]:
    problems = []
    metric, goal = asked.get("metric", "val_loss"), asked.get("goal", "min")
    known = [*_METRICS, *loss_names(_source_paths(config))]
    known += ["ema_val_loss"] if config.get("ema_decay") is not None else []
    if metric not in known:
        allowed = ", ".join(known)
        text = (
            f"`metric` is {str(metric)[:80]!r}; a sweep compares by one of {allowed}; try val_loss"
        )
        problems.append(FieldProblem("metric", text))
    if goal not in ("min", "max"):
        problems.append(
            FieldProblem("goal", f"`goal` is {str(goal)[:80]!r}; it must be min or max")
        )
    parallel = asked.get("max_parallel", _DEFAULT_PARALLEL)
    if (
        isinstance(parallel, bool)
        or not isinstance(parallel, int)
        or not 1 <= parallel <= MAX_PARALLEL
    ):
        text = f"`max_parallel` is {str(parallel)[:40]}; it must be 1 to {MAX_PARALLEL}; try 4"
        problems.append(FieldProblem("max_parallel", text))
    if not isinstance(asked.get("execution") or {}, Mapping):
        problems.append(FieldProblem("execution", "`execution` must be a mapping; leave it out"))
    return problems


def _source_paths(config: Mapping[str, Any]) -> list[str]:
    data = config.get("data")
    sources = data.get("sources") if isinstance(data, Mapping) else None
    named = sources if isinstance(sources, list) else []
    return [str(each["path"]) for each in named if isinstance(each, Mapping) and each.get("path")]


def _children(
    asked: Mapping[str, Any], method: str, parameters: Mapping[str, Parameter]
) -> list[Values]:
    if method == "grid":
        return grid(parameters)
    return draws(parameters, asked["trials"], asked["seed"])


def _halving(asked: Any, children: int) -> tuple[dict[str, int] | None, list[FieldProblem]]:
    """Return `first_rung` and `factor`; None without halving, or where one is wrong."""
    if asked is None:
        return None, []
    if not isinstance(asked, Mapping) or set(asked) - {"first_rung", "factor"}:
        text = "`halving` has `first_rung`, the step at which the first rung ends, and `factor`"
        return None, [
            FieldProblem("halving", f"{text}; e.g. halving: {{first_rung: 100, factor: 3}}")
        ]
    factor: Any = asked.get("factor", 3)
    first: Any = asked.get("first_rung")
    problems = []
    if isinstance(factor, bool) or not isinstance(factor, int) or not 2 <= factor <= children:
        text = (
            f"`halving.factor` is {str(factor)[:40]}; it must be from 2 to the number of children, "
        )
        problems.append(FieldProblem("halving.factor", f"{text}{children}, or no child is pruned"))
    if isinstance(first, bool) or not isinstance(first, int) or first < 1:
        shown = "missing" if first is None else str(first)[:40]
        text = f"`halving.first_rung` is {shown}; it must be "
        problems.append(
            FieldProblem("halving.first_rung", f"{text}a step, a multiple of eval_steps")
        )
    return (None, problems) if problems else ({"first_rung": first, "factor": factor}, [])


def _configs(plan: SweepPlan) -> tuple[list[TrainingConfig], list[FieldProblem]]:
    """Return the configuration of each child, and what is wrong with them."""
    configs, problems = [], []
    for number in plan.numbers:
        config, wrong = TrainingConfig.read(plan.config_of(number))
        configs.append(config)
        problems += [of_child(plan, number, problem) for problem in wrong]
    more = len(problems) - _MOST_LISTED
    if more > 0:
        listed = problems[:_MOST_LISTED]
        return configs, [*listed, FieldProblem("children", f"and {more} more problems of children")]
    return configs, problems


def of_child(plan: SweepPlan, number: int, problem: FieldProblem) -> FieldProblem:
    """Return a problem with the child that has it."""
    values = ", ".join(f"{name}={value}" for name, value in plan.children[number - 1].items())
    field = f"children[{number}].{problem.field}"
    return FieldProblem(field, f"child {number} ({values[:200]}): {problem.message}")


def _with_rungs(
    plan: SweepPlan, halving: Mapping[str, int], configs: list[TrainingConfig]
) -> SweepPlan:
    """Return the plan with its rungs.

    Raises:
        ConfigError: They do not fit the configuration.
    """
    first, problems = halving["first_rung"], []
    lengths, intervals = {c.max_steps for c in configs}, {c.eval_steps for c in configs}
    if len(lengths) > 1:
        text = (
            "`max_steps` is a parameter, and rungs need one length for all children; leave it out"
        )
        problems.append(FieldProblem("parameters.max_steps", text))
    elif first >= (length := min(lengths)):
        text = (
            f"`halving.first_rung` is {first}; it must be below max_steps={length}, where the last"
        )
        problems.append(FieldProblem("halving.first_rung", f"{text} rung ends"))
    for interval in sorted(intervals):
        if first % interval:
            text = (
                f"`halving.first_rung` is {first}; it must be a multiple of eval_steps={interval}, "
            )
            nearest = interval * max(1, round(first / interval))
            text += f"where the metric is measured; try {nearest}"
            problems.append(FieldProblem("halving.first_rung", text))
    if problems:
        raise ConfigError(problems)
    steps = pause_steps(first, plan.factor, min(lengths))
    return replace(plan, pauses=steps)
