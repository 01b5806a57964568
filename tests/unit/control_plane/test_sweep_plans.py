"""What a sweep's document becomes: children, rungs, decisions; and how it is refused."""

from __future__ import annotations

from typing import Any

import pytest
from started import TINY

from app.training.config import ConfigError
from control_plane.sweeps.document import SweepPlan, read_plan
from control_plane.sweeps.importance import importance
from control_plane.sweeps.rungs import Rung, decided, pause_steps, ranking
from control_plane.sweeps.values import draws, grid, read_parameter

CONFIG = TINY | {"max_steps": 90, "eval_steps": 10, "save_steps": 10}
RATES = {"learning_rate": [1e-3, 1e-2], "model_config.num_layers": [1, 2, 3]}


def plan_of(**asked: Any) -> SweepPlan:
    return read_plan({"parameters": RATES} | asked, CONFIG)


def problems_of(**asked: Any) -> dict[str, str]:
    with pytest.raises(ConfigError) as refused:
        plan_of(**asked)
    return {problem.field: problem.message for problem in refused.value.problems}


def test_a_grid_has_all_combinations_and_survives_its_storage() -> None:
    plan = plan_of()
    assert len(plan.children) == 6
    assert plan.children[1] == {"learning_rate": 1e-3, "model_config.num_layers": 2}
    assert plan.config_of(6)["model_config"] == CONFIG["model_config"] | {"num_layers": 3}
    assert plan.config_of(6)["learning_rate"] == 1e-2
    assert SweepPlan.of_document(plan.to_document()) == plan


def test_draws_depend_on_seed_number_and_name_alone() -> None:
    spec = {"a": {"log_uniform": [1e-4, 1e-2]}, "b": {"integers": [2, 4]}, "c": {"uniform": [0, 1]}}
    read: dict[str, Any] = {name: read_parameter(name, each) for name, each in spec.items()}
    drawn = draws(read | {"d": read_parameter("d", ["x", "y"])}, 200, 7)
    assert [each["a"] for each in drawn] == [each["a"] for each in draws({"a": read["a"]}, 200, 7)]
    assert all(1e-4 <= each["a"] <= 1e-2 for each in drawn)
    assert 60 < sum(each["a"] < 1e-3 for each in drawn) < 140  # half of the logarithms
    assert {each["b"] for each in drawn} == {2, 3, 4}
    assert {each["d"] for each in drawn} == {"x", "y"}
    as_yaml: dict[str, Any] = {"a": read_parameter("a", {"log_uniform": ["1e-4", "1E-2"]})}
    assert [each["a"] for each in draws(as_yaml, 200, 7)] == [each["a"] for each in drawn]
    assert grid({"a": read_parameter("a", ["1e-3", "gelu"])}) == [{"a": 1e-3}, {"a": "gelu"}]  # type: ignore[dict-item]
    assert drawn != draws(read | {"d": read_parameter("d", ["x", "y"])}, 200, 8)
    assert grid({"d": read_parameter("d", ["x", "y"])}) == [{"d": "x"}, {"d": "y"}]  # type: ignore[dict-item]


def test_ranges_may_have_steps() -> None:
    spec = {"a": {"integers": [64, 300], "step": 64}, "b": {"uniform": [0, 0.3], "step": "1e-1"}}
    read: dict[str, Any] = {name: read_parameter(name, each) for name, each in spec.items()}
    drawn = draws(read, 200, 7)
    assert {each["a"] for each in drawn} == {64, 128, 192, 256}
    assert {each["b"] for each in drawn} == {0.0, 0.1, 0.2, 0.3}
    assert all(isinstance(each["a"], int) for each in drawn)
    for wrong, said in (
        ({"integers": [64, 300], "step": 0.5}, "whole for `integers`, e.g. model_config.hidden"),
        ({"uniform": [0, 1], "step": 0}, "its `step` must be above 0 and at most high - low"),
        ({"uniform": [0, 1], "step": 2}, "its `step` must be above 0 and at most high - low"),
        ({"uniform": [0, 1], "step": True}, "its `step` must be above 0 and at most high - low"),
        ({"log_uniform": [1e-4, 1], "step": 0.1}, "only `uniform` and `integers` have a `step`"),
        ({"values": [1, 2], "step": 1}, "only `uniform` and `integers` have a `step`"),
        ({"uniform": [1, 0], "step": 0.1}, "it must hold low < high"),
        ({"step": 1}, "it must be a list of values, or one of"),
    ):
        found = problems_of(parameters={"learning_rate": wrong}, trials=2, seed=1)
        assert said in found["parameters.learning_rate"]


def test_rungs_grow_by_the_factor_up_to_the_run() -> None:
    plan = plan_of(halving={"first_rung": 10, "factor": 3})
    assert (plan.pauses, plan.factor) == ((10, 30), 3)
    assert [plan.pause_of(rung) for rung in range(3)] == [10, 30, None]
    assert pause_steps(10, 2, 40) == (10, 20)


def test_decisions_depend_on_scores_and_break_ties_by_number() -> None:
    nan = float("nan")
    scores = {3: 1.0, 1: 2.0, 2: 1.0, 4: None, 5: nan, 6: 9.0}
    assert decided(scores, "min", 3, is_last=False).kept == (2, 3)
    assert decided(scores, "max", 3, is_last=False).kept == (1, 6)
    assert decided(scores, "min", 3, is_last=True).kept == (2,)
    assert decided({1: None, 2: nan}, "min", 2, is_last=False) == Rung({1: None, 2: None}, ())
    first = decided(scores, "min", 2, is_last=False)
    assert first.kept == (1, 2, 3)
    last = decided({1: 0.5, 2: 0.7, 3: None}, "min", 2, is_last=True)
    assert ranking([first], "min", is_over=False) == {6: 4, 4: 5, 5: 6}
    expected = {1: 1, 2: 2, 3: 3, 6: 4, 4: 5, 5: 6}
    assert ranking([first, last], "min", is_over=True) == expected
    assert Rung.of_plain({"scores": {"1": 0.5}, "kept": [1]}) == Rung({1: 0.5}, (1,))


def test_importance_is_the_share_of_the_ranks_between_groups() -> None:
    order = [1, 2, 3, 4, 5, 6, 7, 8]
    decides = {number: "a" if number <= 4 else "b" for number in order}
    assert importance(decides, order) == pytest.approx(0.72, abs=0.05)
    assert importance({number: number % 2 for number in order}, order) == 0.0
    valley = {n: abs(4.5 - n) + 0.01 * n for n in order}  # eight distinct numbers, grouped
    assert importance({n: n * 0.1 for n in order}, order) > 0.7  # type: ignore[operator]
    assert importance(valley, order) < 0.3  # type: ignore[operator]
    assert importance(dict.fromkeys(order, 1), order) == 0.0
    assert importance({n: str(n) for n in order}, order) is None


def test_importance_of_many_children_is_the_share_of_each_parameter() -> None:
    """The score is linear: of its variance a has 0.8 and b has 0.2."""
    spec = {"a": {"uniform": [0, 4]}, "b": {"uniform": [0, 2]}, "c": {"integers": [1, 8]}}
    drawn = draws({name: read_parameter(name, s) for name, s in spec.items()}, 1000, 1)  # type: ignore[misc]
    order = sorted(range(1000), key=lambda number: drawn[number]["a"] + drawn[number]["b"])
    found = {
        name: importance({number: drawn[number][name] for number in order}, order) for name in spec
    }
    assert found == {"a": approx(0.8), "b": approx(0.2), "c": approx(0.0)}
    narrow = sorted(order, key=lambda number: abs(drawn[number]["a"] - 1.5))
    assert importance({number: drawn[number]["a"] for number in narrow}, narrow) == approx(1.0)


def approx(share: float) -> Any:
    return pytest.approx(share, abs=0.04)


def test_each_mistake_is_named_before_anything_starts() -> None:
    assert "config, config_id" in problems_of(parameter={})["parameter"]
    assert "`parameters` is missing" in problems_of(parameters=None)["parameters"]
    million = {f"a{n}": list(range(10)) for n in range(6)}
    message = problems_of(parameters=million)["parameters"]
    assert "the grid has 1,000,000 children; a sweep has at most 1,000" in message
    scale = {"learning_rate": {"log_uniform": [1e-4, 1e-2]}}
    assert "set method: random" in problems_of(parameters=scale)["parameters.learning_rate"]
    lacking = problems_of(parameters=scale, method="random")
    assert set(lacking) == {"trials", "seed"}
    assert "`seed` is missing" in lacking["seed"]
    large = problems_of(parameters={"learning_rate": [1e-3]}, trials=1, seed=2**63)
    assert "from 0 to 9,223,372,036,854,775,807" in large["seed"]
    assert "must be grid or random" in problems_of(method="asha")["method"]
    ranges: list[Any] = [{"log_uniform": [0, 1]}, {"uniform": [1, 0]}, {"integers": [1, 2.5]}]
    for spec in (5, *ranges, {"values": []}):
        found = problems_of(parameters={"learning_rate": spec}, trials=2, seed=1)
        assert "`parameters.learning_rate` is" in found["parameters.learning_rate"]
    assert "one of val_loss, val_perplexity" in problems_of(metric="accuracy")["metric"]
    assert "`metric` is ['val_loss']; " in problems_of(metric=["val_loss"])["metric"]
    assert "min or max" in problems_of(goal="down")["goal"]
    assert "1 to 64" in problems_of(max_parallel=0)["max_parallel"]


def test_what_would_be_passed_over_is_refused() -> None:
    grid_with = problems_of(method="grid", trials=4, seed=1)
    assert "a grid, which trains all combinations, has no use for it" in grid_with["trials"]
    assert "set method: random" in grid_with["seed"]
    for values in ([1e-3, "1e-3"], [1, 1.0], [{"a": 1}, {"a": 1}]):
        twice = problems_of(parameters={"learning_rate": values})["parameters.learning_rate"]
        assert "it must have each value once" in twice
    assert plan_of(parameters={"compile": [True, False], "seed": [1, 0]}).numbers == (1, 2, 3, 4)
    parts = {"model_config": [CONFIG["model_config"]], "model_config.num_layers": [1, 2]}
    found = problems_of(parameters=parts)["parameters.model_config.num_layers"]
    assert "is a part of `parameters.model_config`" in found
    often = problems_of(
        parameters={"seed": {"integers": [1, 3]}, "compile": [True, False]}, trials=7, seed=1
    )
    assert "`trials` is 7, and the parameters have 6 different combinations; g" in often["trials"]
    for name in ("name", "dataset_path"):
        assert f"`{name}` is [1]; it must be text" in problems_of(**{name: [1]})[name]


def test_numbers_are_read_as_in_a_configuration_and_shown_as_they_are() -> None:
    plan = plan_of(parameters={"seed": [1, 2, 3]}, halving={"first_rung": "1e1", "factor": 2.0})
    assert (plan.pauses, plan.factor) == ((10, 20, 40, 80), 2)
    drawn = plan_of(parameters={"seed": {"integers": [0, 9]}}, trials="1e1", seed=1)
    assert len(drawn.children) == 10
    text = problems_of(parameters=RATES, trials="4", seed="x", max_parallel="4")
    assert "`trials` is '4'; random needs a whole number" in text["trials"]
    assert "`seed` is 'x'" in text["seed"]
    assert "`max_parallel` is '4'; it must be 1 to 64" in text["max_parallel"]


def test_execution_is_read_strictly() -> None:
    assert plan_of(execution={"priority": "low", "max_retries": 2}).execution == {
        "priority": "low",
        "max_retries": 2,
    }
    found = problems_of(execution={"priority": "urgent", "nods": 2, "max_retries": "x"})
    assert (
        "`execution.priority` is 'urgent'; it must be one of high, default, low"
        in (found["execution.priority"])
    )
    assert (
        "a sweep does not know it; `execution` has priority, processes" in (found["execution.nods"])
    )
    assert (
        "`execution.max_retries` is 'x'; it must be a whole number"
        in (found["execution.max_retries"])
    )
    assert "must be a mapping" in problems_of(execution=[1])["execution"]


def test_a_metric_has_to_be_one_of_every_child() -> None:
    averaged = plan_of(parameters={"ema_decay": [0.8, 0.9]}, metric="ema_val_loss")
    assert averaged.metric == "ema_val_loss"
    some = problems_of(parameters={"ema_decay": [0.8, None]}, metric="ema_val_loss")["metric"]
    assert "which child 2 (ema_decay=null) never has" in some


def test_a_sweep_may_compare_by_the_loss_of_one_source() -> None:
    mixed = CONFIG | {"data": {"sources": [{"path": "a/wiki.txt"}, {"path": "a/code"}]}}
    asked = {"parameters": RATES, "metric": "val_loss/wiki.txt"}
    assert read_plan(asked, mixed).metric == "val_loss/wiki.txt"
    assert "one of val_loss, val_perplexity" in problems_of(metric="val_loss/wiki.txt")["metric"]


def test_values_that_make_an_invalid_configuration_name_child_and_field() -> None:
    found = problems_of(parameters={"learning_rate": [1e-3, -1.0], "bach_size": [4]})
    assert (
        "child 2 (learning_rate=-1.0, bach_size=4): `learning_rate` is -1.0"
        in (found["children[2].learning_rate"])
    )
    assert "did you mean `batch_size`" in found["children[1].bach_size"]
    many = problems_of(parameters={"learning_rate": [-n for n in range(1, 31)]})
    assert list(many) == ["children[1].learning_rate"]
    assert many["children[1].learning_rate"].endswith("; so have 29 more")
    unknown = problems_of(parameters={f"x{n}": [1] for n in range(30)})
    assert unknown["children"] == "and 10 more problems of children"
    drawn = {"batch_size": {"uniform": [1.5, 8]}}
    fractions = problems_of(parameters=drawn, trials=9, seed=1)["children[1].batch_size"]
    assert "write batch_size: {integers: [2, 8]}, or list values; so have 8 more" in fractions


@pytest.mark.parametrize(
    ("halving", "field", "said"),
    [
        (5, "halving", "`halving` is 5; it has `first_rung`"),
        ({"first_rung": 10, "eta": 3}, "halving", "'eta': 3}; it has `first_rung`"),
        ({"factor": 3}, "halving.first_rung", "is missing"),
        ({"first_rung": 15}, "halving.first_rung", "multiple of eval_steps=10, where"),
        ({"first_rung": 90}, "halving.first_rung", "must be below max_steps=90"),
        ({"first_rung": 10, "factor": 7}, "halving.factor", "the number of children, 6"),
        ({"first_rung": 10, "factor": 1}, "halving.factor", "from 2"),
    ],
)
def test_rungs_that_do_not_fit_are_refused(halving: Any, field: str, said: str) -> None:
    assert said in problems_of(halving=halving)[field]


def test_rungs_need_children_of_one_length() -> None:
    parameters = {"max_steps": [60, 90, 120]}
    found = problems_of(parameters=parameters, halving={"first_rung": 10, "factor": 2})
    assert "one length for all children" in found["parameters.max_steps"]
