"""Which JobSets a launcher makes and deletes, against a real control plane and an API server."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from free_ports import free_port
from kubernetes_api import VERBS, Pods
from launcher_site import TEMPLATE, LauncherSite
from paced import Pace
from running_stack import wait_until

from job_store.queues import own_queue
from launcher.jobset import JOB_LABEL, KUEUE_LABEL, ONLY_JOB, TEMPLATE_LABEL, name_of
from launcher.kubernetes import JobSets, KubernetesError, RefusedError
from launcher.launcher import TemplateError
from service_runtime.settings import SettingsError
from training_engine.errors import TrainingEngineError, UnauthenticatedError

CANNOT = 'jobsets is forbidden: User "u" cannot {} resource "jobsets"'


def copies(site: LauncherSite) -> list[str]:
    """The JobSets beside the template."""
    return [name for name in site.api.jobsets if name != TEMPLATE]


async def test_a_waiting_job_gets_one_jobset_of_its_own(site: LauncherSite) -> None:
    site.start(nodes=1)
    job = site.start(nodes=3)
    await site.look()
    await site.look()
    assert site.api.created == copies(site) == [name_of(job.job_id)]
    made = site.api.jobsets[name_of(job.job_id)]
    assert made["metadata"]["labels"] == {
        "app.kubernetes.io/instance": "a", TEMPLATE_LABEL: TEMPLATE, JOB_LABEL: job.job_id
    }  # fmt: skip
    assert made["metadata"]["annotations"] == {
        "alpha.jobset.sigs.k8s.io/exclusive-topology": "rack"
    }
    spec = made["spec"]
    assert (spec["suspend"], "managedBy" in spec) == (False, False)
    assert spec["failurePolicy"] == {"maxRestarts": 0}
    (group,) = spec["replicatedJobs"]
    inner = group["template"]["spec"]
    assert (group["replicas"], inner["parallelism"], inner["completions"]) == (1, 3, 3)
    assert inner["template"]["metadata"]["labels"] == {"role": "worker", JOB_LABEL: job.job_id}
    pod = inner["template"]["spec"]
    assert pod["restartPolicy"] == "OnFailure"
    assert pod["containers"][0]["env"] == [{"name": ONLY_JOB, "value": job.job_id}]
    wait_until(
        lambda: (
            site.engine.jobs.get(job.job_id).message
            == "waits for 3 workers that a launcher starts for it; 0 that fit it are live, and "
            "0 of them have no job"
        ),
        "what the job waits for",
    )


async def test_a_jobset_goes_with_its_job(site: LauncherSite) -> None:
    stopped, deleted = site.start(), site.start()
    await site.look(kueue_queue="gpus")
    assert len(copies(site)) == 2
    stopped.stop()
    deleted.delete()
    await site.look(kueue_queue="gpus")
    assert copies(site) == []
    stopped.resume()
    await site.look()
    assert copies(site) == [name_of(stopped.job_id)]


async def test_what_others_made_is_left_alone(site: LauncherSite) -> None:
    job = site.start()
    for name, labels in (
        ("by-hand", {}),
        ("by-hand-too", {TEMPLATE_LABEL: TEMPLATE}),
        ("other-launcher", {TEMPLATE_LABEL: "team-b-node-workers", JOB_LABEL: job.job_id}),
        (name_of(job.job_id), {JOB_LABEL: job.job_id}),
    ):
        template = site.template()
        site.api.store(template | {"metadata": {"name": name, "labels": labels}})
    before = dict(site.api.jobsets)
    with pytest.raises(
        RefusedError, match=f"JobSet '{name_of(job.job_id)}' that this launcher did"
    ):
        await site.look()
    job.stop()
    await site.look()
    assert site.api.jobsets == before


async def test_without_kueue_one_jobset_waits_at_a_time(site: LauncherSite) -> None:
    first, second, urgent = site.start(), site.start(), site.start(priority="high")
    await site.look()
    await site.look()
    assert copies(site) == [name_of(urgent.job_id)]
    urgent.stop()
    for _ in range(2):
        await site.look()
    assert copies(site) == [name_of(first.job_id)]
    await site.look(kueue_queue="gpus")
    assert copies(site) == [name_of(first.job_id), name_of(second.job_id)]
    queued = site.api.jobsets[name_of(second.job_id)]
    assert queued["metadata"]["labels"][KUEUE_LABEL] == "gpus"
    assert queued["spec"]["suspend"] is True


async def test_a_jobset_that_runs_no_pods_any_more_is_replaced(site: LauncherSite) -> None:
    job = site.start()
    await site.look()
    made = site.api.jobsets[name_of(job.job_id)]
    made["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}
    await site.look()
    assert copies(site) == []
    await site.look()
    assert site.api.jobsets[name_of(job.job_id)]["metadata"]["uid"] != made["metadata"]["uid"]
    site.api.jobsets[name_of(job.job_id)]["metadata"]["deletionTimestamp"] = "now"
    job.stop()
    await site.look()  # it is leaving: no second call
    assert copies(site) == [name_of(job.job_id)]


async def test_a_name_that_another_has_taken_meanwhile_is_left_to_it(site: LauncherSite) -> None:
    stored = site.api.jobsets[TEMPLATE]
    async with JobSets(site.api.url, site.api.account, 5) as jobsets:
        await jobsets.delete(TEMPLATE, "the uid of one that is gone")
        await jobsets.delete("gone", "uid")
        assert await jobsets.create(site.template()) is False
    assert site.api.jobsets == {TEMPLATE: stored}


@pytest.mark.parametrize("kill", [False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.slow
def test_a_job_is_trained_by_the_pods_of_its_jobset(site: LauncherSite, kill: bool) -> None:
    """By real workers; one that is killed comes back, as a container does."""
    pace = Pace(site.folder)
    pace.set(0.05 if kill else 0)
    pods = Pods(site.api, site.folder, site.environment | pace.environment())
    launcher = site.launcher()
    job = site.start(nodes=2)
    name = name_of(job.job_id)
    if kill:
        wait_until(lambda: job.refresh().current_step >= 3, "its steps", timeout=120)
        pods.of(name)[1].kill()
        wait_until(lambda: job.refresh().attempt == 2, "the next attempt")
        pace.set(0)
    assert job.wait(timeout=120).status == "succeeded", site.log(name)
    assert [point.step for point in job.history()] == list(range(1, 21))
    wait_until(lambda: name not in site.api.jobsets, "the deletion")
    assert site.api.created == [name]
    assert sorted(pods.exit_codes) == [-signal.SIGKILL] * kill + [143, 143]
    with redis.Redis.from_url(site.redis.url()) as client:
        assert own_queue(job.job_id) not in str(client.smembers("rq:queues"))
    launcher.terminate()
    assert launcher.wait(timeout=20) == 0
    pods.close()


async def test_a_launcher_killed_in_the_middle_of_a_call_repeats_nothing(
    site: LauncherSite,
) -> None:
    job = site.start()
    process: list[subprocess.Popen[bytes]] = []

    def kill(verb: str) -> None:
        if verb == "create":  # it is stored, and the launcher never hears of it
            os.kill(process[0].pid, signal.SIGKILL)
            process[0].wait()

    site.api.before_answer = kill
    process.append(site.launcher())
    wait_until(lambda: process[0].poll() is not None, "the launcher's end")
    assert site.api.created == [name_of(job.job_id)]
    await site.look()
    job.stop()
    await site.look()
    assert copies(site) == []
    assert site.api.created == [name_of(job.job_id)]


def test_it_goes_on_once_what_was_wrong_is_right(site: LauncherSite) -> None:
    """Each trouble is logged once, in one line, and ends nothing."""
    began = len(site.log()) if (site.folder / "launcher.log").exists() else 0
    site.api.fault = lambda verb: (500, "etcdserver: leader changed")
    process = site.launcher()
    wait_until(lambda: "500: etcdserver: leader changed" in site.log()[began:], "the first error")
    job = site.start()
    site.api.fault = lambda verb: None
    site.api.renew_token()  # the kubelet does so every hour
    wait_until(lambda: copies(site) == [name_of(job.job_id)], "the JobSet")
    site.api.verbs = VERBS - {"delete"}
    job.stop()
    wait_until(lambda: "the verb 'delete' on jobsets" in site.log()[began:], "the second error")
    time.sleep(0.3)
    site.api.verbs = VERBS
    wait_until(lambda: copies(site) == [], "the deletion")
    process.terminate()
    assert process.wait(timeout=20) == 0
    said = site.log()[began:]
    assert said.count("leader changed") == said.count("the verb 'delete'") == 1
    assert "Traceback" not in said
    assert site.api.token not in said


@pytest.mark.parametrize(
    ("verb", "fault", "text"),
    [
        ("list", (404, "no resource"), "install the JobSet controller"),
        ("list", (403, CANNOT.format("list")), "refuses to list JobSets in namespace 'ml' with "
         "403: jobsets is .*; give the launcher's role the verb 'list' on jobsets of"),
        ("get", (403, CANNOT.format("get")), "the verb 'get'"),
        ("create", (403, CANNOT.format("create")), "the verb 'create'"),
        ("create", (403, "exceeded quota: jobsets"), "with 403: exceeded quota: jobsets$"),
        ("create", (422, "spec.x is wrong"), "create JobSet job-.* in .* 422: spec.x"),
        ("create", (429, "too many requests"), "429: too many requests"),
    ],
)  # fmt: skip
async def test_a_refusal_names_its_remedy(
    site: LauncherSite, verb: str, fault: tuple[int, str], text: str
) -> None:
    site.start()
    site.api.fault = lambda called: fault if called == verb else None
    with pytest.raises(RefusedError, match=text):
        await site.look()
    assert copies(site) == []


async def test_one_refused_jobset_keeps_no_other_waiting(site: LauncherSite) -> None:
    first, second = site.start(), site.start()
    faults = [(422, "quota")]
    site.api.fault = lambda verb: faults.pop() if verb == "create" and faults else None
    with pytest.raises(RefusedError, match="quota"):
        await site.look(kueue_queue="gpus")
    assert copies(site) == [name_of(second.job_id)]
    await site.look(kueue_queue="gpus")
    assert set(copies(site)) == {name_of(first.job_id), name_of(second.job_id)}


async def test_nothing_is_made_or_deleted_while_one_of_both_is_away(
    site: LauncherSite, tmp_path: Path
) -> None:
    job = site.start()
    await site.look()
    nowhere = f"127.0.0.1:{free_port()}"
    with pytest.raises(TrainingEngineError, match=nowhere):
        await site.look(control_plane_address=nowhere)
    (tmp_path / "token").write_text("wrong")
    with pytest.raises(UnauthenticatedError):
        await site.look(token_file=tmp_path / "token")
    with pytest.raises(SettingsError, match=r"--token-file: cannot read .*: No such file"):
        await site.look(token_file=tmp_path / "none")
    with pytest.raises(KubernetesError, match=r"does not answer .*; it is asked again"):
        await site.look(kubernetes_url=f"https://{nowhere}")
    assert copies(site) == [name_of(job.job_id)]


async def test_an_account_that_cannot_be_used_is_named(
    site: LauncherSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(text: str, **changed: Any) -> None:
        with pytest.raises(KubernetesError, match=text):
            await site.look(**changed)

    await fails(
        "cannot read /none/namespace: No such file .*; mount the token", account_folder="/none"
    )
    account = tmp_path / "account"
    shutil.copytree(site.api.account, account)
    (account / "token").write_text("")
    await fails("token is empty", account_folder=account)
    (account / "token").write_text("old")
    await fails("401: Unauthorized; its service account's token is not acc", account_folder=account)
    (account / "ca.crt").write_text("none")
    await fails("cannot use .*ca.crt to verify the API server", account_folder=account)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    await fails("this process runs in no cluster; name .*--kubernetes-url", kubernetes_url="")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", site.api.url.rpartition(":")[2])
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
    await site.look(kubernetes_url="")


async def test_a_slow_api_server_is_asked_again(site: LauncherSite) -> None:
    def slow(verb: str) -> None:
        time.sleep(0.5)

    site.api.fault = slow
    with pytest.raises(KubernetesError, match=r"does not answer \(ReadTimeout\)"):
        await site.look(timeout_seconds=0.2)


async def test_a_template_that_cannot_be_copied_is_named(site: LauncherSite) -> None:
    job = site.start()
    with pytest.raises(
        TemplateError, match="there is no JobSet 'other' to make copies of in names"
    ):
        await site.look(template="other")
    site.api.jobsets[TEMPLATE]["spec"]["replicatedJobs"] *= 2
    with pytest.raises(TemplateError, match="has 2 replicatedJobs; it must have one"):
        await site.look()
    assert name_of(job.job_id) not in site.api.jobsets
