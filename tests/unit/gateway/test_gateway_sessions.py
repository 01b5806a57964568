"""A browser trades its token for a cookie, which only this gateway's own pages can use."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import httpx
import pytest
from memory_state import State
from running_gateway import client_for, gateway_for

from gateway.sessions import COOKIE, Sessions

JOBS = "/api/training/jobs"
SIGN_IN = "/api/session"
TOKEN = "secret-b"


@pytest.fixture
async def browser(control_plane_port: int) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway with tokens; it keeps cookies."""
    async with (
        gateway_for(control_plane_port, auth_tokens=f"secret-a,{TOKEN}") as url,
        client_for(url) as client,
    ):
        yield client


async def signed_in(browser: httpx.AsyncClient) -> httpx.Response:
    answer = await browser.post(SIGN_IN, json={"token": TOKEN})
    assert answer.status_code == 201
    return answer


async def test_a_token_becomes_a_cookie_that_holds_no_token(browser: httpx.AsyncClient) -> None:
    assert (await browser.get(SIGN_IN)).json() == {
        "required": True,
        "authenticated": False,
        "expires_at": None,
    }
    answer = await signed_in(browser)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=v1.")
    assert cookie.endswith("; Max-Age=604800; HttpOnly; SameSite=Strict")
    assert [one.path for one in browser.cookies.jar] == ["/api"]  # as the browser sees it
    assert "secret" not in cookie
    assert answer.headers["cache-control"] == "no-store"
    state = (await browser.get(SIGN_IN)).json()
    assert state == answer.json()
    assert (state["required"], state["authenticated"]) == (True, True)
    assert state["expires_at"].endswith("Z")


async def test_a_link_and_an_event_stream_need_nothing_else(
    browser: httpx.AsyncClient, state: State
) -> None:
    state.add_checkpoint("ck", "job_1", 1, b"weights")
    url = "/api/training/checkpoints/ck/download"
    refused = await browser.get(url)
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert "or sign in on the dashboard" in refused.json()["detail"]
    await signed_in(browser)
    assert (await browser.get(url)).content == b"weights"


async def test_the_token_behind_a_session_goes_on_to_the_control_plane(
    browser: httpx.AsyncClient, state: State
) -> None:
    await signed_in(browser)
    assert (await browser.get(JOBS)).status_code == 200
    assert state.credentials[-1] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("token", ["", "secret", "secret-c", "é"])
async def test_an_unknown_token_begins_no_session(browser: httpx.AsyncClient, token: str) -> None:
    refused = await browser.post(SIGN_IN, json={"token": token})
    assert (refused.status_code, refused.json()["reason"]) == (401, "unauthenticated")
    assert refused.json()["detail"] == (
        "the token is not known; use one that the gateway was started with"
    )
    assert "set-cookie" not in refused.headers


@pytest.mark.parametrize("body", [f'"{TOKEN}"', f'{{"token": ["{TOKEN}"]}}', f'["{TOKEN}"]'])
async def test_a_token_in_the_wrong_place_is_not_repeated(
    browser: httpx.AsyncClient, body: str
) -> None:
    headers = {"Content-Type": "application/json"}
    refused = await browser.post(SIGN_IN, content=body, headers=headers)
    assert refused.status_code == 400
    assert "it should be a valid" in refused.json()["detail"]
    assert TOKEN not in refused.text


CALLERS = [
    ("GET", {}, 200),
    ("GET", {"Sec-Fetch-Site": "same-origin"}, 200),
    ("GET", {"Sec-Fetch-Site": "none"}, 200),  # an address typed, or a bookmark
    ("GET", {"Sec-Fetch-Site": "same-site"}, 403),  # another port of this machine
    ("GET", {"Sec-Fetch-Site": "cross-site"}, 403),
    ("GET", {"Origin": "http://127.0.0.1:1"}, 403),
    ("POST", {}, 403),
    ("POST", {"Sec-Fetch-Site": "none"}, 403),
    ("POST", {"Sec-Fetch-Site": "same-site"}, 403),
    ("POST", {"Sec-Fetch-Site": "same-origin"}, 404),
    ("POST", {"Origin": "OWN"}, 404),
    ("POST", {"Origin": "http://127.0.0.1:1"}, 403),
]


async def test_only_pages_of_this_origin_use_a_session(browser: httpx.AsyncClient) -> None:
    await signed_in(browser)
    own = str(browser.base_url).rstrip("/")
    for method, headers, status in CALLERS:
        path = JOBS if method == "GET" else f"{JOBS}/job_1/stop"
        given = {name: own if value == "OWN" else value for name, value in headers.items()}
        answer = await browser.request(method, path, headers=given)
        assert answer.status_code == status, (method, headers)
    answer = await browser.post(f"{JOBS}/job_1/stop")
    assert answer.json()["detail"] == (
        "this page may not use the session of this gateway's dashboard; open the dashboard "
        "itself, or send `Authorization: Bearer TOKEN`"
    )


async def test_a_token_that_is_sent_is_the_one_that_counts(browser: httpx.AsyncClient) -> None:
    await signed_in(browser)
    wrong = await browser.get(JOBS, headers={"Authorization": "Bearer wrong"})
    assert wrong.status_code == 401
    right = await browser.post(f"{JOBS}/job_1/stop", headers={"Authorization": f"Bearer {TOKEN}"})
    assert right.status_code == 404


async def test_signing_in_and_out_is_for_this_origin_alone(browser: httpx.AsyncClient) -> None:
    evil = {"Origin": "https://evil.example"}
    assert (await browser.post(SIGN_IN, json={"token": TOKEN}, headers=evil)).status_code == 403
    await signed_in(browser)
    assert (await browser.delete(SIGN_IN, headers=evil)).status_code == 403
    out = await browser.delete(SIGN_IN)
    assert (out.status_code, out.content) == (204, b"")
    assert out.headers["set-cookie"].startswith(f"{COOKIE}=; Max-Age=0; ")
    assert (await browser.get(JOBS)).status_code == 401


async def test_a_page_that_came_by_https_gets_a_secure_cookie(control_plane_port: int) -> None:
    async with (
        gateway_for(control_plane_port, auth_tokens=TOKEN, allowed_host=["engine.example"]) as url,
        client_for(url) as client,
    ):
        headers = {"Host": "engine.example", "Origin": "https://engine.example"}
        answer = await client.post(SIGN_IN, json={"token": TOKEN}, headers=headers)
        assert answer.headers["set-cookie"].endswith("; HttpOnly; SameSite=Strict; Secure")


async def test_without_tokens_nobody_needs_to_sign_in(client: httpx.AsyncClient) -> None:
    free = {"required": False, "authenticated": True, "expires_at": None}
    assert (await client.get(SIGN_IN)).json() == free
    answer = await client.post(SIGN_IN, json={"token": "any"})
    assert (answer.status_code, answer.json()) == (201, free)
    assert "set-cookie" not in answer.headers


def value_of(set_cookie: str) -> str:
    return set_cookie.partition(";")[0]


def test_a_session_is_for_its_time_and_its_token() -> None:
    sessions = Sessions(["one", "two"], seconds=60)
    session = sessions.begin("two")
    assert 58 <= session.expires - time.time() <= 60
    cookie = value_of(sessions.set_cookie(session, secure=False))
    assert sessions.read(f"theme=dark; {cookie}") == session
    assert Sessions(["two"], 60).read(cookie) == session  # another gateway
    assert Sessions(["one"], 60).read(cookie) is None  # the token was withdrawn
    stale = Sessions(["two"], seconds=-1)
    ended = stale.begin("two")
    assert stale.read(value_of(stale.set_cookie(ended, secure=False))) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.replace("v1.", "v2."),
        lambda value: value.replace("v1.", "v1.9"),
        lambda value: value.replace("v1.", "v1.\N{ARABIC-INDIC DIGIT NINE}"),
        lambda value: "v1." + "9" * 5000,
        lambda value: value[:-1],
        lambda value: value + "A",
        lambda value: "",
        lambda value: "v1..",
    ],
)
def test_a_changed_cookie_is_none(change: object) -> None:
    sessions = Sessions(["one"], seconds=60)
    session = sessions.begin("one")
    value = value_of(sessions.set_cookie(session, secure=False)).partition("=")[2]
    assert sessions.read(f"{COOKIE}={value}") == session
    assert callable(change)
    assert sessions.read(f"{COOKIE}={change(value)}") is None
