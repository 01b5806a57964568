"""Webhooks: where alerts may be sent, and one signed request.

A request has the form that the public specification Standard Webhooks describes: `webhook-id`,
`webhook-timestamp` (seconds, of this try) and `webhook-signature`, which is `v1,` and the base64 of
HMAC-SHA256 over `ID.TIMESTAMP.BODY`, once for each secret.

What keeps jobs from having the service call any address is the list of allowed places. A redirect
is not followed, and the body of an answer is not read.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any

from app.training.alert_rules import webhook_place
from control_plane.settings import ControlPlaneSettings
from service_runtime.settings import SettingsError, read_secret_lines
from training_engine.errors import InvalidArgumentError
from training_engine.v1 import job_pb2

SEND_SECONDS = 10.0
"""A receiver that has not answered by then is tried again later."""
_GONE = 410
_SECRET_PREFIX = "whsec_"
_SECRET_BYTES = range(24, 65)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request."""

    delivered: bool
    gone: bool = False
    """The receiver wants no more of it (410)."""
    problem: str = ""
    """Why it was not delivered."""


@dataclass(frozen=True, slots=True)
class Webhooks:
    """What the settings of the service allow."""

    address: str = ""
    """The receiver of jobs that name none; empty for none."""
    places: frozenset[str] = frozenset()
    """`HOST:PORT` that a configuration may name."""
    secrets: tuple[bytes, ...] = ()

    @staticmethod
    def of(settings: ControlPlaneSettings) -> Webhooks:
        """Return what the settings say.

        Raises:
            SettingsError: An address, a host or a secret cannot be used, or there is no secret.
        """
        address = settings.webhook_url.get_secret_value() if settings.webhook_url else ""
        if address and not webhook_place(address):
            raise SettingsError(
                "--webhook-url: the value is not an address that can be used; write http:// or "
                "https://, a host, and a path, without a user, e.g. https://hooks.example.org/x"
            )
        webhooks = Webhooks(address, _places(settings.webhook_host), _secrets(settings))
        if (address or webhooks.places) and not webhooks.secrets:
            raise SettingsError(
                "--webhook-url, --webhook-host: there is no secret to sign with; write one into "
                "--webhook-secrets-file, as from `echo whsec_$(openssl rand -base64 32)`"
            )
        return webhooks

    def address_of(self, config: Mapping[str, Any]) -> str:
        """Return where the alerts of a job with this configuration go; empty for nowhere."""
        return config.get("alert_webhook") or self.address

    def refusal(self, config: Mapping[str, Any]) -> str:
        """Return why nothing may be sent where a configuration asks for it; empty where it may."""
        asked = config.get("alert_webhook")
        place = webhook_place(asked) if asked else None
        if not asked or place in self.places:
            return ""
        allowed = f"one of {', '.join(sorted(self.places))}" if self.places else "none is allowed"
        return (
            f"`alert_webhook` names {place}; it must be a host that the service allows, and "
            f"{allowed}; leave it out, or have the service started with --webhook-host {place} "
            f"(`up`: TRAINING_ENGINE_WEBHOOK_HOST={place})"
        )

    def signature(self, webhook_id: str, timestamp: int, body: bytes) -> str:
        """Return the header `webhook-signature`: one signature for each secret."""
        signed = f"{webhook_id}.{timestamp}.".encode() + body
        digests = [hmac.digest(secret, signed, hashlib.sha256) for secret in self.secrets]
        return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)

    async def send(self, address: str, webhook_id: str, body: bytes) -> Answer:
        """Send a signed request, once; never raises for what a receiver does."""
        now = int(time.time())
        headers = {
            "content-type": "application/json",
            "user-agent": "training-engine",
            "webhook-id": webhook_id,
            "webhook-timestamp": str(now),
            "webhook-signature": self.signature(webhook_id, now, body),
        }
        try:
            async with asyncio.timeout(SEND_SECONDS):
                return _answer(await _post(address, headers, body))
        except TimeoutError:
            return Answer(False, problem=f"no answer within {SEND_SECONDS:g} s")
        except InvalidArgumentError as error:
            return Answer(False, problem=str(error))


def alert_body(job_id: str, name: str, alert: job_pb2.Alert, rule: Mapping[str, Any]) -> bytes:
    """Return the body of an alert's webhook, which is the same at each try."""
    fired = alert.created_at.ToMilliseconds() / 1000
    at = datetime.fromtimestamp(fired, UTC).isoformat(timespec="milliseconds")
    data = {
        "alert_id": alert.alert_id,
        "job_id": job_id,
        "job_name": name,
        "rule": alert.rule,
        "when": rule.get("when"),
        "metric": rule.get("metric"),
        "text": alert.text,
        "step": alert.step,
        "value": alert.value if alert.HasField("value") else None,
        "attempt": alert.attempt,
    }
    timestamp = at.replace("+00:00", "Z")
    body = {"type": "alert.fired", "timestamp": timestamp, "data": data}
    return json.dumps(body, separators=(",", ":")).encode()


async def _post(address: str, headers: Mapping[str, str], body: bytes) -> int | str:
    """Return the answer's status, or why there is none.

    A client of httpx would log the address, whose path may be a secret; its transport does not.
    """
    import httpx  # 0.1 s, which a control plane without webhooks need not take

    from training_engine import _http

    transport_of = partial(httpx.AsyncHTTPTransport, verify=_certificates())
    try:
        request = httpx.Request("POST", address, headers=dict(headers), content=body)
        async with _http.make_transport(transport_of, address) as transport:
            response = await transport.handle_async_request(request)
            await response.aclose()
            return response.status_code
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return f"the connection failed: {str(error) or type(error).__name__}"


@cache
def _certificates() -> ssl.SSLContext:
    """Return whom TLS trusts: `SSL_CERT_FILE` and the like, or certifi. It takes 20 ms to make."""
    import httpx

    return httpx.create_ssl_context()


def _answer(status: int | str) -> Answer:
    if isinstance(status, str):
        return Answer(False, problem=status)
    if 200 <= status < 300:
        return Answer(True)
    followed = "; redirects are not followed" if 300 <= status < 400 else ""
    return Answer(False, status == _GONE, f"it answered {status}{followed}")


def _places(hosts: Sequence[str]) -> frozenset[str]:
    """Return `HOST:PORT` of each allowed host."""
    places = {host: webhook_place(f"https://{host}") for host in hosts}
    for host, place in places.items():
        if place is None or "/" in host or "?" in host:
            shown = "a value with a user" if "@" in host else repr(host)
            raise SettingsError(
                f"--webhook-host: {shown} is not a host; write HOST or HOST:PORT, without a scheme "
                "and a path, e.g. hooks.example.org"
            )
    return frozenset(place for place in places.values() if place)


def _secrets(settings: ControlPlaneSettings) -> tuple[bytes, ...]:
    given = (
        settings.webhook_secrets.get_secret_value().split(",") if settings.webhook_secrets else []
    )
    texts = [text.strip() for text in given if text.strip()]
    if settings.webhook_secrets_file is not None:
        texts += read_secret_lines(settings.webhook_secrets_file, "webhook_secrets_file")
    return tuple(_secret(place, text) for place, text in enumerate(texts, 1))


def _secret(place: int, text: str) -> bytes:
    try:
        secret = base64.b64decode(text.removeprefix(_SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if not text.startswith(_SECRET_PREFIX) or len(secret) not in _SECRET_BYTES:
        raise SettingsError(
            f"--webhook-secrets: secret {place} is not {_SECRET_PREFIX} and the base64 of "
            f"{_SECRET_BYTES.start} to {_SECRET_BYTES.stop - 1} bytes; make one with "
            "`echo whsec_$(openssl rand -base64 32)`"
        )
    return secret
