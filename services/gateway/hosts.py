"""Reads the hosts that requests name; strictly, because they decide which requests are let in."""

from __future__ import annotations

import ipaddress
import re

# One whole host of RFC 3986 and at most a port behind it; `[::1].evil.example` does not match.
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{0,5}))?")
_ORIGIN = re.compile(r"(https?)://(.+)")
_DEFAULT_PORTS = {"http": 80, "https": 443}

Host = tuple[str, int | None]
"""A name in lower case, or an address without brackets, and the port where one is named."""


def read_host(value: str) -> Host | None:
    """Return the value of a Host header; None where it is not exactly one host."""
    match = _AUTHORITY.fullmatch(value)
    if match is None:
        return None
    address, name, port = match.groups()
    if address is not None and not is_address(address):
        return None
    return (address or name).lower().rstrip("."), int(port) if port else None


def is_address(name: str) -> bool:
    """Whether `name` is a plain IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_local_or_address(name: str) -> bool:
    """Whether `name` cannot belong to an attacker's page.

    Such a page has a name of its own. It can rebind that name to this machine, but not an address.
    """
    return name == "localhost" or name.endswith(".localhost") or is_address(name)


def is_origin_of(origin: str, host: str) -> bool:
    """Whether a page of `origin`, the value of that header, came from `host`, the value of Host."""
    match = _ORIGIN.fullmatch(origin)
    there = read_host(match[2]) if match else None
    here = read_host(host)
    if match is None or there is None or here is None:
        return False
    port = _DEFAULT_PORTS[match[1]]
    return (there[0], there[1] or port) == (here[0], here[1] or port)
