"""What every transport is built with, and where its settings come from."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from training_engine._texts import check_text
from training_engine.errors import InvalidArgumentError

ADDRESS_VARIABLE = "TRAINING_ENGINE_ADDRESS"
URL_VARIABLE = "TRAINING_ENGINE_URL"
TOKEN_VARIABLE = "TRAINING_ENGINE_TOKEN"
DEFAULT_ADDRESS = "localhost:50051"
DEFAULT_URL = "http://localhost:8000"
#: How long a stream may be silent before it counts as broken; servers ping every 15 to 20 s.
STREAM_SILENCE_SECONDS = 60.0
CHUNK_BYTES = 1 << 20
_LONGEST_SECONDS = 1e6
"""Eleven days; a deadline of gRPC or a socket holds no more than some months."""


@dataclass(frozen=True)
class Options:
    """How an engine talks.

    Attributes:
        timeout: Seconds that one call may take.
        retry_for: Seconds for which calls that are safe to repeat bear an absent service.
        reconnect_for: Seconds for which a broken stream or download is taken up again, counted
            from the last thing that arrived.
        token: Access token, or None.
        tls: Encrypt gRPC; REST goes by its URL.

    Raises:
        InvalidArgumentError: One of the times cannot be waited for.
    """

    timeout: float = 30.0
    retry_for: float = 10.0
    reconnect_for: float = 300.0
    token: str | None = None
    tls: bool = False

    def __post_init__(self) -> None:
        if self.timeout is not None:
            _check_seconds("timeout", self.timeout, 1e-3, _LONGEST_SECONDS)
        _check_seconds("retry_for", self.retry_for, 0, math.inf)
        _check_seconds("reconnect_for", self.reconnect_for, 0, math.inf)


def _check_seconds(name: str, value: float, least: float, most: float) -> None:
    if not isinstance(value, int | float) or not least <= value <= most:
        rule = f"a number of seconds from {least:g} to {most:g}"
        raise InvalidArgumentError(f"{name} is {value!r}; it must be {rule}; try 30")


def chosen_token(token: str | None) -> str | None:
    """Return the token given, else the environment's, else None.

    Raises:
        InvalidArgumentError: No header can carry it, for example as it ends in a line break. The
            text does not have the token.
    """
    chosen = token or os.environ.get(TOKEN_VARIABLE) or None
    if chosen and not (isinstance(chosen, str) and chosen.isascii() and chosen.isprintable()):
        raise InvalidArgumentError(
            f"the access token{'' if token else f' in {TOKEN_VARIABLE}'} holds a character that no "
            "request can carry; it must be printable ASCII without line breaks; give it again"
        )
    return chosen


def checked_address(address: str) -> str:
    """Return a gRPC address.

    Raises:
        InvalidArgumentError: For a URL, which gRPC would look up as a name, and for what is not
            text.
    """
    check_text("the address", address)
    if not isinstance(address, str):
        raise InvalidArgumentError(f"the address is {address!r}, and must be HOST:PORT")
    if address.lower().startswith(("http://", "https://")):
        raise InvalidArgumentError(
            f"the address is {address!r}, and must be HOST:PORT: drop {address.split('//')[0]}//; "
            "if it is a gateway, use --url or TrainingEngine.over_rest"
        )
    return address
