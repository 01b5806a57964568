"""The processes of one run: the rank of this one, and the values that they exchange.

`join` reads the environment that a launcher (`distributed_launch`, torchrun) made and gives the
trainer a `Ranks`: alone, where everything is already agreed, or a `ProcessGroup`. Control values
travel between the hosts' memories (gloo), so that no step waits for a GPU.
"""

from __future__ import annotations

import atexit
import io
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from app.training.config import TrainingConfig
from app.training.nodes import meet, node_count, require_fixed_world
from app.training.parent_signals import end_with_parent
from app.training.precision import choose_device
from app.transformer.errors import ConfigError, FieldProblem

_TIMEOUT = timedelta(days=1)
"""A process that dies is noticed at once, by its connections; one that tokenizes or writes a large
checkpoint while the others wait must not be taken for dead."""
_LOST_PEER_MESSAGES = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "[gloo]",
    "/gloo/",
)


class Ranks:
    """The ranks of a run of one process: collectives return their input."""

    rank = 0
    """Index of this process, from 0; 0 is the one that writes and reports."""
    world_size = 1
    """Processes of the run."""
    strategy = "one process"

    def __init__(self, device: torch.device) -> None:
        self.device = device
        """Where this process computes."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes checkpoints and metrics and calls the callbacks."""
        return self.rank == 0

    @property
    def local_size(self) -> int:
        """Processes of the run on this machine."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", self.world_size))

    @property
    def is_first_of_node(self) -> bool:
        """Whether this is the process of its machine that prepares what all of them read."""
        return int(os.environ.get("LOCAL_RANK", self.rank)) == 0

    @property
    def description(self) -> str:
        """Number of processes and strategy as text; a run's exact bits depend on them."""
        return "1" if self.world_size == 1 else f"{self.world_size} ({self.strategy})"

    def any(self, flag: bool) -> bool:
        """Whether the flag is True in any process; the same answer in all."""
        return flag

    def sum(self, number: int) -> int:
        """Return the sum over all processes."""
        return number

    def sums(self, *numbers: int) -> tuple[int, ...]:
        """Return each number's sum over all processes."""
        return numbers

    def sum_tensor(self, tensor: Tensor) -> None:
        """Replace a tensor on the device by its sum over all processes."""

    def barrier(self) -> None:
        """Wait until every process has called this."""

    @contextmanager
    def first_of_node_first(self) -> Iterator[None]:
        """Run the body in one process of each node before the others, which find its results.

        Each node may have a cache of its own.
        """
        if not self.is_first_of_node:
            self.barrier()
        yield
        if self.is_first_of_node:
            self.barrier()

    def gather(self, state: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the states of all processes by rank, in rank 0; elsewhere nothing."""
        return [dict(state)]

    def broadcast(self, text: str) -> str:
        """Return rank 0's text in every process."""
        return text


class ProcessGroup(Ranks):
    """One of several processes; every method is to be called by all of them, in the same order.

    Args:
        device: of this process.
        strategy: "ddp" or "fsdp".
    """

    def __init__(self, device: torch.device, strategy: str) -> None:
        super().__init__(device)
        if not dist.is_initialized():
            _keep_to_loopback()
            if node_count() > 1:
                meet()
            backend = "nccl" if device.type == "cuda" else "gloo"
            dist.init_process_group(backend, timeout=_TIMEOUT if backend == "gloo" else None)
            atexit.register(leave)
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()
        self.strategy = strategy
        self._hosts = dist.new_group(backend="gloo", timeout=_TIMEOUT)

    def any(self, flag: bool) -> bool:
        return self.sum(int(flag)) > 0

    def sum(self, number: int) -> int:
        return self.sums(number)[0]

    def sums(self, *numbers: int) -> tuple[int, ...]:
        totals = torch.tensor(numbers, dtype=torch.int64)
        dist.all_reduce(totals, group=self._hosts)
        return tuple(totals.tolist())

    def sum_tensor(self, tensor: Tensor) -> None:
        dist.all_reduce(tensor)

    def barrier(self) -> None:
        dist.barrier(group=self._hosts)

    def gather(self, state: Mapping[str, Any]) -> list[dict[str, Any]]:
        # Not torch's gather_object, which unpickles what it receives.
        mine = _to_bytes(state)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world_size)]
        dist.all_gather(sizes, torch.tensor([len(mine)]), group=self._hosts)
        longest = max(int(size) for size in sizes)
        padded = torch.zeros(longest, dtype=torch.uint8)
        padded[: len(mine)] = mine
        room = [torch.empty_like(padded) for _ in sizes] if self.is_main else None
        dist.gather(padded, room, group=self._hosts)
        pairs = zip(room or [], sizes, strict=False)
        return [_from_bytes(received[: int(size)]) for received, size in pairs]

    def broadcast(self, text: str) -> str:
        data = torch.tensor(list(text.encode()), dtype=torch.uint8)
        size = torch.tensor([len(data)])
        dist.broadcast(size, 0, group=self._hosts)
        if not self.is_main:
            data = torch.empty(int(size), dtype=torch.uint8)
        dist.broadcast(data, 0, group=self._hosts)
        return bytes(data.tolist()).decode()


def join(config: TrainingConfig) -> Ranks:
    """Return this process's place in the run that the configuration describes.

    Raises:
        ConfigError: The run has another number of processes than the configuration asks for, the
            machine lacks their devices, or torchrun was started for a range of nodes.
        LostPeerError: A process of another node has failed, or does not come.
    """
    if dist.is_torchelastic_launched():
        require_fixed_world()
        end_with_parent(os.getppid())  # the agent, whose end the other nodes are to notice
    actual, expected = _world_size(), expected_processes(config)
    if config.distributed is not None and config.distributed.processes is None and actual > 1:
        expected = actual
    if expected != actual:
        raise ConfigError([_misfit(config, expected, actual)])
    if config.distributed is None or actual == 1:
        return Ranks(choose_device(config.device))
    return ProcessGroup(_device_of_rank(config.device, actual), config.distributed.strategy)


def leave() -> None:
    """End this process's part in the group, if it has one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def expected_processes(config: TrainingConfig) -> int:
    """Return the number of processes asked for: one for each GPU where that is left open."""
    if config.distributed is None:
        return 1
    if config.distributed.processes is not None:
        return config.distributed.processes
    return max(1, torch.cuda.device_count()) if config.device in ("auto", "cuda") else 1


def is_launched() -> bool:
    """Whether a launcher started this process as one of several."""
    return _world_size() > 1


def is_lost_peer(error: BaseException) -> bool:
    """Whether an error only says that another process of the run is gone."""
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and any(
        sign in str(error) for sign in _LOST_PEER_MESSAGES
    )


def _world_size() -> int:
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size()
    return int(os.environ.get("WORLD_SIZE", "1"))


def _misfit(config: TrainingConfig, expected: int, actual: int) -> FieldProblem:
    if config.distributed is None:
        message = (
            f"this is one of {actual} processes, and `distributed` is not set: each would train "
            "the whole run; set `distributed: {strategy: ddp}`, or start one process"
        )
        return FieldProblem("distributed", message)
    here = "this is a process of its own" if actual == 1 else f"this is one of {actual} processes"
    message = (
        f"`distributed.processes` is {expected}, and {here}; start as many: `python train.py` "
        f"does, `torchrun --nproc-per-node {expected} SCRIPT` does for a script, and so does "
        "`app.training.distributed_launch.launch` for a function"
    )
    return FieldProblem("distributed.processes", message)


def _device_of_rank(name: str, processes: int) -> torch.device:
    """Return the device of this process: of several GPUs each process has one of its own."""
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if name not in ("auto", "cuda"):
        message = (
            f"`device` is {name!r}, one device, and the run has {processes} processes; use cuda, "
            "where each has one of its own, or cpu"
        )
        raise ConfigError([FieldProblem("device", message)])
    index, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if index >= count:
        here = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
        share = "" if here == processes else f", {here} of them here,"
        message = (
            f"`distributed.processes` is {processes}{share} and this machine has {count} CUDA "
            "devices; each process needs its own; ask for fewer processes, or for device cpu"
        )
        raise ConfigError([FieldProblem("distributed.processes", message)])
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    return device


def _keep_to_loopback() -> None:
    """Keep the processes of one machine to loopback; a host's name may not even resolve."""
    if os.environ.get("LOCAL_WORLD_SIZE") == os.environ.get("WORLD_SIZE"):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")


def _to_bytes(state: Mapping[str, Any]) -> Tensor:
    file = io.BytesIO()
    torch.save(dict(state), file)
    return torch.frombuffer(file.getbuffer(), dtype=torch.uint8)


def _from_bytes(data: Tensor) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(io.BytesIO(data.numpy().tobytes()), weights_only=True)
    return loaded
