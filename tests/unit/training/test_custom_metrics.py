"""A user's own metrics: where they are added, the rule that they follow, where they arrive."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from app.training import MetricsTracker, Trainer
from app.training.callbacks import CallbackList
from app.training.custom_metrics import MAX_NAMES, CustomMetrics
from app.training.errors import CustomMetricError

Make = Callable[..., Trainer]


class Adds:
    """A callback that adds metrics to each logged step."""

    def __init__(self, **added: Any) -> None:
        self.added = added

    def on_log(self, step: int, metrics: Mapping[str, float]) -> Mapping[str, Any]:
        return self.added


def ask(*callbacks: Any, custom: CustomMetrics | None = None) -> dict[str, float]:
    """What callbacks add to a step with two metrics."""
    call = (custom or CustomMetrics()).ask(CallbackList(callbacks), "on_log")
    return call(3, {"loss": 2.0, "lr": 0.1})


def test_a_callback_and_the_tracker_add_to_the_line_of_a_step(
    make_trainer: Make, fixed_dataset: Any
) -> None:
    class Own:
        def on_step_end(self, step: int, metrics: Mapping[str, float]) -> None:
            trainer.metrics_tracker.update({"steps/mean": step}, steps=0)
            assert metrics.get("weight_norm") == (None if step < 2 else 7.5)

        def on_log(self, step: int, metrics: Mapping[str, float]) -> Mapping[str, Any]:
            assert metrics["loss"] == trainer.metrics_tracker.get_latest()["loss"]
            return {"weight_norm": torch.tensor(7.5), "wild": math.inf}

        def on_evaluate(self, step: int, metrics: Mapping[str, float]) -> Mapping[str, float]:
            return {"val_accuracy": metrics["val_loss"] / 8}

        def on_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
            lines[step] = dict(metrics)

    lines: dict[int, dict[str, float]] = {}
    settings = {"max_steps": 4, "logging_steps": 2, "eval_steps": 4}
    trainer = make_trainer(val=fixed_dataset(size=3), callbacks=[Own()], **settings)
    trainer.train()
    own = {
        step: {name: line[name] for name in ("weight_norm", "wild", "steps/mean")}
        for step, line in lines.items()
    }
    assert own == {
        2: {"weight_norm": 7.5, "wild": math.inf, "steps/mean": 1.0},  # of step 1 alone, so far
        4: {"weight_norm": 7.5, "wild": math.inf, "steps/mean": 2.5},
    }
    assert lines[4]["val_accuracy"] == lines[4]["val_loss"] / 8
    assert "val_accuracy" not in lines[2]
    journal = (Path(trainer.config.checkpoint_dir) / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in journal] == [
        {"step": step, **line, "wild": None} for step, line in lines.items()
    ]


def test_what_a_callback_writes_into_the_metrics_is_added_too() -> None:
    class Writes:
        def on_log(self, step: int, metrics: dict[str, Any]) -> Mapping[str, Any]:
            metrics["written"] = True
            return metrics

    assert ask(Writes(), Adds(returned=2), object(), Adds()) == {"written": 1.0, "returned": 2.0}


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ({"a b": 1}, "`Adds.on_log` adds the metric 'a b'; a name has 1 to 64 ASCII letters, dig"),
        ({"": 1}, "adds the metric ''; a name has 1 to 64"),
        ({"é": 1}, "adds the metric 'é'; a name has 1 to 64"),
        ({"x" * 65: 1}, "a name has 1 to 64"),
        ({"mfu": 1}, "adds the metric 'mfu', which is one of the engine's own; choose another"),
        ({"loss": 1}, "adds the metric 'loss', which is one of the engine's own"),
        ({"step": 1}, "adds the metric 'step', which is one of the engine's own"),
        ({"created_at": 1}, "adds the metric 'created_at', which is one of the engine's own"),
        ({"a": None}, "gives None for the metric 'a'; it must be one number"),
        ({"a": "1"}, "gives '1' for the metric 'a'"),
        ({"a": torch.ones(2)}, r"gives tensor\(\[1., 1.\]\) for the metric 'a'"),
        ({"a": 10**400}, "gives 1000"),
        ({f"m{i}": i for i in range(MAX_NAMES + 1)}, "'m50', one name too many: a run has at most"),
    ],
)
def test_what_breaks_the_rule_is_refused_where_it_is_added(
    added: dict[str, Any], message: str
) -> None:
    with pytest.raises(CustomMetricError, match=message):
        ask(Adds(**added))


def test_names_are_counted_over_the_run() -> None:
    custom = CustomMetrics()
    for i in range(MAX_NAMES):
        assert ask(Adds(**{f"m{i}": i}), custom=custom) == {f"m{i}": i}
    assert ask(Adds(m0=1), custom=custom) == {"m0": 1.0}
    with pytest.raises(CustomMetricError, match="put what changes into values, not into names"):
        ask(Adds(another=1), custom=custom)


def test_two_callbacks_cannot_add_the_same_metric() -> None:
    with pytest.raises(CustomMetricError, match="'a', which another callback has added"):
        ask(Adds(a=1), Adds(a=1))


def test_an_answer_that_is_no_mapping_is_refused() -> None:
    class Returns:
        def on_log(self, step: int, metrics: Mapping[str, float]) -> Any:
            return [("a", 1)]

    with pytest.raises(CustomMetricError, match=r"`Returns.on_log` returns \[\('a', 1\)\]"):
        ask(Returns())


def test_the_trackers_wrong_names_are_refused_at_the_next_line(make_trainer: Make) -> None:
    class Updates:
        def on_step_end(self, step: int, metrics: Mapping[str, float]) -> None:
            trainer.metrics_tracker.update({"a b": 1.0}, steps=0)

    trainer = make_trainer(max_steps=3, logging_steps=2, callbacks=[Updates()])
    with pytest.raises(CustomMetricError, match=r"`metrics_tracker\.update` adds the metric 'a b'"):
        trainer.train()
    assert trainer.step == 2


def test_means_are_of_what_came_since_they_were_taken() -> None:
    tracker = MetricsTracker(window_size=1)
    tracker.update({"a": 1.0})
    tracker.update({"a": 2.0, "b": 5.0})
    assert tracker.take_means() == {"a": 1.5, "b": 5.0}
    assert tracker.take_means() == {}
    tracker.update({"a": 4.0})
    assert tracker.take_means() == {"a": 4.0}
