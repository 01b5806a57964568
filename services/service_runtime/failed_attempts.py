"""Slows clients that try wrong tokens, each of them and all together.

Only failures count: a client that never sends a wrong token never waits, whatever others do.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

_CLIENT_BURST = 10
_CLIENT_SECONDS = 6.0
"""A client may fail ten times at once, and then once in six seconds."""
_OVERALL_BURST = 100
_OVERALL_SECONDS = 0.2
"""All clients may fail a hundred times at once, and then five times a second."""
_MAX_CLIENTS = 10_000
_IPV6_NETWORK_BITS = 64


class FailedAttempts:
    """Which clients have to wait before the next attempt, and for how long.

    Each count is stored as one moment: when all its failures will be forgotten, each of which
    takes one interval (the generic cell rate algorithm).
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._clients: OrderedDict[str, float] = OrderedDict()
        self._overall = self._latest = 0.0

    def has_any(self) -> bool:
        """Whether a failure of any client is still counted; else none has to wait."""
        return self._latest > self._clock()

    def seconds_to_wait(self, address: str) -> float:
        """Return the seconds until the client at `address` may try again; 0 where it may now."""
        now = self._clock()
        forgotten = self._clients.get(_network(address), 0.0)
        if forgotten <= now:  # it has not failed lately: others cannot lock it out
            return 0.0
        own = forgotten - now - (_CLIENT_BURST - 1) * _CLIENT_SECONDS
        overall = self._overall - now - (_OVERALL_BURST - 1) * _OVERALL_SECONDS
        return max(own, overall, 0.0)

    def failed(self, address: str) -> None:
        """Count a wrong token from `address`."""
        now = self._clock()
        client = _network(address)
        self._overall = max(self._overall, now) + _OVERALL_SECONDS
        self._clients[client] = max(self._clients.pop(client, 0.0), now) + _CLIENT_SECONDS
        self._latest = max(self._latest, self._clients[client])
        if len(self._clients) > _MAX_CLIENTS:
            self._clients.popitem(last=False)


def _network(address: str) -> str:
    """Return an IPv6 address as its network of 64 bits: one client may use any address of it."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, _IPV6_NETWORK_BITS), strict=False))
