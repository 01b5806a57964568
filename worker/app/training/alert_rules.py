"""The rules that a run's alerts must keep, and what is probably not meant."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from app.training.metric_names import METRIC_NAMES
from app.training.source_names import loss_names
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
_LONGEST_ADDRESS = 2000
_ADDRESS = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(:(?P<port>[0-9]{1,5}))?"
    r"([/?][!-~]*)?",
    re.IGNORECASE,
)
"""Nothing that two readers of addresses could read in two ways: no user, no other characters."""
_PORTS = {"http": 80, "https": 443}


def webhook_place(address: str) -> str | None:
    """Return `HOST:PORT` of a webhook's address; None where it cannot be used."""
    found = _ADDRESS.fullmatch(address)
    if found is None or len(address) > _LONGEST_ADDRESS or "#" in address or "\\" in address:
        return None
    port = int(found["port"] or _PORTS[found["scheme"].lower()])
    return f"{found['host'].lower()}:{port}" if 0 < port < 2**16 else None


def alert_problems(config: TrainingConfig, bad: set[str]) -> list[FieldProblem]:
    """Return what keeps alerts from being judged; passed over where one is of a wrong type."""
    if any(path.startswith("alert") for path in bad):
        return []
    return _rule_problems(config) + _webhook_problems(config.alert_webhook)


def _webhook_problems(address: str | None) -> list[FieldProblem]:
    if address is None or webhook_place(address):
        return []
    value = "an address with a user or a password" if "@" in address else shown(address)
    return [
        FieldProblem(
            "alert_webhook",
            f"`alert_webhook` is {value}; it must be http:// or https://, a host, and at most "
            f"{_LONGEST_ADDRESS} ASCII characters, without user, space and #; "
            "try https://hooks.example.org/alerts",
        )
    ]


def alert_warnings(config: TrainingConfig) -> list[FieldProblem]:
    """Return rules that never fire, and an address that nothing is sent to."""
    found = [
        FieldProblem(path, f"`{path}` is {shown(rule.metric)}, {why}")
        for number, rule in enumerate(config.alerts)
        if rule.metric is not None and (why := _why_never(rule.metric, config))
        for path in [f"alerts[{number}].metric"]
    ]
    if config.alert_webhook is not None and not config.alerts:
        message = "`alert_webhook` is set and `alerts` has no rule: nothing is sent; name rules"
        found.append(FieldProblem("alert_webhook", message))
    return found


def _why_never(metric: str, config: TrainingConfig) -> str:
    """Return why a rule about this metric never fires; empty where it may."""
    known = sorted({*METRIC_NAMES, *loss_names([source.path for source in config.data.sources])})
    if metric not in known:
        near = difflib.get_close_matches(metric, known, 1, cutoff=0.5)
        remedy = f"did you mean {near[0]!r}?" if near else f"the run has {', '.join(known)}"
        what = "which only a callback of yours can report; without one the rule never fires"
        return f"{what}; {remedy}"
    if metric == "ema_val_loss" and config.ema_decay is None:
        return "which a run without `ema_decay` never has; set ema_decay, or take val_loss"
    if "val_" in metric and not config.val_fraction and config.val_dataset_path is None:
        return "which a run without validation data never has; set val_fraction, or take loss"
    return ""


def _rule_problems(config: TrainingConfig) -> list[FieldProblem]:
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
