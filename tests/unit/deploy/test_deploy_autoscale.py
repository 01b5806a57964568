"""The overlay whose workers are counted by KEDA."""

from __future__ import annotations

import os
import re
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml
from kubernetes_api import strict
from manifests import KUBERNETES, Manifest, of_kind, render
from prometheus_client import REGISTRY
from test_deploy_kubernetes import VERSIONS

import control_plane.telemetry
from job_store.records import JobStatus

FOLDER = "overlays/autoscale"
SCHEMA = yaml.safe_load((Path(__file__).parent / "keda_scaled_object.yaml").read_text())


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    return render(FOLDER)


@pytest.fixture(scope="module")
def scaled(manifests: list[Manifest]) -> Manifest:
    (only,) = of_kind(manifests, "ScaledObject").values()
    return only


def without_metadata(manifest: Manifest) -> Manifest:
    return manifest | {"metadata": {}}  # its fields are those of all objects


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(manifests: list[Manifest], version: str) -> None:
    for manifest in manifests:
        if manifest["kind"] == "ScaledObject":
            assert manifest["apiVersion"] == "keda.sh/v1alpha1"
            jsonschema.validate(without_metadata(manifest), strict(SCHEMA))
        else:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_the_schema_refuses_a_field_that_keda_does_not_know(scaled: Manifest) -> None:
    wrong = scaled | {"spec": scaled["spec"] | {"coolDownPeriod": 1}}
    with pytest.raises(jsonschema.ValidationError, match="'coolDownPeriod' was unexpected"):
        jsonschema.validate(without_metadata(wrong), strict(SCHEMA))


def test_no_worker_that_trains_is_ended(manifests: list[Manifest], scaled: Manifest) -> None:
    spec = scaled["spec"]
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleDown"] == {"selectPolicy": "Disabled"}
    # With a minimum, KEDA leaves the way down to the part that is disabled.
    assert (spec["minReplicaCount"], "fallback" in spec) == (0, False)
    deployment = of_kind(manifests, "Deployment")[spec["scaleTargetRef"]["name"]]
    assert "replicas" not in deployment["spec"]


def test_it_counts_each_job_that_is_not_over_once(scaled: Manifest) -> None:
    (trigger,) = scaled["spec"]["triggers"]
    metadata = trigger["metadata"]
    assert (metadata["threshold"], metadata["ignoreNullValues"]) == ("1", "false")
    query = re.fullmatch(
        r'sum\(max by \((\w+)\) \((\w+)\{namespace="([\w-]+)", (\w+)=~"([a-z|]+)"\}\)\)',
        metadata["query"],
    )
    assert query
    grouped, metric, namespace, label, states = query.groups()
    assert set(states.split("|")) == {state.value for state in JobStatus if not state.is_terminal}
    assert namespace == scaled["metadata"]["namespace"]
    control_plane.telemetry._JOBS.labels("queued").set(0)
    (family,) = [each for each in REGISTRY.collect() if each.name == metric]
    assert set(family.samples[0].labels) == {grouped} == {label}


def test_a_prefix_is_followed_by_every_name(tmp_path: Path) -> None:
    authentication = {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "TriggerAuthentication",
        "metadata": {"name": "prometheus"},
        "spec": {
            "secretTargetRef": [{"parameter": "bearerToken", "name": "reader", "key": "token"}]
        },
    }
    (tmp_path / "authentication.yaml").write_text(yaml.safe_dump(authentication))
    named = {"name": "prometheus"}
    path = "/spec/triggers/0/authenticationRef"
    patch = yaml.safe_dump([{"op": "add", "path": path, "value": named}])
    overlay = {
        "resources": [os.path.relpath(KUBERNETES / FOLDER, tmp_path), "authentication.yaml"],
        "namePrefix": "team-a-",
        "namespace": "training-engine",
        "secretGenerator": [{"name": "reader", "literals": ["token=t"]}],
        "patches": [{"target": {"kind": "ScaledObject"}, "patch": patch}],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    manifests = render(tmp_path)
    (spec,) = [each["spec"] for each in of_kind(manifests, "ScaledObject").values()]
    (secret,) = of_kind(manifests, "Secret")
    assert secret.startswith("team-a-reader-")
    assert spec["scaleTargetRef"]["name"] == "team-a-worker"
    assert "team-a-worker" in of_kind(manifests, "Deployment")
    assert spec["triggers"][0]["authenticationRef"] == {"name": "team-a-prometheus"}
    (made,) = of_kind(manifests, "TriggerAuthentication").values()
    assert made["metadata"]["name"] == "team-a-prometheus"
    assert made["spec"]["secretTargetRef"][0]["name"] == secret
