"""Wrong tokens are slowed at every door of the gateway, and lock no holder of a right one out."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from running_gateway import client_for, gateway_for

from gateway.__main__ import warn_of_short_tokens
from gateway.settings import GatewaySettings

JOBS = "/api/training/jobs"
SIGN_IN = "/api/session"
SHORT = "open-sesame"
LONG = "a-token-that-is-long-enough"


@pytest.fixture
async def url(control_plane_port: int) -> AsyncIterator[str]:
    async with gateway_for(control_plane_port, auth_tokens=f"{SHORT},{LONG}") as found:
        yield found


async def sign_in(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post(SIGN_IN, json={"token": token})


async def by_header(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.get(JOBS, headers={"Authorization": f"Bearer {token}"})


async def asked(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.get(SIGN_IN, headers={"Authorization": f"Bearer {token}"})


@pytest.mark.parametrize("door", [sign_in, by_header, asked])
async def test_wrong_tokens_are_slowed(client: httpx.AsyncClient, door: object) -> None:
    assert callable(door)
    statuses = [(await door(client, f"guess-{n}")).status_code for n in range(30)]
    looked_at = 200 if door is asked else 401
    assert statuses == [looked_at] * 10 + [429] * 20
    refused = await door(client, SHORT)  # not looked at: the next guess may be right
    assert (refused.status_code, refused.json()["reason"]) == (429, "rate_limited")
    assert 1 <= int(refused.headers["retry-after"]) <= 6
    assert refused.json()["detail"] == (
        "too many wrong tokens came from 127.0.0.1; try again in "
        f"{refused.headers['retry-after']} s"
    )


async def test_no_holder_of_a_token_is_locked_out(url: str, client: httpx.AsyncClient) -> None:
    before = httpx.AsyncClient(base_url=url, verify=False)
    elsewhere = httpx.AsyncClient(
        base_url=url, transport=httpx.AsyncHTTPTransport(local_address="127.0.0.2"), verify=False
    )
    async with before, elsewhere:
        assert (await sign_in(before, SHORT)).status_code == 201
        answers = [await sign_in(client, f"guess-{n}") for n in range(120)]
        # Every six seconds one more guess is looked at, perhaps the last.
        assert 429 in {answer.status_code for answer in answers[-2:]}
        # A session goes on, a long token is always let in, and so is who comes from elsewhere.
        assert (await before.get(JOBS)).status_code == 200
        assert (await by_header(client, LONG)).status_code == 200
        assert (await sign_in(client, LONG)).status_code == 201
        assert (await by_header(elsewhere, SHORT)).status_code == 200
        assert (await sign_in(elsewhere, SHORT)).status_code == 201


async def test_what_carries_no_token_is_no_attempt(client: httpx.AsyncClient) -> None:
    for headers in ({}, {"Authorization": ""}, {"Authorization": "Basic x"}):
        for _ in range(12):
            assert (await client.get(JOBS, headers=headers)).status_code == 401
    assert (await by_header(client, SHORT)).status_code == 200


async def test_without_tokens_nothing_is_counted(control_plane_port: int) -> None:
    async with gateway_for(control_plane_port) as url, client_for(url) as client:
        for n in range(12):
            assert (await by_header(client, f"guess-{n}")).status_code == 200


def test_a_token_that_can_be_guessed_is_warned_of(capfd: pytest.CaptureFixture[str]) -> None:
    warn_of_short_tokens(GatewaySettings(auth_tokens=LONG))
    assert capfd.readouterr().err == ""
    warn_of_short_tokens(GatewaySettings(auth_tokens=f"{SHORT},{LONG}"))
    said = "".join(capfd.readouterr())
    assert "tokens can be guessed" in said
    assert "openssl rand -hex 32" in said
    assert SHORT not in said
