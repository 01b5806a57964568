"""Gateways beside that of the stack."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from running_stack import RunningStack, clean_environment, wait_until


@contextmanager
def gateway_with_token(stack: RunningStack, token: str) -> Iterator[str]:
    """A second gateway of the stack that asks for a token; yields its URL."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "gateway", "--port=0", "--log-format=json"],
        env=clean_environment()
        | {
            "TRAINING_ENGINE_CONTROL_PLANE_ADDRESS": stack.address,
            "TRAINING_ENGINE_AUTH_TOKENS": token,
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        said = process.stderr.readline()
        found = re.search(r'"url": "([^"]+)"', said)
        assert found, said + process.stderr.read()
        url = found[1]
        wait_until(lambda: answers(f"{url}/readyz"), "the gateway to be ready")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)
        process.stderr.close()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.TransportError:
        return False
