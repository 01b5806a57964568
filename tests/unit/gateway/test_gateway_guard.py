"""What a browser may be tricked into sending is refused; what people send is not."""

from __future__ import annotations

import gzip

import httpx
import pytest
from memory_state import State
from running_gateway import client_for, gateway_for

from gateway.__main__ import listen, main
from gateway.settings import GatewaySettings
from service_runtime.settings import SettingsError

STOP = "/api/training/jobs/job_1/stop"


ORIGINS = [
    ({}, 404),
    ({"Origin": "null"}, 403),
    ({"Origin": "https://evil.example"}, 403),
    ({"Origin": "http://localhost:1"}, 403),
    ({"Sec-Fetch-Site": "cross-site"}, 403),
    ({"Sec-Fetch-Site": "same-site"}, 403),
    ({"Sec-Fetch-Site": "same-origin"}, 404),
    ({"Sec-Fetch-Site": "none"}, 404),
    ({"Host": "evil.example"}, 403),
    ({"Host": "127.0.0.1.evil.example"}, 403),
    ({"Host": "["}, 403),
    ({"Host": "[::1].evil.example"}, 403),
    ({"Host": "[::1]evil.example"}, 403),
    ({"Host": "[evil.example]"}, 403),
    ({"Host": "evil.example@localhost"}, 403),
    ({"Host": "localhost:80:evil.example"}, 403),
    ({"Host": "localhost/evil.example"}, 403),
    ({"Host": ""}, 403),
    ({"Host": "[::1]", "Origin": "http://[::1].evil.example"}, 403),
    ({"Host": "LOCALHOST."}, 404),
    ({"Host": "[::1]:8000", "Origin": "http://[::1]:8000"}, 404),
    ({"Host": "localhost:1234"}, 404),
    ({"Host": "[::1]"}, 404),
    ({"Host": "engine.example", "Origin": "https://engine.example"}, 404),
]


async def test_changes_come_from_here_or_from_no_page(control_plane_port: int) -> None:
    async with (
        gateway_for(control_plane_port, allowed_host=["engine.example"]) as url,
        client_for(url) as client,
    ):
        for headers, status in ORIGINS:
            response = await client.post(STOP, headers=headers)
            reason = "permission_denied" if status == 403 else "job_not_found"
            assert (response.status_code, response.json()["reason"]) == (status, reason), headers


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "identity, br", "zstd"])
async def test_a_compressed_body_is_neither_misread_nor_stored(
    client: httpx.AsyncClient, state: State, encoding: str
) -> None:
    packed = gzip.compress(b'{"config": {}}')
    for path, headers in (
        ("/api/training/configs/validate", {"Content-Type": "application/json"}),
        ("/api/training/datasets?name=a.txt", {}),
    ):
        refused = await client.post(
            path, content=packed, headers={"Content-Encoding": encoding, **headers}
        )
        assert (refused.status_code, refused.json()["reason"]) == (
            415,
            "content_encoding_unsupported",
        )
        assert refused.json()["detail"] == (
            f"the body comes with Content-Encoding {encoding!r}, and none is read here; send it "
            "as it is, without that header"
        )
        assert refused.headers["accept-encoding"] == "identity"
    assert state.datasets == {}
    plain = await client.post(
        "/api/training/datasets?name=a.txt",
        content=b"text",
        headers={"Content-Encoding": "identity"},
    )
    assert plain.status_code == 201


async def test_the_dashboards_own_origin_may_change_things(client: httpx.AsyncClient) -> None:
    own = str(client.base_url).rstrip("/")
    assert (await client.post(STOP, headers={"Origin": own})).status_code == 404


async def test_a_strange_host_may_not_even_read(client: httpx.AsyncClient) -> None:
    for path in ("/", "/api/training/jobs", "/openapi.json"):
        response = await client.get(path, headers={"Host": "evil.example"})
        assert response.status_code == 403
        assert "call it by its address, or start it with --allowed-host" in response.text


async def test_tokens_are_asked_for_and_carried_on(control_plane_port: int, state: State) -> None:
    async with (
        gateway_for(control_plane_port, auth_tokens="secret-a,secret-b") as url,
        client_for(url) as client,
    ):
        refused = await client.get("/api/training/jobs")
        assert (refused.status_code, refused.json()["reason"]) == (401, "unauthenticated")
        assert refused.headers["www-authenticate"] == "Bearer"
        assert "secret" not in refused.text
        wrong = await client.get(
            "/api/training/jobs", headers={"Authorization": b"Bearer \xff\xfe"}
        )
        assert wrong.status_code == 401
        # No wrong one is passed on: the control plane would take them for the gateway's.
        assert state.credentials == []
        good = await client.get("/api/training/jobs", headers={"Authorization": "Bearer secret-b"})
        assert good.status_code == 200
        assert (await client.get("/healthz")).status_code == 200


def test_listening_beyond_this_machine_needs_tokens_or_a_word() -> None:
    with pytest.raises(SettingsError, match="anybody there could stop jobs and read checkpoints"):
        GatewaySettings(host="0.0.0.0").require_safe_binding()
    GatewaySettings(host="0.0.0.0", allow_unauthenticated=True).require_safe_binding()
    GatewaySettings(host="0.0.0.0", auth_tokens="t").require_safe_binding()
    GatewaySettings(host="::1").require_safe_binding()


def test_the_process_says_in_one_line_why_it_does_not_start(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main(["--host", "0.0.0.0"]) == 1
    error = capfd.readouterr().err.splitlines()[-1]
    assert error.startswith("gateway: error: --host: 0.0.0.0 can be reached from other machines")
    taken = listen("127.0.0.1", 0)
    taken.listen()
    with taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 1
    error = capfd.readouterr().err.splitlines()[-1]
    assert error == (
        f"gateway: error: --host/--port: cannot listen on 127.0.0.1:{port}: Address already in "
        "use; choose another --port, or 0 for any free one"
    )


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for name in GatewaySettings.model_fields:
        assert f"--{name.replace('_', '-')}" in text
