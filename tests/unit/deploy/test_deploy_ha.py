"""The overlay whose Redis is behind sentinels that others run."""

from __future__ import annotations

import kubernetes_validate
import pytest
from manifests import Manifest, arguments, container, of_kind, render, variables, workloads
from processes import SETTINGS, resolved
from test_deploy_kubernetes import VERSIONS, pods

from job_store.clients import check_url, has_sentinels
from service_runtime.settings import ENV_PREFIX

FOLDER = "overlays/ha"


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    return render(FOLDER)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(manifests: list[Manifest], version: str) -> None:
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_nothing_is_left_of_the_server_of_the_base(manifests: list[Manifest]) -> None:
    assert of_kind(manifests, "StatefulSet", "ConfigMap", "NetworkPolicy") == {}
    assert set(of_kind(manifests, "Service")) == {"control-plane", "gateway"}


def test_both_are_given_the_same_sentinels(manifests: list[Manifest]) -> None:
    urls = set()
    for role in ("control-plane", "worker"):
        pod = workloads(manifests)[role]
        ours = {name: v for name, v in variables(pod).items() if name.startswith(ENV_PREFIX)}
        settings = resolved(role, arguments(pod), ours)
        urls.add(settings.redis_url.get_secret_value())
        assert settings.redis_password_file is not None
    (url,) = urls
    assert has_sentinels(check_url(url))


@pytest.mark.parametrize("role", SETTINGS)
def test_two_of_each_are_spread_over_nodes(manifests: list[Manifest], role: str) -> None:
    deployment = of_kind(manifests, "Deployment")[role]
    assert deployment["spec"]["replicas"] == 2
    (spread,) = workloads(manifests)[role]["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert pods(manifests, spread["labelSelector"]["matchLabels"]) == [role]
    assert container(workloads(manifests)[role])["image"].startswith(f"training-engine/{role}")
