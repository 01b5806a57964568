"""Sweeps on real training: halving finds the grid's best child, whatever is killed on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from cluster import Cluster
from running_stack import wait_until
from undisturbed import CONFIG, NEVER_GIVE_UP

from training_engine import TrainingEngine
from training_engine.records import Sweep

pytestmark = pytest.mark.slow

RATES = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.1]
STEPS = 72
HALVING = {"first_rung": 8, "factor": 3}
RUNGS = ((8, 2), (24, 1), (72, 0))
"""Where each ends, and how many of its children go on."""
CONFIG_OF_ALL = CONFIG | {
    "max_steps": STEPS,
    "eval_steps": 8,
    "eval_batches": 8,
    "full_final_eval": False,
    "save_steps": 8,
    "logging_steps": 8,
    "warmup_steps": 2,
}


def start(services: Cluster, engine: TrainingEngine, **asked: Any) -> str:
    document = {
        "config": CONFIG_OF_ALL,
        "parameters": {"learning_rate": RATES},
        "execution": NEVER_GIVE_UP,
        "dataset_path": str(services.folder / "text.txt"),
    }
    return engine.sweeps.start(document | asked).sweep_id


def steps_of(sweep: Sweep) -> int:
    return sum(child.current_step for child in sweep.children)


def pruned(engine: TrainingEngine, grid: Sweep) -> list[tuple[int, int, float]]:
    """What halving makes of the grid's runs, undisturbed: child, last rung and score, by rank."""
    losses = {
        child.number: {p.step: p.val_loss for p in engine.metrics.history(child.job_id or "")}
        for child in grid.children
    }
    ranking: list[tuple[int, int, float]] = []
    members = list(losses)
    for rung, (step, places) in enumerate(RUNGS, 1):
        scores = {number: losses[number][step] or 0.0 for number in members}
        ordered = sorted(members, key=lambda number: (scores[number], number))
        ranking[:0] = [(number, rung, scores[number]) for number in ordered[places:]]
        members = ordered[:places]
    return ranking


def weights(engine: TrainingEngine, job_id: str | None, folder: Path) -> dict[str, torch.Tensor]:
    newest = engine.jobs.get(job_id or "").checkpoints()[-1]
    assert newest.step == STEPS
    path = engine.checkpoints.download(newest.checkpoint_id, folder / f"{job_id}.pt")
    loaded: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["model_state_dict"]
    return loaded


def test_halving_finds_the_grids_best_and_kills_change_nothing(
    services: Cluster, tmp_path: Path
) -> None:
    with services.engine() as engine:
        services.pace.set(0)
        grid = engine.sweeps.wait(start(services, engine), timeout=120)
        services.pace.set(0.01)
        started = start(services, engine, halving=HALVING)
        for rungs, victim in enumerate(("worker", "control-plane")):
            wait_until(
                lambda rungs=rungs: (
                    engine.sweeps.get(started).rungs_decided >= rungs and services.trainer()
                ),
                f"a trainer after {rungs} rungs",
            )
            services.kill(victim)
            services.start(victim)
        halved = engine.sweeps.wait(started, timeout=120)
        assert (grid.status, halved.status) == ("succeeded", "succeeded"), halved.message
        assert steps_of(halved) <= 0.4 * steps_of(grid)

        by_rank = sorted(halved.children, key=lambda child: child.rank or 0)
        assert [(c.number, c.rung, c.score) for c in by_rank] == pruned(engine, grid)
        best, least = by_rank[0], min(child.score or 0 for child in grid.children)
        assert best.score is not None
        assert best.score <= 1.01 * least
        straight = grid.children[best.number - 1].job_id
        expected, found = (weights(engine, each, tmp_path) for each in (straight, best.job_id))
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[name], found[name]) for name in expected)
        attempts = sum(engine.jobs.get(c.job_id or "").attempt for c in halved.children)
        assert attempts > sum(c.rung for c in halved.children)
