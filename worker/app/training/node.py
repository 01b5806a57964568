"""One machine's part in a run over several, as the process that launches it knows it."""

from __future__ import annotations

import socket
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Node:
    """The place of this machine, and where all of them meet."""

    place: int
    """From 0, which also keeps the store through which all find each other."""
    count: int
    run_id: str
    """The same on all nodes, and of this run alone."""
    host: str
    port: int
    """Where place 0 listens."""
    interface: str
    """The network interface of this machine that the others reach; empty for torch's choice."""
    listener: socket.socket | None = None
    """The listening socket, in place 0."""
