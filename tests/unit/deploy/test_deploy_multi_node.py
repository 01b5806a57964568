"""The component whose launcher makes a JobSet for each job over several nodes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from kubernetes_api import VERBS, validate_jobset
from manifests import KUBERNETES, Manifest, arguments, container, of_kind, render, variables
from processes import resolved
from test_deploy_kubernetes import MOUNT, VERSIONS, selects

from launcher.jobset import JOB_LABEL, KUEUE_LABEL, TEMPLATE_LABEL, jobset_of
from launcher.settings import LauncherSettings
from service_runtime.settings import ENV_PREFIX, parse_settings

FOLDER = "overlays/multi-node"
JOB = "job_" + "0" * 26
Spec = dict[str, Any]


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    return render(FOLDER)


@pytest.fixture(scope="module")
def bucket_of_a_team(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    """The component in an overlay with a bucket, its secret made there, all under a prefix."""
    folder = tmp_path_factory.mktemp("team")
    overlay = {
        "resources": [os.path.relpath(KUBERNETES / "overlays/s3", folder)],
        "components": [os.path.relpath(KUBERNETES / "components/multi-node", folder)],
        "namePrefix": "team-a-",
        "namespace": "ml",
        "secretGenerator": [
            {"name": "bucket", "literals": ["AWS_ACCESS_KEY_ID=a"]},
            {"name": "training-engine", "literals": ["redis_password=a", "auth_tokens=b"]},
        ],
        "labels": [
            {"pairs": {"app.kubernetes.io/instance": "team-a"}, "includeSelectors": True},
        ],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    return render(folder)


def template(manifests: list[Manifest]) -> Manifest:
    (only,) = of_kind(manifests, "JobSet").values()
    return only


def pod_template(jobset: Manifest) -> Spec:
    (group,) = jobset["spec"]["replicatedJobs"]
    return dict(group["template"]["spec"]["template"])


def pod_of(manifests: list[Manifest], name: str) -> Spec:
    return dict(of_kind(manifests, "Deployment")[name]["spec"]["template"]["spec"])


def values_of(tree: Any, *names: str) -> Iterator[str]:
    """What stands under one of these names, at any depth."""
    if isinstance(tree, dict):
        yield from (tree[name] for name in names if isinstance(tree.get(name), str))
    for child in (
        tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    ):
        yield from values_of(child, *names)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(manifests: list[Manifest], version: str) -> None:
    """All but those of the base, which other tests look at."""
    base = render("base")
    own = [manifest for manifest in manifests if manifest not in base]
    kinds = [manifest["kind"] for manifest in own]
    assert sorted(kinds) == [
        "Deployment", "Deployment", "JobSet", "NetworkPolicy", "NetworkPolicy", "NetworkPolicy",
        "Role", "RoleBinding", "ServiceAccount",
    ]  # fmt: skip
    for manifest in own:
        if manifest["kind"] == "JobSet":
            validate_jobset(manifest, version)
        else:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_the_schema_refuses_what_jobset_or_kubernetes_does_not_know(
    manifests: list[Manifest],
) -> None:
    wrong = yaml.safe_load(yaml.safe_dump(template(manifests)))
    wrong["spec"]["failurePolicy"]["maxRestart"] = 1
    with pytest.raises(jsonschema.ValidationError, match="'maxRestart' was unexpected"):
        validate_jobset(wrong)
    wrong = yaml.safe_load(yaml.safe_dump(template(manifests)))
    pod_template(wrong)["spec"]["container"] = []
    with pytest.raises(kubernetes_validate.ValidationError, match="'container' was unexpected"):
        validate_jobset(wrong)


def test_the_template_runs_nothing_itself_and_its_pods_are_those_of_workers(
    manifests: list[Manifest],
) -> None:
    jobset = template(manifests)
    assert jobset["spec"]["managedBy"] not in ("", "jobset.sigs.k8s.io/jobset-controller")
    assert jobset["spec"]["suspend"] is True
    assert KUEUE_LABEL not in jobset["metadata"]["labels"]  # Kueue would keep room for it
    assert pod_template(jobset)["spec"] == pod_of(manifests, "worker")
    assert container(pod_template(jobset)["spec"])["name"] == "worker"


@pytest.mark.parametrize(("version", "queue"), [(VERSIONS[0], ""), (VERSIONS[1], "gpus")])
def test_a_copy_for_a_job_is_valid(manifests: list[Manifest], version: str, queue: str) -> None:
    copy = jobset_of(template(manifests), JOB, 4, queue)
    validate_jobset(copy, version)
    labels = copy["metadata"]["labels"]
    assert (labels[TEMPLATE_LABEL], labels[JOB_LABEL]) == ("node-workers", JOB)
    assert labels.get(KUEUE_LABEL, "") == queue
    assert copy["spec"]["suspend"] is bool(queue)
    job = copy["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert (job["completions"], job["parallelism"], job["backoffLimit"]) == (4, 4, 2**31 - 1)
    assert copy["spec"]["failurePolicy"] == {"maxRestarts": 0}
    pod = pod_template(copy)["spec"]
    ours = {name: v for name, v in variables(pod).items() if name.startswith(ENV_PREFIX)}
    assert resolved("worker", arguments(pod), ours).only_job == JOB
    longest = f"{copy['metadata']['name']}-node-0-63-abcde"
    assert re.fullmatch(r"[a-z][-a-z0-9]{0,62}", longest)
    for name, value in labels.items():
        assert re.fullmatch(r"([a-z0-9.-]{1,253}/)?[a-z0-9.-]{1,63}", name)
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", value)


def launcher_settings(manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch) -> Any:
    pod = pod_of(manifests, next(n for n in of_kind(manifests, "Deployment") if "launcher" in n))
    for name, value in variables(pod).items():
        monkeypatch.setenv(name, value)
    return parse_settings(LauncherSettings, "launcher", arguments(pod))


def test_the_launcher_is_given_what_it_needs_and_no_more(
    manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = launcher_settings(manifests, monkeypatch)
    assert given.control_plane_address == "control-plane:50051"
    assert given.template == template(manifests)["metadata"]["name"]
    assert (str(given.token_file), given.kueue_queue) == (f"{MOUNT}/auth_tokens", "")
    pod = pod_of(manifests, "launcher")
    assert container(pod)["command"] == ["python", "-P", "-m", "launcher"]
    assert container(pod)["image"] == container(pod_of(manifests, "control-plane"))["image"]
    (secret,) = [volume["secret"] for volume in pod["volumes"] if "secret" in volume]
    assert [item["key"] for item in secret["items"]] == ["auth_tokens"]
    (role,) = of_kind(manifests, "Role").values()
    assert role["rules"] == [
        {"apiGroups": ["jobset.x-k8s.io"], "resources": ["jobsets"], "verbs": sorted(VERBS)}
    ]
    assert of_kind(manifests, "ClusterRole", "ClusterRoleBinding") == {}


def test_only_the_launcher_has_a_token_of_the_cluster(manifests: list[Manifest]) -> None:
    pods = {name: pod_of(manifests, name) for name in of_kind(manifests, "Deployment")}
    pods["node-workers"] = pod_template(template(manifests))["spec"]
    assert [name for name, pod in pods.items() if pod["automountServiceAccountToken"]] == [
        "launcher"
    ]
    assert [name for name, pod in pods.items() if "serviceAccountName" in pod] == ["launcher"]
    assert container(pods["launcher"])["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pods["launcher"]["securityContext"] == pods["control-plane"]["securityContext"]


def test_the_control_plane_leaves_jobs_over_nodes_to_launched_workers(
    manifests: list[Manifest],
) -> None:
    pod = pod_of(manifests, "control-plane")
    ours = {name: v for name, v in variables(pod).items() if name.startswith(ENV_PREFIX)}
    assert resolved("control-plane", arguments(pod), ours).launched_nodes is True


@pytest.mark.parametrize("which", ["manifests", "bucket_of_a_team"])
def test_pods_reach_what_they_need(which: str, request: pytest.FixtureRequest) -> None:
    rendered = request.getfixturevalue(which)
    prefix = "team-a-" if which == "bucket_of_a_team" else ""
    pods = {
        name.removeprefix(prefix): m["spec"]["template"]["metadata"]["labels"]
        for name, m in of_kind(rendered, "Deployment", "StatefulSet").items()
    }
    pods["node-workers"] = pod_template(template(rendered))["metadata"]["labels"]

    def found(selector: Spec) -> list[str]:
        labels = selector["podSelector"]["matchLabels"]
        return [name for name, own in pods.items() if selects(labels, own)]

    reached = {
        name.removeprefix(prefix): (
            found(policy["spec"]),
            [found(one) for rule in policy["spec"]["ingress"] for one in rule.get("from", [])],
            [found(one) for rule in policy["spec"].get("egress", []) for one in rule.get("to", [])],
        )
        for name, policy in of_kind(rendered, "NetworkPolicy").items()
    }
    assert reached == {
        "redis": (["redis"], [["control-plane"], ["worker"]], []),
        "redis-of-node-workers": (["redis"], [["node-workers"]], []),
        "node-workers": (["node-workers"], [["node-workers"]], []),
        "launcher": (["launcher"], [], [["control-plane"]]),
    }
    for name, deployment in of_kind(rendered, "Deployment").items():
        selector = deployment["spec"]["selector"]["matchLabels"]
        assert [pod for pod, own in pods.items() if selects(selector, own)] == [
            name.removeprefix(prefix)
        ]


def test_a_prefix_is_followed_by_every_name(
    bucket_of_a_team: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifests = bucket_of_a_team
    secrets = set(of_kind(manifests, "Secret"))
    jobset = template(manifests)
    pod = pod_template(jobset)
    assert (jobset["metadata"]["name"], jobset["metadata"]["namespace"]) == (
        "team-a-node-workers", "ml",
    )  # fmt: skip
    named = set(values_of(pod["spec"]["volumes"], "secretName"))
    named |= {one["secretRef"]["name"] for one in container(pod["spec"])["envFrom"]}
    assert named == secrets
    assert all(re.fullmatch(r"team-a-(bucket|training-engine)-\w+", name) for name in secrets)
    assert "--redis-url=redis://team-a-redis:6379/0" in arguments(pod["spec"], "ml")
    assert pod["spec"] == pod_of(manifests, "team-a-worker")
    assert pod["metadata"]["labels"]["app.kubernetes.io/instance"] == "team-a"
    given = launcher_settings(manifests, monkeypatch)
    assert given.template == "team-a-node-workers"
    assert given.control_plane_address == "team-a-control-plane:50051"
    (binding,) = of_kind(manifests, "RoleBinding").values()
    (account,), (role,) = of_kind(manifests, "ServiceAccount"), of_kind(manifests, "Role")
    assert binding["roleRef"]["name"] == role == account == "team-a-launcher"
    (subject,) = binding["subjects"]
    assert (subject["name"], subject["namespace"]) == (account, "ml")
    assert pod_of(manifests, "team-a-launcher")["serviceAccountName"] == account


def test_claims_and_config_maps_in_the_template_follow_too(tmp_path: Path) -> None:
    named = [
        {"op": "add", "path": "/spec/template/spec/serviceAccountName", "value": "trainer"},
        {
            "op": "add",
            "path": "/spec/template/spec/volumes/-",
            "value": {"name": "recipes", "configMap": {"name": "recipes"}},
        },
        {
            "op": "add",
            "path": "/spec/template/spec/containers/0/env/-",
            "value": {
                "name": "MODE",
                "valueFrom": {"configMapKeyRef": {"name": "recipes", "key": "mode"}},
            },
        },
        {
            "op": "add",
            "path": "/spec/template/spec/containers/0/env/-",
            "value": {
                "name": "WANDB_API_KEY",
                "valueFrom": {"secretKeyRef": {"name": "tracker", "key": "key"}},
            },
        },
    ]
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "trainer"}}
    below = tmp_path / "below"
    below.mkdir()
    (below / "account.yaml").write_text(yaml.safe_dump(account))
    patch = {"target": {"kind": "Deployment", "name": "worker"}, "patch": yaml.safe_dump(named)}
    workers = {
        "resources": [os.path.relpath(KUBERNETES / "base", below), "account.yaml"],
        "configMapGenerator": [{"name": "recipes", "literals": ["mode=fast"]}],
        "secretGenerator": [{"name": "tracker", "literals": ["key=k"]}],
        "patches": [patch],
        "namespace": "training-engine",
    }
    (below / "kustomization.yaml").write_text(yaml.safe_dump(workers))
    overlay = {
        "resources": ["below"],
        "components": [os.path.relpath(KUBERNETES / "components/multi-node", tmp_path)],
        "namePrefix": "b-",
        "namespace": "training-engine",
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    manifests = render(tmp_path)
    pod = pod_template(template(manifests))["spec"]
    assert pod == pod_of(manifests, "b-worker")
    there = {name for one in manifests if (name := one["metadata"]["name"])}
    claims = set(values_of(pod["volumes"], "claimName"))
    assert claims == {"b-artifacts", "b-data"}
    maps = {one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one}
    sources = [one["valueFrom"] for one in container(pod)["env"] if "valueFrom" in one]
    keys = {one[kind]["name"] for one in sources for kind in one if kind.endswith("KeyRef")}
    assert maps < keys
    assert claims | keys | {pod["serviceAccountName"]} <= there
