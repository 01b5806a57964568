"""Rounds of chaos: a stack of real processes is broken in ways that one seed draws.

    make chaos SEED=7 ROUNDS=20              twenty rounds
    make chaos SEED=7 FIRST=13 ROUNDS=1      the thirteenth of them again

A round has three small jobs, which clients at both doors start, stop, resume or delete, watchers of
each job, and one to four faults (`plan.py`). When all jobs have ended, it checks:

- the history of calls and events could have come from one job after another (`history.py`);
- final weights and history are bitwise those of an undisturbed run, and no file of a checkpoint is
  left that is not registered;
- once the jobs are deleted, nothing of them is left in Redis and in the artifact store, and no
  trainer runs.

The stack goes on from round to round. After a round that failed its logs, its history and its plan
are kept, the command that repeats it is printed, and the next round begins on a new stack.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from clients import Client, Clients, JobRun, read_at_random, watch_events, watch_points
from faults import broken
from history import Recorder, problems
from plan import Fault, Plan, draw
from proxied import ProxiedCluster, proxied_cluster
from running_stack import wait_until
from undisturbed import CONFIG, NEVER_GIVE_UP, Result, difference, result_of, write_text

from training_engine import TrainingEngineError, _calls

_TINY: dict[str, Any] = CONFIG | {
    "model_config": CONFIG["model_config"] | {"num_layers": 2, "max_position_embeddings": 32},
    "batch_size": 4,
    "warmup_steps": 5,
    "eval_steps": 8,
    "save_steps": 4,
    "max_checkpoints_to_keep": 2,
    "val_fraction": 0.01,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "short": _TINY | {"max_steps": 12, "seed": 7},
    "long": _TINY | {"max_steps": 24, "seed": 8},
    "ranks": _TINY | {"max_steps": 12, "seed": 9, "distributed": {"strategy": "ddp"}},
}
_LONGEST_ROUND = 300.0
"""Seconds; a busy machine takes minutes to start a worker."""
_SWEPT_SECONDS = 30.0
_STEP = re.compile(r"checkpoint_step_(\d+)\.")
_SWEEPS = "te:jobs:sweep"


def execution_of(config: str) -> dict[str, Any]:
    """How the jobs of a configuration are run."""
    return NEVER_GIVE_UP | ({"processes": 2} if config == "ranks" else {})


@dataclass
class Outcome:
    """How a round went. `made`: the faults that really happened."""

    plan: Plan
    seconds: float = 0.0
    played: float = 0.0
    made: list[Fault] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Stack:
    """A cluster in a folder of its own, and what its jobs come to undisturbed."""

    def __init__(self, folder: Path, expected: dict[str, Result]) -> None:
        self.folder = folder
        self.expected = expected
        self._stack = ExitStack()
        self.cluster: ProxiedCluster = self._stack.enter_context(proxied_cluster(folder))
        write_text(folder)

    def expect(self, config: str) -> Result:
        """What a configuration comes to when nothing happens; trained on the first question."""
        if config not in self.expected:
            with self.cluster.engine() as engine:
                text = str(self.folder / "text.txt")
                job = engine.jobs.start(
                    config=CONFIGS[config], dataset_path=text, execution=execution_of(config)
                )
                self.expected[config] = result_of(engine, job, self.folder)
                assert engine.jobs.get(job.job_id).attempt == 1
                engine.jobs.delete(job.job_id)
        return self.expected[config]

    def close(self) -> None:
        self._stack.close()


class Round:
    """One round on a stack."""

    def __init__(self, stack: Stack, plan: Plan, folder: Path) -> None:
        self.outcome = Outcome(plan)
        self._stack = stack
        self._plan = plan
        self._folder = folder
        folder.mkdir(parents=True)
        for job in plan.jobs:
            stack.expect(job.config)
        self._recorder = Recorder(folder / "history.jsonl")

    def run(self) -> Outcome:
        """Run it and check it."""
        began = time.monotonic()
        clients = Clients(self._stack.cluster, self._recorder, began)
        runs = [
            JobRun(clients, job, CONFIGS[job.config], execution_of(job.config))
            for job in self._plan.jobs
        ]
        faults = self._plan.faults
        with broken(self._stack.cluster, self._recorder, began, faults) as breaker:
            self._play(clients, runs)
        outcome = self.outcome
        outcome.played = time.monotonic() - began
        outcome.made, outcome.problems = breaker.done, [*breaker.problems, *clients.problems]
        if not outcome.problems:
            try:
                self._check_results(runs)
                self._check_nothing_left(clients, runs)
            except (AssertionError, TrainingEngineError) as error:
                outcome.problems.append(f"the results cannot be had: {error!r}")
        outcome.problems += problems(self._recorder.lines())
        self._check_losses()
        outcome.seconds = time.monotonic() - began
        self._recorder.close()
        return outcome

    def _play(self, clients: Clients, runs: Sequence[JobRun]) -> None:
        works = [run.drive for run in runs]
        works += [lambda run=run: watch_events(clients, run) for run in runs]
        works += [lambda run=run: watch_points(clients, run) for run in runs]
        works.append(lambda: read_at_random(clients, runs, str(self._plan.number)))
        threads = [threading.Thread(target=_noting(clients, work), daemon=True) for work in works]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + _LONGEST_ROUND
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in threads):
            clients.note(f"a client has not ended in {_LONGEST_ROUND:g} s")

    def _check_results(self, runs: Sequence[JobRun]) -> None:
        with self._stack.cluster.engine() as engine:
            for run in runs:
                if run.deleted:
                    continue
                result = result_of(engine, engine.jobs.get(run.job_id), self._folder)
                if wrong := difference(result, self._stack.expected[run.plan.config]):
                    self.outcome.problems.append(f"{run.plan.name}: {wrong}")
                kept = {one.step for one in engine.checkpoints.list(run.job_id)}
                if self._is_swept_in_time:
                    self._wait_for_nothing(
                        lambda run=run, kept=kept: _unregistered(self._stack, run.job_id, kept),
                        f"files of checkpoints of {run.plan.name} that are not registered",
                    )

    def _check_losses(self) -> None:
        """Watchers were sent what an undisturbed run measures."""
        expected = {
            job.name: {row[0]: row[1] for row in self._stack.expected[job.config].history}
            for job in self._plan.jobs
        }
        sent = (line for line in self._recorder.lines() if "loss" in line)
        wrong = [line for line in sent if line["loss"] != expected[line["job"]].get(line["step"])]
        self.outcome.problems += [f"a watcher was sent another loss: {line}" for line in wrong[:5]]

    @property
    def _is_swept_in_time(self) -> bool:
        """A sweep that was asked for while Redis' clock was ahead is due an hour later."""
        return not any(fault.kind == "clock" for fault in self.outcome.made)

    def _check_nothing_left(self, clients: Clients, runs: Sequence[JobRun]) -> None:
        client = Client(clients, "cleaner", "grpc")
        for run in runs:
            if not run.deleted:
                client.insist("delete", run.plan.name, _calls.delete_job(run.job_id))
        client.list([run.plan.name for run in runs])
        client.close()
        ids = [run.job_id for run in runs]
        if self._is_swept_in_time:
            self._wait_for_nothing(lambda: _files(self._stack, ids), "files")
            self._wait_for_nothing(lambda: _waiting_for_sweep(self._stack, ids), "sweeps")
        self._wait_for_nothing(lambda: _keys(self._stack, ids), "keys")
        self._wait_for_nothing(lambda: self._stack.cluster.trainers(), "trainers")

    def _wait_for_nothing(self, left: Callable[[], Sequence[object]], what: str) -> None:
        """What is found at first may be on its way out."""
        try:
            wait_until(lambda: not left(), what, _SWEPT_SECONDS)
        except AssertionError:
            self.outcome.problems.append(f"{what} are left over: {left()[:5]}")


def _noting(clients: Clients, work: Any) -> Any:
    def run() -> None:
        try:
            work()
        except Exception as error:
            clients.note(f"a client failed: {error!r}")

    return run


def _files(stack: Stack, ids: Sequence[str]) -> list[str]:
    """What is left of jobs in the artifact store."""
    return [file for id in ids for file in stack.cluster.files(f"jobs/{id}")]


def _keys(stack: Stack, ids: Sequence[str]) -> list[str]:
    """Keys of Redis that name a job or hold its id, and will not expire."""
    with redis.Redis.from_url(stack.cluster.redis.url(), decode_responses=True) as client:
        named = (key for key in client.scan_iter(count=1000) if any(id in key for id in ids))
        keys = [key for key in named if client.ttl(key) == -1]
        indexes = set(client.scan_iter("*jobs:*", count=1000, _type="zset")) - {_SWEEPS}
        return keys + [key for key in indexes if set(client.zrange(key, 0, -1)) & set(ids)]


def _waiting_for_sweep(stack: Stack, ids: Sequence[str]) -> list[str]:
    with redis.Redis.from_url(stack.cluster.redis.url(), decode_responses=True) as client:
        return sorted(set(client.zrange(_SWEEPS, 0, -1)) & set(ids))


def _unregistered(stack: Stack, id: str, registered: set[int]) -> list[str]:
    """Files of a job's checkpoints, half-written ones too, whose step is not a registered one."""
    found = {file: _STEP.search(file) for file in stack.cluster.files(f"jobs/{id}")}
    return [file for file, step in found.items() if step and int(step[1]) not in registered]


class Rounds:
    """Runs rounds, keeps what failed, and counts.

    Args:
        seed: Draws everything, with a round's number.
        folder: Where all that processes write goes; what failed is kept in it.
        keeps_all: Keep the history of rounds that passed, too.
    """

    def __init__(self, seed: int, folder: Path, *, keeps_all: bool = False) -> None:
        self.outcomes: list[Outcome] = []
        self._seed = seed
        self._folder = folder
        self._keeps_all = keeps_all
        self._expected: dict[str, Result] = {}
        self._stack: Stack | None = None
        self._stacks = 0

    def run(self, number: int) -> Outcome:
        """Run the round of this number."""
        if self._stack is None:
            self._stacks += 1
            self._stack = Stack(self._folder / f"stack-{self._stacks}", self._expected)
        plan, folder = draw(self._seed, number), self._folder / f"round-{number}"
        outcome = Round(self._stack, plan, folder).run()
        self.outcomes.append(outcome)
        if outcome.problems:
            self._keep(outcome, folder)
        elif not self._keeps_all:
            shutil.rmtree(folder)
        return outcome

    def _keep(self, outcome: Outcome, folder: Path) -> None:
        """Keep logs, files and the plan; the next round gets a new stack."""
        assert self._stack is not None
        lines = [str(outcome.plan), *outcome.problems]
        (folder / "problems.txt").write_text("\n".join(lines) + "\n")
        for log in [*self._stack.folder.glob("*.log"), *self._stack.folder.glob("redis/*.log")]:
            shutil.copy(log, folder)
        if self._stack.cluster.bucket is None:
            shutil.copytree(self._stack.folder / "artifacts", folder / "artifacts")
        self.close()

    def close(self) -> None:
        """End the stack."""
        if self._stack is not None:
            self._stack.close()
            self._stack = None


def describe(outcome: Outcome) -> str:
    """One line about a round, and one for each problem."""
    made = "; ".join(map(str, outcome.made)) or "no fault"
    lives = ", ".join(job.life for job in outcome.plan.jobs)
    verdict = "FAILED" if outcome.problems else "ok"
    line = f"round {outcome.plan.number}: {verdict} in {outcome.seconds:.1f} s "
    line += f"({outcome.played:.1f} s until all jobs had ended): {made} [{lives}]"
    return "\n    ".join([line, *outcome.problems])


def summary(outcomes: Sequence[Outcome]) -> str:
    """What was broken how often."""
    counts = Counter(
        f"{fault.kind} {fault.kills or fault.victim}" for one in outcomes for fault in one.made
    )
    failed = sum(bool(one.problems) for one in outcomes)
    seconds = sorted(one.seconds for one in outcomes)
    middle = seconds[len(seconds) // 2]
    lines = [f"{len(outcomes)} rounds, {failed} failed, median {middle:.1f} s; faults made:"]
    lines += [f"    {count:4d}  {name}" for name, count in sorted(counts.items())]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run rounds; the exit code is 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Raw)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=1, help="number of the first round")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument(
        "--folder", type=Path, help="a new one under the temporary folder if absent"
    )
    parser.add_argument("--keep", action="store_true", help="keep all histories, with --folder")
    given = parser.parse_args(arguments)
    folder = given.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    rounds = Rounds(given.seed, folder, keeps_all=given.keep)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        for number in range(given.first, given.first + given.rounds):
            outcome = rounds.run(number)
            print(describe(outcome), flush=True)
            if outcome.problems:
                print(f"    kept in {folder / f'round-{number}'}; repeat it with:")
                print(f"    make chaos SEED={given.seed} FIRST={number} ROUNDS=1", flush=True)
    finally:
        rounds.close()
    print(summary(rounds.outcomes))
    failed = any(outcome.problems for outcome in rounds.outcomes)
    if not failed and given.folder is None:
        shutil.rmtree(folder)
    return int(failed)


class _Raw(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the description."""


if __name__ == "__main__":
    sys.exit(main())
