"""What alerts of a configuration may say."""

from __future__ import annotations

from typing import Any

import pytest

from app.training.config import AlertRule, TrainingConfig


def problems(*rules: Any) -> list[str]:
    return [each.message for each in TrainingConfig.read({"alerts": list(rules)})[1]]


def test_rules_are_read_from_mappings_and_words() -> None:
    text = "alerts: [failed, {when: above, metric: val_loss, value: 4, points: 2}]\n"
    config = TrainingConfig.from_document(text)
    expected = [AlertRule(), AlertRule("above", "val_loss", 4.0, 2)]
    assert config.alerts == expected
    assert TrainingConfig.from_dict(config.to_dict()).alerts == expected


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"when": "above", "value": 1}, "`alerts[0].metric` is left out; 'above' needs it; name"),
        ({"when": "below", "metric": "loss"}, "`alerts[0].value` is left out; 'below' needs it"),
        ({"when": "stalled"}, "`alerts[0].seconds` is left out; 'stalled' needs it; give 1 or"),
        ({"when": "stalled", "seconds": 0.5}, "`alerts[0].seconds` is 0.5; give 1 or more"),
        ({"when": "failed", "metric": "loss"}, "is 'loss', and 'failed' has no use for it; leave"),
        ({"when": "not_finite", "points": 0}, "`alerts[0].points` is 0; it must be between 1 and"),
        ({"when": "not_finite", "metric": "a,b"}, "`alerts[0].metric` is 'a,b'; name one"),
        ({"when": "above", "metric": "x", "value": float("inf")}, "value` is inf; give a finite"),
        ("broken", "it must be"),
        ({"wen": "failed"}, "when"),
        (7, "alerts[0]"),
    ],
)
def test_what_cannot_be_judged_is_a_problem(rule: Any, message: str) -> None:
    assert any(message in found for found in problems(rule)), problems(rule)


def test_there_are_at_most_twenty() -> None:
    (message,) = problems(*["failed"] * 21)
    assert message == "`alerts` has 21 rules; it must have at most 20; leave some out"
    assert problems(*["failed"] * 20) == []
