"""`deploy/compose.yaml`: against the images, the settings of the processes, and itself."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from dockerfile import ROOT, Dockerfile
from processes import SECRET_FILES, SETTINGS, resolved, secret_files

FOLDER = ROOT / "deploy"
ROLES = tuple(SETTINGS)


def with_defaults(text: str) -> str:
    """Compose's `${NAME:-default}` where no variable is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load(with_defaults((FOLDER / "compose.yaml").read_text()))


def seconds(text: str) -> int:
    """`45s` as 45."""
    match = re.fullmatch(r"(\d+)s", text)
    assert match, text
    return int(match[1])


@pytest.mark.parametrize("role", ROLES)
def test_flags_and_variables_are_those_of_the_process(compose: dict[str, Any], role: str) -> None:
    service = compose["services"][role]
    settings = resolved(role, service["command"], service.get("environment", {}))
    assert set(secret_files(settings)) == {f"/run/secrets/{name}" for name in SECRET_FILES[role]}
    assert set(service["secrets"]) == SECRET_FILES[role]


@pytest.mark.parametrize("role", ROLES)
def test_each_role_is_built_from_its_dockerfile(compose: dict[str, Any], role: str) -> None:
    build = compose["services"][role]["build"]
    assert (FOLDER / build["context"]).resolve() == ROOT
    assert build["dockerfile"] == f"deploy/docker/Dockerfile.{role}"
    assert set(build.get("args", {})) <= set(Dockerfile(role).arguments)


def test_redis_is_given_three_quarters_of_its_memory_limit(compose: dict[str, Any]) -> None:
    # The script makes maxmemory of the variable; test_deploy_redis.py runs it.
    redis = compose["services"]["redis"]
    assert redis["mem_limit"] == redis["environment"]["REDIS_MEMORY_MIB"] + "m"


def test_only_loopback_is_published(compose: dict[str, Any]) -> None:
    published = {name: service.get("ports", []) for name, service in compose["services"].items()}
    assert published == {
        "redis": [],
        "control-plane": ["127.0.0.1:50051:50051"],
        "gateway": ["127.0.0.1:8000:8000"],
        "worker": [],
    }
    for role in ("control-plane", "gateway"):
        settings = resolved(role, compose["services"][role]["command"], {})
        assert f"127.0.0.1:{settings.port}:{settings.port}" in published[role]
        assert settings.host == "0.0.0.0"


def test_the_gateway_calls_the_control_plane_by_its_name(compose: dict[str, Any]) -> None:
    settings = resolved("gateway", compose["services"]["gateway"]["command"], {})
    assert settings.control_plane_address == "control-plane:50051"
    assert settings.auth_tokens_file == Path("/run/secrets/auth_tokens")


def test_a_process_gets_the_time_that_it_takes_to_leave(compose: dict[str, Any]) -> None:
    spare = {}
    for role, field in (
        ("control-plane", "shutdown_grace_seconds"),
        ("gateway", "shutdown_seconds"),
        ("worker", "grace_seconds"),
    ):
        service = compose["services"][role]
        needed = getattr(resolved(role, service["command"], {}), field)
        spare[role] = seconds(service["stop_grace_period"]) - needed
    assert spare == {"control-plane": 10, "gateway": 10, "worker": 15}


@pytest.mark.parametrize("role", [*ROLES, "redis"])
def test_containers_are_hardened(compose: dict[str, Any], role: str) -> None:
    service = compose["services"][role]
    assert service["read_only"] is True
    assert service["init"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert any(mount.startswith("/tmp") for mount in service["tmpfs"])


def test_whom_others_wait_for_has_a_health_check(compose: dict[str, Any]) -> None:
    waited_for = {
        other
        for service in compose["services"].values()
        for other, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_healthy"
    }
    assert waited_for == {"redis", "control-plane"}
    assert "healthcheck" in compose["services"]["redis"]
    assert Dockerfile("control-plane").final.all("HEALTHCHECK")


@pytest.mark.parametrize("role", ["control-plane", "worker"])
def test_the_volumes_lie_where_the_process_looks(compose: dict[str, Any], role: str) -> None:
    service = compose["services"][role]
    settings = resolved(role, service["command"], {})
    targets = [volume.split(":")[1:] for volume in service["volumes"]]
    assert [str(settings.artifact_root)] in targets
    assert ["/data", "ro"] in targets
    if role == "control-plane":
        assert settings.data_root == [Path("/data")]


def test_every_name_is_declared_and_every_file_is_there(compose: dict[str, Any]) -> None:
    services = compose["services"].values()
    secrets = {name for service in services for name in service["secrets"]}
    assert secrets == set(compose["secrets"])
    volumes = {v.split(":")[0] for service in services for v in service.get("volumes", [])}
    assert {v for v in volumes if "/" not in v} == set(compose["volumes"])
    configs = {config["source"] for config in compose["services"]["redis"]["configs"]}
    assert configs == set(compose["configs"])
    for config in compose["configs"].values():
        assert (FOLDER / config["file"]).is_file()


def test_no_secret_stands_in_the_file() -> None:
    text = (FOLDER / "compose.yaml").read_text()
    assert re.findall(r"requirepass|--auth-tokens=|redis://[^ ]*@", text) == []


def test_the_gpu_file_adds_devices_to_a_service_that_exists(compose: dict[str, Any]) -> None:
    extra = yaml.safe_load((FOLDER / "compose.gpu.yaml").read_text())
    assert set(extra["services"]) == {"worker"} <= set(compose["services"])
    (device,) = extra["services"]["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}


def test_the_secrets_are_made_once_and_closed_to_others(
    compose: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "secrets"
    make = ["sh", str(FOLDER / "make-secrets.sh"), str(folder)]
    first = subprocess.run(make, check=True, capture_output=True, text=True).stdout
    made = {path.name: path.read_text().strip() for path in folder.iterdir()}
    subprocess.run(make, check=True, capture_output=True)

    assert {path.name: path.read_text().strip() for path in folder.iterdir()} == made
    assert {Path(secret["file"]).name for secret in compose["secrets"].values()} == set(made)
    assert re.fullmatch("[0-9a-f]{64}", made["redis_password"])
    assert re.fullmatch("[0-9a-f]{64}", made["auth_tokens"])
    assert made["auth_tokens"] != made["redis_password"]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not [value for value in made.values() if value in first]
