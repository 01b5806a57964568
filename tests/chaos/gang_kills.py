"""Kills among the workers of a job over several nodes, as a seed draws them."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from contextlib import suppress

import psutil
from cluster import ENDED, Cluster
from running_stack import wait_until

from training_engine import Job

_LONGEST_PAUSE = 4.0
"""Seconds from one kill to the next: some hit workers that come together, some a run."""
_MOST_STEPS = 25
_KINDS = ("worker", "machine", "agent", "first rank", "rank", "any")


class GangKills:
    """Kills processes of the workers and starts workers that it has killed.

    Attributes:
        told: What was killed and when, one line for each.
    """

    def __init__(self, services: Cluster, workers: Sequence[str], seed: int) -> None:
        self._services, self._workers = services, workers
        self._choose = random.Random(seed)
        self._began = time.monotonic()
        self.told: list[str] = []

    def kill(self, job: Job) -> None:
        """Kill one after a drawn number of steps or seconds, unless the job has ended."""
        self._wait(job)
        now = job.refresh()
        if now.status in ENDED:
            return
        there = {kind: self._with(kind) for kind in _KINDS}
        kind = self._choose.choice([kind for kind in _KINDS if there[kind]])
        worker = self._choose.choice(there[kind])
        at = f"{time.monotonic() - self._began:.0f} s, attempt {now.attempt} {now.status}"
        self.told.append(f"{at}, step {now.current_step}: {kind} of {worker}")
        victims = self._victims(kind, worker)
        for victim in victims:
            with suppress(psutil.NoSuchProcess):
                victim.kill()
        parent = self._services.processes[worker]
        if parent.pid in [victim.pid for victim in victims]:
            parent.wait(timeout=10)
            self._services.start(worker)

    def _wait(self, job: Job) -> None:
        if self._choose.random() < 0.5:
            time.sleep(self._choose.uniform(0, _LONGEST_PAUSE))
            return
        steps = self._choose.randint(1, _MOST_STEPS)

        def is_reached() -> bool:
            now = job.refresh()
            done = now.current_step - (now.resumed_from_step or 0)
            return now.status in ENDED or (now.status == "running" and done >= steps)

        wait_until(is_reached, f"{steps} steps of an attempt", 240)

    def _with(self, kind: str) -> list[str]:
        """The workers that have such a process now."""
        return [name for name in self._workers if self._victims(kind, name)]

    def _victims(self, kind: str, worker: str) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self._services.processes[worker].pid)
            children = parent.children()
            agents = [child for child in children if child.children()]
            ranks = [rank for agent in agents for rank in agent.children()]
            match kind:
                case "worker":
                    return [parent]
                case "machine":
                    return [parent, *parent.children(recursive=True)]
                case "agent":
                    return agents[:1]
                case "first rank":
                    first = self._services.trainer(worker)
                    return [first] if first else []
                case "rank":
                    return ranks[:1]
                case _:
                    everyone = [parent, *parent.children(recursive=True)]
                    return [self._choose.choice(everyone)]
        return []
