"""Starts the processes of a run that this machine has, under torchrun's own elastic agent.

    from app.training.distributed_launch import launch

    launch(train, processes=2)    # `train` makes a Trainer and calls its train()

The processes are forked, so that they find everything imported; the one that launches must not
have used a GPU. None of them outlives it.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import socket
import sys
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from torch.distributed import DistError, PrefixStore, TCPStore  # type: ignore[attr-defined]
from torch.distributed.elastic.multiprocessing import LogsDest, LogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import (
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStoreInfo,
    rendezvous_handler_registry,
)
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from app.training.cores import share_cores
from app.training.distributed import leave
from app.training.errors import LostPeerError, TrainingError, UnreachableNodeError
from app.training.node import Node
from app.training.parent_signals import end_with_parent

_BACKEND = "fixed"
_LOOPBACK = "127.0.0.1"
_TALKATIVE = ("torch.distributed.elastic", "torch.distributed.launcher", "torch.multiprocessing")
_IMPORTED_BY_RANKS = ("torch._dynamo", "torch.distributed.fsdp", "torch.distributed.tensor")
_AGENT_NOTICES_SECONDS = 5.0
"""It looks many times a second, and ends all others when it finds one gone."""
_CONNECT_SECONDS = 30.0
"""The first machine listens before the others hear of it."""
_STORE_TIMEOUT = timedelta(minutes=5)


class ProcessFailedError(TrainingError):
    """One of the processes ended before its time; the others were ended then."""

    def __init__(self, rank: int, processes: int, exit_code: int) -> None:
        self.rank = rank
        self.exit_code = exit_code
        """As `multiprocessing` has it: negative for a signal."""
        how = f"exited with code {exit_code}"
        if exit_code < 0:
            how = f"was ended by {signal.Signals(-exit_code).name}"
        super().__init__(
            f"process {rank} of {processes} (counted from 0) {how}, and the run with it; look at "
            "what it printed, and resume from the last checkpoint"
        )


def import_for_ranks() -> None:
    """Import what only several processes need; a process forked from this one has it at once.

    The first call takes seconds, as long as the import of torch.
    """
    for name in _IMPORTED_BY_RANKS:
        importlib.import_module(name)


def launch(function: Callable[[], object], processes: int, node: Node | None = None) -> None:
    """Call `function` in each of `processes` new processes; return when all have returned.

    `node`: where other machines take part, each with as many processes. The number of nodes is
    fixed; when one is lost, the processes of the others end by an error.

    Each has RANK, WORLD_SIZE and the like in its environment, where a `Trainer` looks for them.
    An exception ends its process with a traceback and code 1; `SystemExit` with its own code.
    They are not restarted: the caller knows the checkpoints. Signals are the caller's
    to handle and to pass on; processes end with the caller's main thread, whatever ends that.

    Raises:
        ProcessFailedError: One of the processes ended before its time; the others were ended then.
        UnreachableNodeError: The machine with place 0 does not answer.
    """
    import_for_ranks()
    entrypoint = elastic_launch(_launch_config(processes, node), _run_rank)
    interface = node.interface or None if node else None
    with (
        _quiet_agent(),
        _environment(
            TORCHELASTIC_SIGNALS_TO_HANDLE=None,
            GLOO_SOCKET_IFNAME=os.environ.get("GLOO_SOCKET_IFNAME", interface),
            NCCL_SOCKET_IFNAME=os.environ.get("NCCL_SOCKET_IFNAME", interface),
        ),
    ):
        try:
            entrypoint(function, os.getpid())
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            raise ProcessFailedError(rank, processes, failure.exitcode) from None


def _launch_config(processes: int, node: Node | None) -> LaunchConfig:
    nodes = node.count if node else 1
    # It looks for GPUs, by a way that would make them unusable in forked processes.
    with _environment(PYTORCH_NVML_BASED_CUDA_CHECK="1"):
        return LaunchConfig(
            min_nodes=nodes,
            max_nodes=nodes,
            nproc_per_node=processes,
            run_id=node.run_id if node else uuid.uuid4().hex,
            role="trainer",
            rdzv_backend=_BACKEND,
            rdzv_endpoint=_LOOPBACK,
            rdzv_configs={"node": node},
            max_restarts=0,
            monitor_interval=0.05,
            start_method="fork",
            logs_specs=_SharedStreams(),
            # Signals stay with the caller, which decides what they mean for the run.
            signals_to_handle="",
        )


def _run_rank(function: Callable[[], object], launcher: int) -> None:
    """Run a forked process; never raise into the code that it was forked from."""
    end_with_parent(launcher)
    share_cores(int(os.environ["LOCAL_WORLD_SIZE"]))
    try:
        function()
        leave()
    except SystemExit as error:
        if error.code:
            _exit(error.code if isinstance(error.code, int) else 1)
    except BaseException as error:
        traceback.print_exc()
        if isinstance(error, LostPeerError):
            # Else the agent, which names one of those that it finds ended, might name this one.
            threading.Event().wait(_AGENT_NOTICES_SECONDS)
        _exit(1)


def _exit(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


class _SharedStreams(LogsSpecs):
    """All processes print to where the launcher prints; no files."""

    def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
        none = dict.fromkeys(envs, "")
        return LogsDest(stdouts=none, stderrs=none, error_files=dict.fromkeys(envs, os.devnull))

    @property
    def root_log_dir(self) -> str:
        return ""


class _FixedRendezvous(RendezvousHandler):
    """A rendezvous of agents that know their places: a store for them and their processes.

    One agent alone meets itself, on loopback only; torchrun's own would listen on all interfaces.
    """

    def __init__(self, parameters: RendezvousParameters) -> None:
        self._node: Node = parameters.config["node"] or _alone(parameters.run_id)
        self._address = RendezvousStoreInfo(self._node.host, self._node.port)
        # What a worker of another run says, should it come here, means nothing.
        self._store = PrefixStore(self._node.run_id, _open_store(self._node))

    @property
    def use_agent_store(self) -> bool:
        return True

    def get_backend(self) -> str:
        return _BACKEND

    def next_rendezvous(self) -> RendezvousInfo:
        return RendezvousInfo(self._store, self._node.place, self._node.count, self._address)

    def is_closed(self) -> bool:
        return False

    def set_closed(self) -> None:
        pass

    def num_nodes_waiting(self) -> int:
        return 0

    def get_run_id(self) -> str:
        return self._node.run_id

    def shutdown(self) -> bool:
        return True


def _open_store(node: Node) -> TCPStore:
    listener = node.listener
    try:
        store = TCPStore(
            node.host,
            node.port,
            is_master=listener is not None,
            wait_for_workers=False,
            timeout=timedelta(seconds=_CONNECT_SECONDS),
            master_listen_fd=listener.fileno() if listener else None,
        )
    except DistError as error:
        raise UnreachableNodeError(node.place, node.host, node.port, _CONNECT_SECONDS) from error
    if listener is not None:
        listener.detach()  # the store closes it
    store.set_timeout(_STORE_TIMEOUT)
    return store


def _alone(run_id: str) -> Node:
    listener = socket.create_server((_LOOPBACK, 0))
    return Node(0, 1, run_id, _LOOPBACK, listener.getsockname()[1], "", listener)


@contextmanager
def _quiet_agent() -> Iterator[None]:
    """Silence the agent's own long account of a failure; `ProcessFailedError` says what matters."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


@contextmanager
def _environment(**values: str | None) -> Iterator[None]:
    """Set variables within the context and restore them afterwards; None: only restore."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update({name: value for name, value in values.items() if value is not None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


rendezvous_handler_registry.register(_BACKEND, _FixedRendezvous)
