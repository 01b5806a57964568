"""What a person wants of a sweep: read, checked as a whole, and kept as a plan."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from app.training.config import ConfigError, FieldProblem, TrainingConfig
from app.training.document import read_exponent
from app.training.source_names import loss_names
from app.transformer.fields import shown
from control_plane.overlay import overlaid
from control_plane.sweeps.execution import read_asked_execution
from control_plane.sweeps.rungs import pause_steps
from control_plane.sweeps.values import (
    Choices,
    Parameter,
    Range,
    Values,
    combinations,
    draws,
    grid,
    grid_size,
    nested,
    nested_names,
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
_WHOLE = ("trials", "seed", "max_parallel")
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
    asked = {**asked, **{key: _whole_number(asked[key]) for key in _WHOLE if key in asked}}
    method, of_method = _method(asked, parameters)
    execution, of_execution = read_asked_execution(asked.get("execution"))
    problems += wrong + of_method + _choice_problems(asked) + of_execution
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
        execution=execution,
        asked=dict(asked),
    )
    configs, wrong = _configs(plan, parameters)
    wrong = wrong or _metric_problems(plan, configs)
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
    problems += nested_names(read)
    return {n: each for n, each in read.items() if not isinstance(each, FieldProblem)}, problems


def _method(
    asked: Mapping[str, Any], parameters: Mapping[str, Parameter]
) -> tuple[str, list[FieldProblem]]:
    """Return grid or random, and what does not fit it."""
    method = asked.get("method", "random" if "trials" in asked else "grid")
    if method not in ("grid", "random"):
        rule = "it must be grid or random (and `halving` beside it prunes)"
        return "", [FieldProblem("method", f"`method` is {shown(method)}; {rule}")]
    if method == "random":
        problems = [
            *_whole(asked, "trials", 1, MAX_CHILDREN),
            *_whole(asked, "seed", 0, _LAST_SEED),
        ]
        return method, problems or _too_many_trials(asked["trials"], parameters)
    problems = [
        FieldProblem(
            f"parameters.{name}",
            f"`parameters.{name}` is a range, and a grid has only values; list them, or set "
            "method: random with `trials` and `seed`",
        )
        for name, each in parameters.items()
        if not isinstance(each, Choices)
    ]
    problems += [
        FieldProblem(
            name,
            f"`{name}` is {shown(asked[name])}, and a grid, which trains all combinations, has no "
            "use for it; leave it out, or set method: random",
        )
        for name in ("trials", "seed")
        if name in asked
    ]
    if not problems and (size := grid_size(parameters)) > MAX_CHILDREN:
        text = f"the grid has {size:,} children; a sweep has at most {MAX_CHILDREN:,}; "
        problems.append(
            FieldProblem("parameters", f"{text}list fewer values, or set method: random")
        )
    return method, problems


def _too_many_trials(trials: int, parameters: Mapping[str, Parameter]) -> list[FieldProblem]:
    different = combinations(parameters)
    if not parameters or trials <= different:
        return []
    text = f"`trials` is {trials}, and the parameters have {different:.0f} different combinations; "
    return [
        FieldProblem("trials", f"{text}give at most so many, or take a grid, which has each once")
    ]


def _whole(asked: Mapping[str, Any], name: str, low: int, high: int) -> list[FieldProblem]:
    value = asked.get(name)
    if _is_whole(value, low, high):
        return []
    said = "missing" if value is None else shown(value)
    rule = f"random needs a whole number from {low} to {high:,}"
    return [FieldProblem(name, f"`{name}` is {said}; {rule}; try {max(low, 16)}")]


def _is_whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _whole_number(value: Any) -> Any:
    """Return the number that YAML left as text or made a fraction (`1e2`); else `value`."""
    number = read_exponent(value)
    return int(number) if isinstance(number, float) and number.is_integer() else value


def _choice_problems(asked: Mapping[str, Any]) -> list[FieldProblem]:
    problems = []
    if (goal := asked.get("goal", "min")) not in ("min", "max"):
        problems.append(FieldProblem("goal", f"`goal` is {shown(goal)}; it must be min or max"))
    parallel = asked.get("max_parallel", _DEFAULT_PARALLEL)
    if not _is_whole(parallel, 1, MAX_PARALLEL):
        text = f"`max_parallel` is {shown(parallel)}; it must be 1 to {MAX_PARALLEL}; try 4"
        problems.append(FieldProblem("max_parallel", text))
    for key in ("name", "dataset_path", "val_dataset_path"):
        if isinstance(value := asked.get(key), list | Mapping):
            text = f"`{key}` is {shown(value)}; it must be text; write one, or leave it out"
            problems.append(FieldProblem(key, text))
    return problems


def _metric_problems(plan: SweepPlan, configs: Sequence[TrainingConfig]) -> list[FieldProblem]:
    """Return why the children cannot be compared by the metric: one of them never has it."""
    of_children = [_metrics_of(config) for config in configs]
    known = [each for each in of_children[0] if all(each in those for those in of_children)]
    if plan.metric in known:
        return []
    lacking = next(n for n, those in enumerate(of_children, 1) if plan.metric not in those)
    some = any(plan.metric in those for those in of_children)
    who = f", which child {lacking} ({_values_of(plan, lacking)}) never has" if some else ""
    rule = f"a sweep compares by one of {', '.join(known)}"
    text = f"`metric` is {shown(plan.metric)}{who}; {rule}; try val_loss"
    return [FieldProblem("metric", text)]


def _metrics_of(config: TrainingConfig) -> list[str]:
    names = [*_METRICS, *loss_names([source.path for source in config.data.sources])]
    return names + (["ema_val_loss"] if config.ema_decay is not None else [])


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
        text = "it has `first_rung`, the step at which the first rung ends, and `factor`"
        example = "e.g. halving: {first_rung: 100, factor: 3}"
        return None, [FieldProblem("halving", f"`halving` is {shown(asked)}; {text}; {example}")]
    factor: Any = _whole_number(asked.get("factor", 3))
    first: Any = _whole_number(asked.get("first_rung"))
    problems = []
    if not _is_whole(factor, 2, children):
        text = f"`halving.factor` is {shown(factor)}; it must be from 2 to the number of children, "
        problems.append(FieldProblem("halving.factor", f"{text}{children}, or no child is pruned"))
    if not _is_whole(first, 1, _LAST_SEED):
        said = "missing" if first is None else shown(first)
        text = f"`halving.first_rung` is {said}; it must be "
        problems.append(
            FieldProblem("halving.first_rung", f"{text}a step, a multiple of eval_steps")
        )
    return (None, problems) if problems else ({"first_rung": first, "factor": factor}, [])


def _configs(
    plan: SweepPlan, parameters: Mapping[str, Parameter]
) -> tuple[list[TrainingConfig], list[FieldProblem]]:
    """Return the configuration of each child, and what is wrong with them.

    What is wrong in the same way with several children is said once, of the first of them.
    """
    configs: list[TrainingConfig] = []
    first: dict[tuple[str, str], tuple[int, FieldProblem]] = {}
    others: dict[tuple[str, str], int] = {}
    for number in plan.numbers:
        config, wrong = TrainingConfig.read(plan.config_of(number))
        configs.append(config)
        for problem in wrong:
            kind = problem.field, problem.message.partition("; ")[2]  # the rule, not the value
            if kind in first:
                others[kind] = others.get(kind, 0) + 1
            else:
                first[kind] = number, _with_integers(problem, parameters)
    problems = [
        of_child(plan, number, problem, others.get(kind, 0))
        for kind, (number, problem) in first.items()
    ]
    more = len(problems) - _MOST_LISTED
    if more > 0:
        listed = problems[:_MOST_LISTED]
        return configs, [*listed, FieldProblem("children", f"and {more} more problems of children")]
    return configs, problems


def _with_integers(problem: FieldProblem, parameters: Mapping[str, Parameter]) -> FieldProblem:
    """Return the problem with its remedy, where a range draws fractions for a whole number."""
    drawn = parameters.get(problem.field)
    if not isinstance(drawn, Range) or "must be an integer" not in problem.message:
        return problem
    bounds = f"[{math.ceil(drawn.low)}, {math.floor(drawn.high)}]"
    remedy = f"write {problem.field}: {{integers: {bounds}}}, or list values"
    return FieldProblem(problem.field, f"{problem.message}; {remedy}")


def of_child(plan: SweepPlan, number: int, problem: FieldProblem, others: int = 0) -> FieldProblem:
    """Return a problem with the child that has it; `others`: how many more have it."""
    also = f"; so have {others} more" if others else ""
    text = f"child {number} ({_values_of(plan, number)}): {problem.message}{also}"
    return FieldProblem(f"children[{number}].{problem.field}", text)


def _values_of(plan: SweepPlan, number: int) -> str:
    values = {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in plan.children[number - 1].items()
    }
    return ", ".join(f"{name}={value}" for name, value in values.items())[:200]


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
