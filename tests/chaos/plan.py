"""What happens in a round, all drawn from its seed before it begins."""

from __future__ import annotations

import random
from dataclasses import dataclass

KINDS = {
    "kill": 6,
    "freeze": 3,
    "terminate": 1,
    "trap": 4,
    "delay": 2,
    "half-open": 2,
    "drop": 2,
    "full disk": 1,
    "torn file": 1,
    "clock": 1,
}
"""The kinds of faults, and how often each is drawn."""

PROCESSES = ("control-plane", "gateway", "worker", "worker-2", "trainer", "redis")
LINKS = ("control-plane", "worker", "worker-2", "grpc", "rest")
"""Connections behind a proxy: of a process with Redis, of clients with a door."""
VICTIMS = {
    "kill": PROCESSES,
    "freeze": PROCESSES,
    "terminate": ("control-plane", "gateway", "worker", "worker-2"),
    "trap": ("control-plane", "worker", "worker-2"),
    "delay": LINKS,
    "half-open": LINKS,
    "drop": LINKS,
    "full disk": ("artifacts", "redis"),
    "torn file": ("redis",),
    "clock": ("redis",),
}
SCRIPTS = {
    "control-plane": (
        *("create_job", "stop_job", "resume_job", "delete_job", "declare_lost", "message"),
        *("read_job", "read_feed", "leader"),
    ),
    "worker": (
        *("claim", "confirm_start", "publish_metrics", "register_checkpoint", "progress"),
        *("remove_checkpoint", "finish", "lease", "append_logs"),
    ),
}
"""The calls at which a trap may wait, by who makes them."""
HELD_SECONDS = (0.2, 2.0)

LIVES = {
    "train": 3,
    "stop and resume": 4,
    "stop, resume earlier": 2,
    "stop and delete": 2,
    "stop at once and resume": 2,
    "stop at once and delete": 1,
}
"""What becomes of a job, and how often each is drawn."""


@dataclass(frozen=True)
class Fault:
    """Something that breaks `at` seconds into the round, for `seconds`.

    `script`, `after`, `kills`: for a trap, the call that it waits for, whether the server has run
    it by then, and which process is killed.
    """

    kind: str
    victim: str
    at: float
    seconds: float
    script: str = ""
    after: bool = False
    kills: str = ""

    def __str__(self) -> str:
        if self.kind == "trap":
            moment = "after" if self.after else "before"
            return f"kill {self.kills} {moment} {self.script} of {self.victim}"
        held = "" if self.kind in ("kill", "terminate", "drop") else f" for {self.seconds:.1f} s"
        return f"{self.kind} {self.victim} at {self.at:.1f} s{held}"


@dataclass(frozen=True)
class JobPlan:
    """A job: its configuration, what becomes of it, by which door, and the pauses in between.

    `repeats`: each change is sent once more after its answer, under the same request id.
    """

    name: str
    config: str
    life: str
    door: str
    watch_door: str
    begins: float
    pause: float
    repeats: bool


@dataclass(frozen=True)
class Plan:
    """A round."""

    number: int
    jobs: tuple[JobPlan, ...]
    faults: tuple[Fault, ...]


def draw(seed: int, number: int) -> Plan:
    """The round of this number under this seed."""
    choose = random.Random(f"{seed}/{number}")
    ranks = choose.random() < 1 / 12
    jobs = tuple(_job(choose, f"round-{number}-{n}", ranks and n == 0) for n in range(3))
    faults = [_fault(choose) for _ in range(choose.choice((1, 2, 2, 3, 3, 4)))]
    if ranks:
        faults[0] = Fault("kill", "rank", choose.uniform(0.5, 3), 0)
    return Plan(number, jobs, tuple(sorted(faults, key=lambda fault: fault.at)))


def _job(choose: random.Random, name: str, ranks: bool) -> JobPlan:
    return JobPlan(
        name,
        "ranks" if ranks else choose.choice(("short", "long")),
        "train" if ranks else _weighted(choose, LIVES),
        *(choose.choice(("grpc", "rest")) for _ in range(2)),
        begins=choose.uniform(0, 0.6),
        pause=choose.uniform(0.1, 1.5),
        repeats=choose.random() < 0.3,
    )


def _fault(choose: random.Random) -> Fault:
    kind = _weighted(choose, KINDS)
    victim = choose.choice(VICTIMS[kind])
    at, seconds = choose.uniform(0, 2.5), choose.uniform(*HELD_SECONDS)
    if kind != "trap":
        return Fault(kind, victim, at, seconds)
    script = choose.choice(SCRIPTS[victim.removesuffix("-2")])
    killed = ["redis", victim, *(["trainer"] * 2 if "worker" in victim else [victim])]
    after = choose.random() < 0.5
    return Fault(kind, victim, at / 2, 3.0, script, after, choose.choice(killed))


def _weighted(choose: random.Random, weights: dict[str, int]) -> str:
    return choose.choices([*weights], [*weights.values()])[0]
