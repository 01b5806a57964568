"""Alerts of a job: its rules as the scripts read them, and what has fired."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class AlertDelivery(StrEnum):
    """What came of sending an alert to its receiver."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    """It was given up."""


@dataclass(frozen=True, slots=True)
class Alert:
    """A rule that fired."""

    rule: int
    """Number of the rule in the configuration, from 0."""
    step: int
    attempt: int
    created_at: int
    """Milliseconds since the epoch, by the server's clock."""
    value: float | None = None
    """Of the metric; None for rules about the run."""
    alert_id: str = ""
    """The same where the same step or end fires it again because Redis was lost."""
    delivery: AlertDelivery | None = None
    """None where it had no receiver."""
    delivery_tries: int = 0
    delivery_problem: str = ""
    """Why the last request failed."""


def encode_rules(rules: Sequence[Mapping[str, Any]]) -> str:
    """Return the rules of a configuration for the scripts; empty where there are none.

    `not_finite` without a metric is about the loss.
    """
    if not rules:
        return ""
    return json.dumps([_for_scripts(rule) for rule in rules])


def _for_scripts(rule: Mapping[str, Any]) -> dict[str, Any]:
    metric = rule.get("metric") or ("loss" if rule["when"] == "not_finite" else "")
    texts = {name: repr(float(rule.get(name) or 0)) for name in ("value", "seconds")}
    return {"when": rule["when"], "metric": metric, "points": rule.get("points", 1), **texts}


def decode_alert(stored: Mapping[str, Any]) -> Alert:
    """Return an alert as a script has stored it."""
    value = stored.get("value")
    return Alert(
        int(stored["rule"]),
        int(stored["step"]),
        int(stored["attempt"]),
        int(stored["at"]),
        None if value is None else float(value),
        stored.get("id", ""),  # an earlier version stored no more than this
        AlertDelivery(delivery) if (delivery := stored.get("delivery")) else None,
        int(stored.get("tries", 0)),
        stored.get("problem", ""),
    )


def decode_alerts(stored: str) -> tuple[Alert, ...]:
    """Return the alerts of a job, oldest first."""
    return tuple(map(decode_alert, json.loads(stored or "[]")))


def first_stall(rules: str) -> float:
    """Return the fewest seconds after which a rule about a stall fires; infinity without one."""
    found = json.loads(rules or "[]")
    seconds = [float(rule["seconds"]) for rule in found if rule["when"] == "stalled"]
    return min(seconds, default=math.inf)


def alert_text(alert: Alert, rule: Mapping[str, Any]) -> str:
    """Return what an alert says, in one sentence."""
    at, when = f"at step {alert.step}", rule.get("when")
    if when in ("above", "below"):
        rows = f", {rule['points']} points in a row" if rule.get("points", 1) > 1 else ""
        limit = f"{when} {rule['value']:g}"
        return f"{rule['metric']} is {alert.value:.6g} {at}, {limit}{rows}"
    if when == "not_finite":
        return f"{rule.get('metric') or 'the loss'} is not finite {at}"
    if when == "stalled":
        return f"no sign of life for {rule['seconds']:g} s {at}"
    return f"the job has {when} {at}"
