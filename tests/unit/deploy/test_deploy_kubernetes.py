"""The Kubernetes manifests: rendered, against real schemas, and against the processes they run."""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kubernetes_validate
import pytest
import yaml
from dockerfile import Dockerfile
from grpc_health.v1 import health_pb2
from manifests import (
    ALL,
    FOLDERS,
    KUBERNETES,
    Manifest,
    arguments,
    container,
    of_kind,
    render,
    variables,
    workloads,
)
from processes import SECRET_FILES, SETTINGS, resolved, secret_files
from redis_server import free_port

from control_plane.health import LIVENESS, HealthMonitor
from job_store.connection import AsyncConnection
from job_store.errors import StoreUnavailableError
from service_runtime.duties import Duties
from service_runtime.settings import ENV_PREFIX

ROLES = tuple(SETTINGS)
MOUNT = "/run/secrets/training-engine"
# The oldest release that the manifests are meant for, and the newest that the validator knows.
VERSIONS = ("1.29.0", kubernetes_validate.latest_version())


@pytest.fixture(scope="module", params=FOLDERS)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    """What one kustomization renders to."""
    return render(request.param)


def settings_of(manifests: list[Manifest], role: str) -> Any:
    pod = workloads(manifests)[role]
    assert "command" not in container(pod)  # the image's entry point runs
    (namespace,) = of_kind(manifests, "Namespace")
    ours = {name: v for name, v in variables(pod).items() if name.startswith(ENV_PREFIX)}
    return resolved(role, arguments(pod, namespace), ours)


def selects(selector: dict[str, str], pod_labels: dict[str, str]) -> bool:
    return selector.items() <= pod_labels.items()


def test_there_is_a_base_and_its_overlays() -> None:
    assert ALL == [
        "base", "overlays/autoscale", "overlays/dev", "overlays/gpu", "overlays/ha",
        "overlays/multi-node", "overlays/s3",
    ]  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(manifests: list[Manifest], version: str) -> None:
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)
    kinds = {manifest["kind"] for manifest in manifests}
    assert kinds >= {
        "ConfigMap", "Deployment", "Namespace", "NetworkPolicy", "PodDisruptionBudget", "Service",
        "StatefulSet",
    }  # fmt: skip


def test_the_validator_refuses_what_is_wrong() -> None:
    service = of_kind(render("base"), "Service")["gateway"]
    service["spec"]["ports"][0]["prot"] = 1
    with pytest.raises(kubernetes_validate.ValidationError, match="'prot' was unexpected"):
        kubernetes_validate.validate(service, VERSIONS[0], strict=True)


def test_all_is_in_one_namespace(manifests: list[Manifest]) -> None:
    (namespace,) = of_kind(manifests, "Namespace")
    assert namespace == "training-engine"
    others = [m["metadata"].get("namespace") for m in manifests if m["kind"] != "Namespace"]
    assert set(others) == {namespace}


@pytest.mark.parametrize("role", ROLES)
def test_flags_and_variables_are_those_of_the_process(manifests: list[Manifest], role: str) -> None:
    settings = settings_of(manifests, role)
    assert set(secret_files(settings)) == {f"{MOUNT}/{name}" for name in SECRET_FILES[role]}


@pytest.mark.parametrize("role", [*ROLES, "redis"])
def test_a_pod_sees_its_own_secrets_only(manifests: list[Manifest], role: str) -> None:
    pod = workloads(manifests)[role]
    (volume,) = [v for v in pod["volumes"] if "secret" in v]
    needed = SECRET_FILES.get(role, {"redis_password"})
    assert {item["key"] for item in volume["secret"]["items"]} == needed
    assert {item["path"] for item in volume["secret"]["items"]} == needed
    (mount,) = [m for m in container(pod)["volumeMounts"] if m["name"] == volume["name"]]
    assert mount["mountPath"] == MOUNT
    if role == "redis":
        assert variables(pod)["REDIS_PASSWORD_FILE"] == f"{MOUNT}/redis_password"


def test_the_secret_is_named_and_only_the_overlay_for_development_makes_one(
    manifests: list[Manifest], request: pytest.FixtureRequest
) -> None:
    named = {
        volume["secret"]["secretName"]
        for pod in workloads(manifests).values()
        for volume in pod["volumes"]
        if "secret" in volume
    }
    made = of_kind(manifests, "Secret")
    if request.node.callspec.params["manifests"] == "overlays/dev":
        assert named == set(made)
        (secret,) = made.values()
        assert set(secret["data"]) == {"redis_password", "auth_tokens"}
    else:
        assert named == {"training-engine"}
        assert made == {}


def test_the_processes_listen_where_the_manifests_say(manifests: list[Manifest]) -> None:
    for role, port_name in (("control-plane", "grpc"), ("gateway", "http")):
        settings = settings_of(manifests, role)
        ports = {p["name"]: p["containerPort"] for p in container_of(manifests, role)["ports"]}
        assert (settings.host, ports[port_name]) == ("0.0.0.0", settings.port)
    for role in ("control-plane", "worker"):
        settings = settings_of(manifests, role)
        ports = {p["name"]: p["containerPort"] for p in container_of(manifests, role)["ports"]}
        assert (settings.metrics_host, ports["metrics"]) == ("0.0.0.0", settings.metrics_port)


def container_of(manifests: list[Manifest], role: str) -> Manifest:
    return container(workloads(manifests)[role])


def pods(manifests: list[Manifest], selector: dict[str, str]) -> list[str]:
    """The workloads whose pods a selector finds."""
    return [
        name
        for name, manifest in of_kind(manifests, "Deployment", "StatefulSet").items()
        if selects(selector, manifest["spec"]["template"]["metadata"]["labels"])
    ]


def test_services_lead_to_pods_and_ports_that_exist(manifests: list[Manifest]) -> None:
    services = of_kind(manifests, "Service")
    assert set(services) == {"control-plane", "gateway", "redis"}
    for name, service in services.items():
        assert pods(manifests, service["spec"]["selector"]) == [name]
        offered = {port["name"] for port in container_of(manifests, name)["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= offered


def test_the_addresses_in_flags_are_those_of_services(manifests: list[Manifest]) -> None:
    services = of_kind(manifests, "Service")
    ports = {name: s["spec"]["ports"][0]["port"] for name, s in services.items()}
    gateway = settings_of(manifests, "gateway")
    assert gateway.control_plane_address == f"control-plane:{ports['control-plane']}"
    assert ports["redis"] == 6379
    namespace = next(iter(of_kind(manifests, "Namespace")))
    for role in ("control-plane", "worker"):
        url = settings_of(manifests, role).redis_url.get_secret_value()
        assert url == f"redis://redis:{ports['redis']}/0"
    assert gateway.allowed_host == [
        "gateway",
        f"gateway.{namespace}",
        f"gateway.{namespace}.svc",
        f"gateway.{namespace}.svc.cluster.local",
    ]


def test_budgets_and_selectors_match_pods(manifests: list[Manifest]) -> None:
    deployments = of_kind(manifests, "Deployment", "StatefulSet")
    for name, manifest in deployments.items():
        labels = manifest["spec"]["template"]["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == name
        assert labels["app.kubernetes.io/part-of"] == "training-engine"
        assert selects(manifest["spec"]["selector"]["matchLabels"], labels)
    budgets = of_kind(manifests, "PodDisruptionBudget")
    assert set(budgets) == {"control-plane", "gateway"}
    for name, budget in budgets.items():
        labels = deployments[name]["spec"]["template"]["metadata"]["labels"]
        assert selects(budget["spec"]["selector"]["matchLabels"], labels)


def test_a_process_gets_the_time_that_it_takes_to_leave(manifests: list[Manifest]) -> None:
    for role, field in (
        ("control-plane", "shutdown_grace_seconds"),
        ("gateway", "shutdown_seconds"),
        ("worker", "grace_seconds"),
    ):
        pod = workloads(manifests)[role]
        pause = container(pod).get("lifecycle", {}).get("preStop", {}).get("exec", {})
        seconds = float(pause.get("command", ["sleep", "0"])[1])
        needed = seconds + getattr(settings_of(manifests, role), field)
        assert pod["terminationGracePeriodSeconds"] >= needed + 10, role


def test_probes_ask_what_the_processes_answer(manifests: list[Manifest]) -> None:
    plane = container_of(manifests, "control-plane")
    port = settings_of(manifests, "control-plane").port
    assert plane["readinessProbe"]["grpc"] == {"port": port}
    for probe in ("livenessProbe", "startupProbe"):
        assert plane[probe]["grpc"] == {"port": port, "service": LIVENESS}
    gateway = container_of(manifests, "gateway")
    paths = {name: gateway[name]["httpGet"]["path"] for name in gateway if name.endswith("Probe")}
    assert paths == {
        "readinessProbe": "/readyz", "livenessProbe": "/healthz", "startupProbe": "/healthz"
    }  # fmt: skip
    assert not [name for name in container_of(manifests, "worker") if name.endswith("Probe")]


def test_redis_is_given_three_quarters_of_its_memory_limit(manifests: list[Manifest]) -> None:
    # The script makes maxmemory of the variable; test_deploy_redis.py runs it.
    redis = container_of(manifests, "redis")
    (variable,) = [entry for entry in redis["env"] if entry["name"] == "REDIS_MEMORY_MIB"]
    source = {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}
    assert variable["valueFrom"] == source
    assert re.fullmatch(r"\d+Gi", redis["resources"]["limits"]["memory"])


async def test_a_control_plane_without_redis_is_alive_and_not_ready() -> None:
    connection = AsyncConnection.open(f"redis://127.0.0.1:{free_port()}/0")
    monitor = HealthMonitor(connection, Duties(expected=(StoreUnavailableError,)), [])
    await monitor.check()
    context = SimpleNamespace(set_trailing_metadata=lambda pairs: None)
    answers = [
        await monitor.servicer.Check(health_pb2.HealthCheckRequest(service=name), context)
        for name in ("", LIVENESS)
    ]
    await connection.close()
    status = health_pb2.HealthCheckResponse
    assert [answer.status for answer in answers] == [status.NOT_SERVING, status.SERVING]


@pytest.mark.parametrize("role", [*ROLES, "redis"])
def test_pods_meet_the_restricted_standard(manifests: list[Manifest], role: str) -> None:
    pod = workloads(manifests)[role]
    assert pod["automountServiceAccountToken"] is False
    # Else a Service named like our prefix would set our variables.
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    if role != "redis":
        user = Dockerfile(role).final.all("USER")[-1]
        ids = (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"])
        assert user == "{}:{}".format(*ids)
    assert container(pod)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(container(pod)["resources"]["requests"]) >= {"cpu", "memory"}


@pytest.mark.parametrize("role", [*ROLES, "redis"])
def test_mounts_name_volumes_and_volumes_name_claims(manifests: list[Manifest], role: str) -> None:
    pod = workloads(manifests)[role]
    claims = of_kind(manifests, "PersistentVolumeClaim")
    templates = of_kind(manifests, "StatefulSet").get(role, {"spec": {}})["spec"]
    names = [volume["name"] for volume in pod["volumes"]]
    names += [claim["metadata"]["name"] for claim in templates.get("volumeClaimTemplates", [])]
    assert {mount["name"] for mount in container(pod)["volumeMounts"]} == set(names)
    for volume in pod["volumes"]:
        if "persistentVolumeClaim" in volume:
            assert volume["persistentVolumeClaim"]["claimName"] in claims


def test_what_a_process_writes_to_is_writable(manifests: list[Manifest]) -> None:
    for role in ("control-plane", "worker"):
        mounts = {m["mountPath"]: m for m in container_of(manifests, role)["volumeMounts"]}
        settings = settings_of(manifests, role)
        in_bucket = isinstance(settings.artifact_root, str)
        if role == "worker" or not in_bucket:
            written_to = settings.scratch_dir if in_bucket else settings.artifact_root
            assert "readOnly" not in mounts[str(written_to)]
        assert "readOnly" not in mounts["/tmp"]
        assert mounts["/data"]["readOnly"] is True
    assert settings_of(manifests, "control-plane").data_root == [Path("/data")]
    written = Dockerfile("worker").final.environment()
    folders = [written[name] for name in written if re.search("HOME|CACHE|WANDB_DIR", name)]
    assert len(folders) == 5
    assert all(re.match("/cache|/tmp", folder) for folder in folders)


def test_a_worker_takes_as_many_threads_as_it_has_cores(manifests: list[Manifest]) -> None:
    limits = container_of(manifests, "worker")["resources"]["limits"]
    assert settings_of(manifests, "worker").threads == int(limits["cpu"])


def test_images_are_those_that_the_dockerfiles_build(manifests: list[Manifest]) -> None:
    for role in ROLES:
        image = container_of(manifests, role)["image"].partition(":")[0]
        assert f"-t {image} ." in Dockerfile(role).text


def test_redis_starts_from_the_files_of_the_base(manifests: list[Manifest]) -> None:
    (configuration,) = of_kind(manifests, "ConfigMap").values()
    for name, text in configuration["data"].items():
        assert text == (KUBERNETES / "base" / name).read_text()
    pod = workloads(manifests)["redis"]
    (volume,) = [v for v in pod["volumes"] if "configMap" in v]
    assert volume["configMap"]["name"] == configuration["metadata"]["name"]
    scripts = [container(pod)["command"], container(pod)["readinessProbe"]["exec"]["command"]]
    assert [Path(script[-1]).name for script in scripts] == ["redis-start.sh", "redis-ping.sh"]
    assert {Path(script[-1]).name for script in scripts} <= set(configuration["data"])


def test_redis_is_reached_by_those_that_have_its_password(manifests: list[Manifest]) -> None:
    policy = of_kind(manifests, "NetworkPolicy")["redis"]["spec"]
    assert pods(manifests, policy["podSelector"]["matchLabels"]) == ["redis"]
    (sources,) = [rule["from"] for rule in policy["ingress"]]
    reach = [pods(manifests, source["podSelector"]["matchLabels"]) for source in sources]
    assert reach == [["control-plane"], ["worker"]]
    assert [name for (name,) in reach] == [
        role for role, files in SECRET_FILES.items() if "redis_password" in files
    ]


def test_each_role_runs_as_often_as_its_overlay_says() -> None:
    counted = {}
    for folder in FOLDERS:
        deployments = of_kind(render(folder), "Deployment")
        counted[folder] = {name: m["spec"]["replicas"] for name, m in deployments.items()}
    twice = {"control-plane": 2, "gateway": 2, "worker": 2}
    assert counted == {
        "base": twice,
        "overlays/dev": {"control-plane": 1, "gateway": 1, "worker": 1},
        "overlays/gpu": twice,
        "overlays/s3": twice,
    }


def test_the_gpu_overlay_gives_each_worker_one_gpu() -> None:
    rendered = render("overlays/gpu")
    resources = container_of(rendered, "worker")["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == "1"
    assert resources["requests"]["nvidia.com/gpu"] == "1"
    assert settings_of(rendered, "worker").device == "cuda"
    (shared,) = [
        v["emptyDir"]
        for v in workloads(rendered)["worker"]["volumes"]
        if v["name"] == "shared-memory"
    ]
    assert shared == {"medium": "Memory", "sizeLimit": "8Gi"}
    elsewhere = [yaml.safe_dump(render(folder)) for folder in FOLDERS if "gpu" not in folder]
    assert not [text for text in elsewhere if "nvidia" in text]


def test_the_overlay_with_a_bucket_gives_both_the_same_address() -> None:
    rendered = render("overlays/s3")
    roots = {settings_of(rendered, role).artifact_root for role in ("control-plane", "worker")}
    assert roots == {"s3://training-engine/artifacts"}
    assert settings_of(rendered, "worker").scratch_dir == Path("/artifacts")
    for role in ("control-plane", "worker"):
        assert container_of(rendered, role)["envFrom"] == [
            {"secretRef": {"name": "bucket", "optional": True}}
        ]
        emptied = [v["name"] for v in workloads(rendered)[role]["volumes"] if "emptyDir" in v]
        assert {"artifacts", "data"} <= set(emptied)


def test_claims_can_be_shared_where_there_are_many_nodes() -> None:
    modes = {
        folder: {
            claim["spec"]["accessModes"][0]
            for claim in of_kind(render(folder), "PersistentVolumeClaim").values()
        }
        for folder in FOLDERS
    }
    assert modes == {
        "base": {"ReadWriteMany"},
        "overlays/dev": {"ReadWriteOnce"},
        "overlays/gpu": {"ReadWriteMany"},
        "overlays/s3": set(),  # Redis' own is in a template
    }


def instance(folder: Path, name: str) -> list[Manifest]:
    """An instance of the dev overlay under a prefix, as docs/deployment.md describes it."""
    base = os.path.relpath(KUBERNETES / "overlays" / "dev", folder)
    prefixed = {
        "resources": [base],
        "namePrefix": f"{name}-",
        "namespace": "ml",
        "labels": [{"pairs": {"app.kubernetes.io/instance": name}, "includeSelectors": True}],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(prefixed))
    return render(folder)


def test_a_prefix_and_another_namespace_are_followed_by_all_that_names_a_service(
    tmp_path: Path,
) -> None:
    manifests = instance(tmp_path, "team-a")
    pod = workloads(manifests)
    plane, gateway, worker = (arguments(pod[f"team-a-{role}"], "ml") for role in ROLES)
    assert "--control-plane-address=team-a-control-plane:50051" in gateway
    hosts = [text.partition("=")[2] for text in gateway if text.startswith("--allowed-host=")]
    assert hosts == [
        f"team-a-gateway{rest}" for rest in ("", ".ml", ".ml.svc", ".ml.svc.cluster.local")
    ]
    for arguments_of_it in (plane, worker):
        assert "--redis-url=redis://team-a-redis:6379/0" in arguments_of_it
    assert set(of_kind(manifests, "Service")) == {
        "team-a-control-plane", "team-a-gateway", "team-a-redis",
    }  # fmt: skip
    # Nothing is left that names what the prefix renamed.
    text = yaml.safe_dump([m for m in manifests if m["kind"] != "ConfigMap"])
    assert not re.search(r"(?<![-\w])(control-plane|gateway|redis):\d", text)


def test_two_instances_in_one_namespace_are_not_mixed(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    everything = instance(first, "team-a") + instance(second, "team-b")
    for service in of_kind(everything, "Service").values():
        assert pods(everything, service["spec"]["selector"]) == [service["metadata"]["name"]]
    for policy in of_kind(everything, "NetworkPolicy").values():
        mine = policy["metadata"]["name"].removesuffix("-redis")
        sources = [source["podSelector"] for source in policy["spec"]["ingress"][0]["from"]]
        for selector in [policy["spec"]["podSelector"], *sources]:
            assert [
                name.startswith(mine) for name in pods(everything, selector["matchLabels"])
            ] == [True]
