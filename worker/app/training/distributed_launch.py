"""Starts the processes of one run on this machine, under torchrun's own elastic agent.

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

from torch.distributed import TCPStore  # type: ignore[attr-defined]
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
from app.training.errors import LostPeerError, TrainingError
from app.training.parent_signals import end_with_parent

_BACKEND = "loopback"
_LOOPBACK = "127.0.0.1"
_TALKATIVE = ("torch.distributed.elastic", "torch.distributed.launcher", "torch.multiprocessing")
_IMPORTED_LATE = ("torch._dynamo", "torch.distributed.fsdp", "torch.distributed.tensor")
"""Modules that optimizers and sharding import late: here once, not in each process."""
_AGENT_NOTICES_SECONDS = 5.0
"""It looks many times a second, and ends all others when it finds one gone."""


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


def launch(function: Callable[[], object], processes: int) -> None:
    """Call `function` in each of `processes` new processes; return when all have returned.

    Each has RANK, WORLD_SIZE and the like in its environment, where a `Trainer` looks for them.
    An exception ends its process with a traceback and code 1; `SystemExit` with its own code.
    They are not restarted: the caller knows the checkpoints. Signals are the caller's
    to handle and to pass on; processes end with the caller's main thread, whatever ends that.

    Raises:
        ProcessFailedError: One of the processes ended before its time; the others were ended then.
    """
    for name in _IMPORTED_LATE:
        importlib.import_module(name)
    entrypoint = elastic_launch(_launch_config(processes), _run_rank)
    with _quiet_agent(), _environment(TORCHELASTIC_SIGNALS_TO_HANDLE=None):
        try:
            entrypoint(function, os.getpid())
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            raise ProcessFailedError(rank, processes, failure.exitcode) from None


def _launch_config(processes: int) -> LaunchConfig:
    # It looks for GPUs, by a way that would make them unusable in forked processes.
    with _environment(PYTORCH_NVML_BASED_CUDA_CHECK="1"):
        return LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=uuid.uuid4().hex,
            role="trainer",
            rdzv_backend=_BACKEND,
            rdzv_endpoint=_LOOPBACK,
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


class _LoopbackRendezvous(RendezvousHandler):
    """A rendezvous of one agent with itself: a store for its processes, on loopback only.

    torchrun's own would listen on all interfaces.
    """

    def __init__(self, parameters: RendezvousParameters) -> None:
        self._run_id = parameters.run_id
        self._socket = socket.create_server((_LOOPBACK, 0))
        port: int = self._socket.getsockname()[1]
        self._place = RendezvousStoreInfo(_LOOPBACK, port)
        self._store = TCPStore(
            _LOOPBACK,
            port,
            is_master=True,
            wait_for_workers=False,
            timeout=timedelta(minutes=5),
            master_listen_fd=self._socket.fileno(),
        )
        self._socket.detach()  # the store closes it

    @property
    def use_agent_store(self) -> bool:
        return True

    def get_backend(self) -> str:
        return _BACKEND

    def next_rendezvous(self) -> RendezvousInfo:
        return RendezvousInfo(self._store, 0, 1, self._place)

    def is_closed(self) -> bool:
        return False

    def set_closed(self) -> None:
        pass

    def num_nodes_waiting(self) -> int:
        return 0

    def get_run_id(self) -> str:
        return self._run_id

    def shutdown(self) -> bool:
        return True


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


rendezvous_handler_registry.register(_BACKEND, _LoopbackRendezvous)
