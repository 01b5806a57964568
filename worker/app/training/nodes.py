"""A run over several nodes, each with an agent of torchrun that starts its processes.

An agent ends the processes of its own node when one of them fails. Those of other nodes would wait:
at the start for a process that never comes, later without knowing why a connection broke. So each
process says in the agents' store that it has come, and why it ends before its time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from app.training.errors import LostPeerError
from app.transformer.errors import ConfigError, FieldProblem

_PATIENCE_SECONDS = 600.0
"""Between the first process that is ready and the last one."""
_POLL_SECONDS = 0.1
_STORE_SECONDS = 5.0
"""How long a store is looked for that may have gone with its agent."""
_FAILURE = "failure"
_AGENTS = ("torchrun", "torch.distributed.run", "torch/distributed/run.py")


def node_count() -> int:
    """Return the number of nodes that torchrun says this run has; 1 without torchrun."""
    return int(os.environ.get("GROUP_WORLD_SIZE", "1"))


def meet() -> None:
    """Wait until every process of the run is ready.

    Raises:
        LostPeerError: One has failed, or one has not come for ten minutes.
    """
    rank, processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    wait_for_all(_store(_PATIENCE_SECONDS), rank, processes, _PATIENCE_SECONDS)


def wait_for_all(store: Store, rank: int, processes: int, seconds: float) -> None:
    """Enter `rank` in the store and wait until all ranks are there, at most `seconds`.

    Raises:
        LostPeerError: One has failed, or one has not come in time.
    """
    store.set(_arrival(rank), "")
    missing = list(range(processes))
    deadline = time.monotonic() + seconds
    while missing := [each for each in missing if not store.check([_arrival(each)])]:
        if why := _failure_in(store):
            raise LostPeerError(rank, 0, why)
        if time.monotonic() >= deadline:
            names = ", ".join(map(str, missing))
            why = f"of {processes} ranks, {names} did not come within {seconds:g} s; look at what "
            raise LostPeerError(rank, 0, why + "the agents of their nodes print")
        time.sleep(_POLL_SECONDS)


def report_failure(text: str) -> None:
    """Say to the processes of other nodes why this one ends; does nothing on a single node."""
    if node_count() > 1:
        try:
            write_failure(_store(_STORE_SECONDS), os.environ["RANK"], text)
        except dist.DistError:
            return  # the node with the store is gone: its end is the one that counts


def write_failure(store: Store, rank: str, text: str) -> None:
    """Write why a rank ends; the first one that does counts."""
    if not store.check([_FAILURE]):
        store.set(_FAILURE, f"rank {rank} on {os.uname().nodename} ended: {text}")


def find_failure() -> str:
    """Return why a process of the run has ended, as far as it could say so; else nothing."""
    if node_count() == 1:
        return ""
    try:
        return _failure_in(_store(_STORE_SECONDS))
    except dist.DistError:
        return ""


def require_fixed_world(command: Sequence[str] | None = None) -> None:
    """Refuse a run to which torchrun would add nodes while it trains.

    Args:
        command: that started the agent; None for this process's parent.

    Raises:
        ConfigError: The agent was started with a range of nodes.
    """
    given = _nodes_of_agent(command or _command_of(os.getppid()))
    least, _, most = given.partition(":")
    if most in ("", least):
        return
    message = (
        f"`--nnodes` is {given}; it must be one number, since with a range a node that joins ends "
        f"the run on all nodes; write --nnodes {most}, and start again with --resume where another "
        "number of nodes is to go on"
    )
    raise ConfigError([FieldProblem("--nnodes", message)])


def _nodes_of_agent(command: Sequence[str]) -> str:
    """Return `--nnodes` of a command line of torchrun as it was given; of others nothing."""
    from torch.distributed.run import get_args_parser

    for place, word in enumerate(command):
        if word.endswith(_AGENTS):
            return str(get_args_parser().parse_args(list(command[place + 1 :])).nnodes)
    return ""


def _command_of(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    except OSError:  # another system than Linux
        return []


def _store(seconds: float) -> Store:
    """Return a connection of its own to the agents' store.

    Raises `torch.distributed.DistError` where that cannot be reached for so long.
    """
    opened, _, _ = next(rendezvous("env://", timeout=timedelta(seconds=seconds)))
    return PrefixStore(f"nodes/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", opened)


def _failure_in(store: Store) -> str:
    return store.get(_FAILURE).decode() if store.check([_FAILURE]) else ""


def _arrival(rank: int) -> str:
    return f"come/{rank}"
