"""Proxies that the environment names: which one a connection takes, and where none is in place.

Between a machine and itself a proxy is only in the way, so loopback addresses never take one.
"""

from __future__ import annotations

import ipaddress
import os
import re
import urllib.request
from urllib.parse import urlsplit

_GRPC_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")
"""In the order in which gRPC reads them; it knows no others, and none in capitals."""
_GRPC_EXCEPTIONS = ("no_grpc_proxy", "no_proxy")
_GRPC_SCHEME = re.compile(r"^(dns|ipv4|ipv6):(///?)?")


def host_of(address: str) -> str:
    """Return the host in a URL or a gRPC address: `HOST:PORT`, `dns:///HOST:PORT`."""
    rest = _GRPC_SCHEME.sub("", address)
    return urlsplit(rest if "://" in rest else f"//{rest}").hostname or ""


def is_loopback(address: str) -> bool:
    """Return True for an address or a URL that only this machine can reach."""
    try:
        host = host_of(address)
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def grpc_options(address: str) -> list[tuple[str, int]]:
    """Return the channel options that keep proxies out of a connection to this machine."""
    return [("grpc.enable_http_proxy", 0)] if is_loopback(address) else []


def grpc_variable(address: str) -> str | None:
    """Return the variable whose proxy a gRPC channel takes, or None."""
    if is_loopback(address):
        return None
    name = next((name for name in _GRPC_VARIABLES if os.environ.get(name)), None)
    around = next((os.environ[name] for name in _GRPC_EXCEPTIONS if os.environ.get(name)), "")
    endings = [part.strip() for part in around.split(",") if part.strip()]
    return None if host_of(address).endswith(tuple(endings)) else name


def http_variable(url: str) -> str | None:
    """Return the variable whose proxy a request to `url` takes, or None."""
    if is_loopback(url) or urllib.request.proxy_bypass(host_of(url)):
        return None
    for name in (f"{urlsplit(url).scheme}_proxy", "all_proxy"):
        for spelled in (name, name.upper()):
            if os.environ.get(spelled):
                return spelled
    return None
