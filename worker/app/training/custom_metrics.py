"""Metrics of the user's own: what callbacks and `metrics_tracker` add to a logged step.

They go where the trainer's own metrics go, so their names follow one rule and clash with none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from app.training.callbacks import CallbackList
from app.training.errors import CustomMetricError
from app.training.metric_names import METRIC_NAMES

MAX_NAMES = 50
"""Names of the user's own in one run: each is a column of the run's history."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]{0,63}", re.ASCII)
_RESERVED = METRIC_NAMES | {"step", "attempt", "created_at"}
_ABSENT = object()


class CustomMetrics:
    """Collects a run's custom metrics and refuses those that break the rule."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def ask(
        self, callbacks: CallbackList, hook: str
    ) -> Callable[[int, Mapping[str, float]], dict[str, float]]:
        """Return one function that calls `hook` of every callback that has it.

        It passes a step and its metrics, and returns what the callbacks add: what they return, or
        write into the metrics.

        Raises:
            CustomMetricError: A name or a value breaks the rule.
        """
        bound = callbacks.with_hook(hook)

        def call(step: int, measured: Mapping[str, float]) -> dict[str, float]:
            added: dict[str, float] = {}
            for callback, function in bound:
                source = f"{type(callback).__name__}.{hook}"
                line = dict(measured)
                answer = function(step, line)
                additions = _additions(source, measured, line, answer)
                added |= self._checked(source, additions, added, measured)
            return added

        return call

    def of_tracker(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return what is the user's own among the values that `metrics_tracker` was given.

        Raises:
            CustomMetricError: A name breaks the rule.
        """
        own = {name: value for name, value in values.items() if name not in METRIC_NAMES}
        return self._checked("metrics_tracker.update", own, {}, {})

    def _checked(
        self,
        source: str,
        values: Mapping[Any, Any],
        others: Mapping[str, float],
        measured: Mapping[str, float],
    ) -> dict[str, float]:
        checked = {}
        for name, value in values.items():
            self._check_name(source, name, measured)
            if name in others:
                raise CustomMetricError(
                    f"`{source}` adds the metric {name!r}, which another callback has added to the "
                    "same step; choose another name"
                )
            checked[name] = _number(source, name, value)
        return checked

    def _check_name(self, source: str, name: Any, measured: Mapping[str, float]) -> None:
        if name in self._names:
            return
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise CustomMetricError(
                f"`{source}` adds the metric {name!r}; a name has 1 to 64 ASCII letters, digits or "
                "any of _./- and begins with a letter or _; rename it"
            )
        if name in _RESERVED or name in measured:
            raise CustomMetricError(
                f"`{source}` adds the metric {name!r}, which is one of the engine's own; choose "
                "another name"
            )
        if len(self._names) == MAX_NAMES:
            raise CustomMetricError(
                f"`{source}` adds the metric {name!r}, one name too many: a run has at most "
                f"{MAX_NAMES} of its user's own; put what changes into values, not into names"
            )
        self._names.add(name)


def _additions(
    source: str, measured: Mapping[str, float], line: dict[str, Any], answer: Any
) -> dict[Any, Any]:
    """Return what the callback added or changed, in the line that it got and in its answer."""
    if answer is not None and not isinstance(answer, Mapping):
        raise CustomMetricError(
            f"`{source}` returns {_shown(answer)}; it must return the metrics that it adds, as a "
            "mapping of names to numbers, or None"
        )
    both = {**line, **(answer or {})}
    return {name: value for name, value in both.items() if value is not measured.get(name, _ABSENT)}


def _number(source: str, name: str, value: Any) -> float:
    try:
        if not isinstance(value, str | bytes | bytearray):
            return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        pass
    raise CustomMetricError(
        f"`{source}` gives {_shown(value)} for the metric {name!r}; it must be one number: a "
        "float, or a tensor of one element"
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
