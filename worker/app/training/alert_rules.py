"""The rules that a run's alerts must keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.transformer.errors import FieldProblem
from app.transformer.fields import shown

if TYPE_CHECKING:
    from app.training.config import AlertRule, TrainingConfig

_MOST = 20
_NEEDED = {"above": ("metric", "value"), "below": ("metric", "value"), "stalled": ("seconds",)}
_ALLOWED = {**_NEEDED, "not_finite": ("metric",)}
_REMEDIES = {
    "metric": "name one, such as val_loss",
    "value": "give a finite number",
    "seconds": "give 1 or more, such as 600",
}


def alert_problems(config: TrainingConfig, bad: set[str]) -> list[FieldProblem]:
    """Return what keeps alerts from being judged; passed over where one is of a wrong type."""
    if any(path.startswith("alerts") for path in bad):
        return []
    if len(config.alerts) > _MOST:
        message = f"`alerts` has {len(config.alerts)} rules; it must have at most {_MOST}"
        return [FieldProblem("alerts", f"{message}; leave some out")]
    return [p for n, rule in enumerate(config.alerts) for p in _of_rule(f"alerts[{n}]", rule)]


def _of_rule(path: str, rule: AlertRule) -> list[FieldProblem]:
    found = []
    for name, remedy in _REMEDIES.items():
        value, needed = getattr(rule, name), name in _NEEDED.get(rule.when, ())
        if value is None and needed:
            found.append((name, f"is left out; {rule.when!r} needs it; {remedy}"))
        elif value is not None and name not in _ALLOWED.get(rule.when, ()):
            what = f"is {shown(value)}, and {rule.when!r} has no use for it"
            found.append((name, f"{what}; leave it out"))
        elif value is not None and not _is_usable(name, value):
            found.append((name, f"is {shown(value)}; {remedy}"))
    if not 1 <= rule.points <= 1000:
        found.append(("points", f"is {rule.points}; it must be between 1 and 1000; try 3"))
    return [FieldProblem(f"{path}.{name}", f"`{path}.{name}` {text}") for name, text in found]


def _is_usable(name: str, value: str | float) -> bool:
    if isinstance(value, str):
        return 0 < len(value) <= 64 and "," not in value
    return abs(value) < 1e300 and (name != "seconds" or 1 <= value < 2**31)
