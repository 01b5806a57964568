"""Alerts reach a real receiver: signed, at least once, in order, and only where that is allowed."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from failure import failure_of
from pydantic import SecretStr
from started import running_job, tiny_request
from structlog.testing import capture_logs
from test_control_plane_process import running
from webhook_receiver import KEYS, SECRETS, Receiver

from app.training.config import ConfigError, TrainingConfig
from control_plane import webhooks
from control_plane.alert_sending import AlertSender, Retries
from control_plane.server import ControlPlane
from control_plane.settings import ControlPlaneSettings
from control_plane.state import ServiceState
from control_plane.webhooks import Webhooks
from job_store.alerts import AlertDelivery, encode_rules
from job_store.attempts import AttemptStore
from job_store.history_records import MetricPoint
from job_store.records import NewJob, Outcome, OutcomeKind
from service_runtime.settings import SettingsError
from training_engine.v1 import config_pb2, job_pb2

QUICK = Retries(first=0.02, longest=0.04, most=3)
RULES = [
    {"when": "above", "metric": "loss", "value": 1.5},
    {"when": "not_finite", "metric": "loss"},
    {"when": "finished"},
]


@pytest.fixture
async def state(redis_url: str, tmp_path: Path) -> AsyncIterator[ServiceState]:
    """A service without its reconciler."""
    state = ServiceState(
        ControlPlaneSettings(redis_url=SecretStr(redis_url), artifact_root=tmp_path / "art")
    )
    yield state
    await state.close()


class Firing:
    """Jobs whose alerts fire, and a sender for them."""

    def __init__(self, state: ServiceState, attempts: AttemptStore) -> None:
        self.state = state
        self.attempts = attempts
        self.sender = AlertSender(state, lambda: True, QUICK)

    async def job(self, address: str | None = None, **rules: Any) -> str:
        """A job whose three rules fire one after the other."""
        config = {"alerts": RULES, "alert_webhook": address}
        new = NewJob(json.dumps(config), 9, "/data", name="run", alert_rules=encode_rules(RULES))
        job = await self.state.jobs.create(new)
        claimed = self.attempts.claim(job.job_id, 1, "worker")
        assert claimed is not None
        losses = enumerate((1.0, 2.5, float("nan")), 1)
        points = [MetricPoint(step, {"loss": loss}, 1) for step, loss in losses]
        self.attempts.publish_metrics(claimed.token, points)
        self.attempts.finish(claimed.token, Outcome(OutcomeKind.SUCCEEDED))
        return job.job_id

    async def deliveries(self, job_id: str) -> list[tuple[str, int, str]]:
        """State, tries and problem of each alert."""
        alerts = await self.state.history.alerts(job_id)
        return [(one.delivery or "", one.delivery_tries, one.delivery_problem) for one in alerts]

    async def until(self, check: Callable[[], Awaitable[bool]]) -> None:
        """Looks again and again until it is so."""
        deadline = time.monotonic() + 30
        while not await check():
            assert time.monotonic() < deadline
            await self.sender.look()
            await asyncio.sleep(0.01)
        await self.sender.end()

    async def until_settled(self) -> None:
        async def settled() -> bool:
            return not await self.state.reconcile.alerting_jobs()

        await self.until(settled)


@pytest.fixture
def firing(state: ServiceState, attempts: AttemptStore) -> Firing:
    return Firing(state, attempts)


async def test_it_is_sent_again_with_the_same_id_until_it_is_taken(firing: Firing) -> None:
    firing.sender = AlertSender(firing.state, lambda: True, replace(QUICK, most=1000))
    with Receiver(answers=[500, 302]) as receiver:
        firing.state.webhooks = Webhooks(receiver.address, secrets=tuple(KEYS))
        job_id = await firing.job()

        async def tried(times: int) -> bool:
            return (await firing.deliveries(job_id))[0][1] >= times

        await firing.until(partial(tried, 2))
    await firing.until(partial(tried, 4))
    assert (await firing.deliveries(job_id))[0][2].startswith("the connection failed: ")
    with receiver:  # it is back
        await firing.until_settled()
    alerts = await firing.state.history.alerts(job_id)
    first, second, third = (alert.alert_id for alert in alerts)
    assert receiver.ids() == [first, first, first, second, third]
    delivered = AlertDelivery.DELIVERED
    (state, tries, problem), *others = await firing.deliveries(job_id)
    assert (state, problem, others) == (delivered, "", [(delivered, 1, "")] * 2)
    assert tries >= 5
    assert all(one.is_genuine == [True, True] for one in receiver.received)
    assert len({one.raw for one in receiver.received[:3]}) == 1
    one = receiver.received[0]
    assert (one.path, one.headers["content-type"]) == ("/alerts?team=a", "application/json")
    assert one.body["type"] == "alert.fired"
    assert one.body["timestamp"].endswith("Z")
    assert one.body["data"] == {
        "alert_id": first, "job_id": job_id, "job_name": "run", "rule": 0, "when": "above",
        "metric": "loss", "text": "loss is 2.5 at step 2, above 1.5", "step": 2, "value": 2.5,
        "attempt": 1,
    }  # fmt: skip
    assert [each.body["data"]["value"] for each in receiver.received[3:]] == [None, None]


async def test_each_receiver_and_each_job_waits_by_itself(
    firing: Firing, quiet_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "SEND_SECONDS", 0.1)
    away = f"http://127.0.0.1:{quiet_port}/"
    with Receiver(answers=[410]) as receiver, Receiver() as slow:
        slow.answering.clear()
        places = frozenset(f"127.0.0.1:{port}" for port in (quiet_port, slow.port))
        firing.state.webhooks = Webhooks(receiver.address, places, (KEYS[0],))
        unanswered, unreachable = await firing.job(slow.address), await firing.job(away)
        refused, other = await firing.job("http://10.0.0.1/"), await firing.job()

        async def delivered() -> bool:
            return (await firing.deliveries(other))[2][0] == "delivered"

        with capture_logs() as logged:
            await firing.until(delivered)
            assert receiver.texts()[-1] == "the job has finished at step 3"
            assert (await firing.deliveries(other))[0] == ("failed", 1, "it answered 410")
            firing.sender = AlertSender(firing.state, lambda: True, QUICK)  # another one leads
            await firing.until_settled()
    assert set(receiver.ids()) == {a.alert_id for a in await firing.state.history.alerts(other)}
    (state, tries, problem), *_ = await firing.deliveries(unreachable)
    assert (state, tries) == ("failed", 3)
    assert problem.startswith("the connection failed: ")
    assert ("failed", 3, "no answer within 0.1 s") in await firing.deliveries(unanswered)
    (state, tries, problem), *_ = await firing.deliveries(refused)
    assert (state, tries) == ("failed", 0)
    assert problem.startswith("`alert_webhook` names 10.0.0.1:80; it must be a host that")
    given_up = [line["job_id"] for line in logged if line["event"] == "an alert was given up"]
    assert sorted(given_up) == sorted([unanswered, unreachable, refused] * 3 + [other])
    assert "/alerts" not in str(logged)


async def test_what_nobody_receives_is_not_kept_waiting(firing: Firing) -> None:
    job_id = await firing.job()
    await firing.until_settled()
    assert await firing.deliveries(job_id) == [("", 0, "")] * 3
    firing.state.webhooks = Webhooks("http://127.0.0.1:9/", secrets=(KEYS[0],))
    await firing.state.jobs.delete(job_id)
    pending = await firing.job()
    assert await firing.state.reconcile.alerting_jobs() == [pending]
    await firing.state.jobs.delete(pending)
    assert await firing.state.reconcile.alerting_jobs() == []
    await firing.state.reconcile.note_delivery(pending, "alert_1", AlertDelivery.DELIVERED)


async def test_two_senders_at_once_send_twice_and_note_once(firing: Firing) -> None:
    with Receiver() as receiver:
        firing.state.webhooks = Webhooks(receiver.address, secrets=(KEYS[0],))
        job_id = await firing.job()
        others = [AlertSender(firing.state, lambda: True, QUICK) for _ in range(2)]
        await asyncio.gather(*(other.look() for other in others))
        await firing.until_settled()
        for other in others:
            await other.end()
        (first, *_) = await firing.state.history.alerts(job_id)
        failed = AlertDelivery.FAILED
        await firing.state.reconcile.note_delivery(job_id, first.alert_id, failed, 9, "late")
    assert [state for state, _, _ in await firing.deliveries(job_id)] == ["delivered"] * 3
    assert receiver.texts() == [
        "loss is 2.5 at step 2, above 1.5",
        "loss is not finite at step 3",
        "the job has finished at step 3",
    ]


async def test_a_control_plane_that_is_killed_while_it_sends_sends_again(
    redis_url: str, tmp_path: Path, firing: Firing
) -> None:
    secret = tmp_path / "secrets"
    secret.write_text("\n".join(SECRETS))
    with Receiver() as receiver:
        environment = {
            "TRAINING_ENGINE_REDIS_URL": redis_url,
            "TRAINING_ENGINE_WEBHOOK_URL": receiver.address,
            "TRAINING_ENGINE_WEBHOOK_SECRETS_FILE": str(secret),
            "TRAINING_ENGINE_LEADER_TTL_SECONDS": "0.5",
            "TRAINING_ENGINE_LOG_LEVEL": "debug",
            "TRAINING_ENGINE_RECONCILE_INTERVAL_SECONDS": "0.1",
        }

        async def received(count: int) -> None:
            deadline = time.monotonic() + 60
            while len(receiver.received) < count:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)

        receiver.answering.clear()
        with running(tmp_path, **environment):
            job_id = await firing.job()
            await received(1)
        # It was killed between request and answer.
        receiver.answering.set()
        with running(tmp_path, **environment) as (process, _):
            await received(4)
            process.kill()
            said = process.stderr.read()
    alerts = await firing.state.history.alerts(job_id)
    first, second, third = (alert.alert_id for alert in alerts)
    assert receiver.ids() == [first, first, second, third]
    assert all(one.is_genuine == [True, True] for one in receiver.received)
    assert not any(secret in said for secret in [*SECRETS, "team=a"])


async def test_a_host_that_is_not_allowed_is_one_clear_error(
    plane: ControlPlane, stubs: Any, attempts: AttemptStore
) -> None:
    def asking(address: str) -> str:
        return json.dumps({"alerts": ["failed"], "alert_webhook": address, "max_steps": 10})

    request = tiny_request(config_document=asking("https://Hooks.example.org/a"))
    failure = await failure_of(stubs.jobs.StartJob(request))
    assert failure.reason == "INVALID_CONFIG"
    assert failure.fields == {
        "alert_webhook": "`alert_webhook` names hooks.example.org:443; it must be a host that the "
        "service allows, and none is allowed; leave it out, or have the service started with "
        "--webhook-host hooks.example.org:443 "
        "(`up`: TRAINING_ENGINE_WEBHOOK_HOST=hooks.example.org:443)"
    }
    plane.state.webhooks = Webhooks("", frozenset(["hooks.example.org:8443"]), (KEYS[0],))
    check = config_pb2.ValidateConfigRequest(
        config_document=asking("https://hooks.example.org/a"), dataset_path="corpus.txt"
    )
    (problem,) = (await stubs.configs.ValidateConfig(check)).errors
    assert "and one of hooks.example.org:8443; leave it out" in problem.message
    job_id, token = await running_job(
        stubs, attempts, alerts=["finished"], alert_webhook="https://hooks.example.org:8443/a"
    )
    attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    answer = await stubs.jobs.ListAlerts(job_pb2.ListAlertsRequest(job_id=job_id))
    assert [one.delivery for one in answer.alerts] == [job_pb2.ALERT_DELIVERY_PENDING]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"webhook_url": "https://h.example/x"}, "there is no secret to sign with; write one into"),
        ({"webhook_host": "h.example"}, "there is no secret to sign with; write one into"),
        (
            {"webhook_url": "https://me:hush@h.example/x"},
            "--webhook-url: the value is not an address",
        ),
        (
            {"webhook_host": "me:hush@h.example"},
            "--webhook-host: a value with a user is not a host",
        ),
        ({"webhook_host": "https://h.example"}, "'https://h.example' is not a host; write HOST or"),
        ({"webhook_secrets": f"{SECRETS[0]},hush"}, "secret 2 is not whsec_ and the base64 of 24"),
        ({"webhook_secrets": "whsec_aHVzaA=="}, "secret 1 is not whsec_ and the base64 of 24 to"),
        ({"webhook_secrets_file": "/none"}, "--webhook-secrets-file: cannot read /none"),
    ],
)
def test_wrong_settings_name_rule_and_remedy(given: dict[str, str], said: str) -> None:
    settings: dict[str, Any] = dict(given)
    with pytest.raises(SettingsError) as error:
        Webhooks.of(ControlPlaneSettings(**settings))
    assert said in str(error.value)
    assert "hush" not in str(error.value)
    assert "aHVzaA" not in str(error.value)


def test_hosts_are_compared_with_their_port() -> None:
    hosts = "Hooks.Example.org, other.example:80,[::1]:8080"
    settings = ControlPlaneSettings(webhook_host=hosts, webhook_secrets=SecretStr(SECRETS[0]))
    allowed = Webhooks.of(settings)
    assert allowed.places == {"hooks.example.org:443", "other.example:80", "[::1]:8080"}
    for address, is_allowed in (
        ("https://hooks.example.org/any/path", True),
        ("https://HOOKS.example.org:443", True),
        ("http://hooks.example.org/", False),
        ("https://hooks.example.org:8443/", False),
        ("https://hooks.example.org.evil.example/", False),
        ("http://other.example?x", True),
        ("http://[::1]:8080/", True),
        ("http://[::1]/", False),
        ("https://hooks_2.example", False),
    ):
        refusal = allowed.refusal({"alert_webhook": address})
        assert (refusal == "") is is_allowed, address


def test_the_signature_is_that_of_the_specifications_example() -> None:
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    signed = Webhooks(secrets=(key,)).signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_an_address_with_a_user_is_refused_without_it() -> None:
    for address in ("https://me:hush@h.example/", "ftp://h.example", "https://h.example/a b", "x"):
        with pytest.raises(
            ConfigError, match=r"`alert_webhook` is .*; it must be http://"
        ) as error:
            TrainingConfig.from_dict({"alerts": ["failed"], "alert_webhook": address}).validate()
        assert "hush" not in str(error.value)
