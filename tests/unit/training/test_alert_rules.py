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
        ({"wen": "failed"}, "did you mean `when`?"),
        ({"metric": "loss"}, "`alerts[0].when` is left out; it says what happens and must be one"),
        (7, "alerts[0]"),
    ],
)
def test_what_cannot_be_judged_is_a_problem(rule: Any, message: str) -> None:
    assert any(message in found for found in problems(rule)), problems(rule)


def test_there_are_at_most_twenty() -> None:
    (message,) = problems(*["failed"] * 21)
    assert message == "`alerts` has 21 rules; it must have at most 20; leave some out"
    assert problems(*["failed"] * 20) == []


def test_what_may_never_fire_is_a_warning() -> None:
    rules = [
        {"when": "above", "metric": "val_los", "value": 1},
        {"when": "not_finite", "metric": "entropy"},
        {"when": "below", "metric": "val_bits_per_byte", "value": 1},
        "not_finite",
    ]
    near, far = TrainingConfig.from_dict({"alerts": rules}).warnings()
    assert (near.field, near.message) == (
        "alerts[0].metric",
        "`alerts[0].metric` is 'val_los', which only a callback of yours can report; without one "
        "the rule never fires; did you mean 'val_loss'?",
    )
    assert far.message.startswith("`alerts[1].metric` is 'entropy', which only a callback of yours")
    assert far.message.endswith(", val_bits_per_byte, val_loss, val_perplexity")
    averaged = {"when": "above", "metric": "ema_val_loss", "value": 1}
    of_source = {"when": "above", "metric": "val_loss/a.txt", "value": 1}
    data = {"sources": ["a.txt", "b.txt"]}
    assert TrainingConfig.from_dict({"alerts": [of_source], "data": data}).warnings() == []
    assert TrainingConfig.from_dict({"alerts": [averaged], "ema_decay": 0.9}).warnings() == []
    for values, said in (
        ({"alerts": [averaged]}, "'ema_val_loss', which a run without `ema_decay` never has; set"),
        ({"alerts": rules[2:], "val_fraction": 0.0, "best_metric": "loss"}, "without validation"),
        ({"alerts": [of_source]}, "'val_loss/a.txt', which only a callback of yours can report"),
    ):
        (warning,) = TrainingConfig.from_dict(values).warnings()
        assert said in warning.message
    (alone,) = TrainingConfig.from_dict({"alert_webhook": "https://a.example"}).warnings()
    assert alone.field == "alert_webhook"
