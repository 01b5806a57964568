"""The images: what their Dockerfiles say, and their install steps run for real."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from dockerfile import ROOT, Dockerfile, ignored
from packaging.requirements import Requirement
from redis_server import free_port

ROLES = {"control-plane": "control_plane", "gateway": "gateway", "worker": "training_worker"}
TOKEN = "a-token-of-this-test"
# Imports every module of a package, so that a missing distribution cannot hide in a lazy corner.
IMPORT_ALL = """
import importlib, pkgutil, sys
packages = [importlib.import_module(name) for name in sys.argv[1:]]
names = [m.name for p in packages for m in pkgutil.walk_packages(p.__path__, p.__name__ + ".")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(getattr(sys.modules.get("torch"), "__file__", None))
"""


# -- what the files say --------------------------------------------------------------------------


@pytest.mark.parametrize(("role", "module"), ROLES.items())
def test_an_image_runs_one_module_as_a_user_without_rights(role: str, module: str) -> None:
    final = Dockerfile(role).final
    assert final.command("ENTRYPOINT") == ["python", "-P", "-m", module]
    assert final.all("USER") == ["10001:10001"]
    assert final.base == "${PYTHON_IMAGE}"
    assert final.environment()["PATH"] == "/opt/engine/bin:$PATH"


@pytest.mark.parametrize("role", ROLES)
def test_the_tools_of_the_build_stay_out_of_the_image(role: str) -> None:
    final = Dockerfile(role).final
    assert not [line for line in final.all("RUN") if "pip" in line]
    folders = [line.split()[1:] for line in final.all("COPY") if line.startswith("--from")]
    expected = [["/opt/engine", "/opt/engine"]]
    assert folders == ([["/opt/torch", "/opt/torch"]] if role == "worker" else []) + expected


@pytest.mark.parametrize("role", ROLES)
def test_no_secret_is_built_in(role: str) -> None:
    text = Dockerfile(role).text
    named = re.findall(r"^(?:ARG|ENV) .*?(\w*(?:PASSWORD|SECRET|TOKEN|REDIS_URL)\w*)=", text, re.M)
    assert named == []


@pytest.mark.parametrize("role", ROLES)
def test_all_that_a_build_copies_is_let_through(role: str) -> None:
    for stage in Dockerfile(role).stages:
        for line in stage.all("COPY"):
            if line.startswith("--from"):
                continue
            for source in line.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert not ignored(source), source


@pytest.mark.parametrize(
    "path",
    [".git/config", ".venv/bin/python", "data/text.txt", "deploy/secrets/redis_password",
     "deploy/.env", "tests/conftest.py", "worker/app/__pycache__/a.pyc"],
)  # fmt: skip
def test_the_rest_of_the_checkout_is_not_sent_to_the_builder(path: str) -> None:
    assert ignored(path)


def test_every_role_builds_the_same_wheel() -> None:
    steps = [Dockerfile(role).stage("wheel").steps for role in ROLES]
    assert steps[0] == steps[1] == steps[2]


@pytest.mark.parametrize(("role", "port"), [("control-plane", "50051"), ("gateway", "8000")])
def test_the_health_check_asks_the_port_that_is_exposed(role: str, port: str) -> None:
    final = Dockerfile(role).final
    assert final.all("EXPOSE") == [port]
    python, dash, script, target = final.command("HEALTHCHECK")
    assert [python, dash] == ["python", "-P"]
    assert f"127.0.0.1:{port}" in target
    assert f"deploy/docker/{Path(script).name} {script}" in final.all("COPY")


# -- the install steps, run ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the wheel, built as the images build it."""
    folder = tmp_path_factory.mktemp("image")
    Dockerfile("gateway").build("wheel", folder)
    return folder / "wheels"


def install(role: str, wheels: Path, folder: Path) -> Path:
    """Run the image's environment stage; returns its python."""
    shutil.copytree(wheels, folder / "wheels")
    Dockerfile(role).build("environment", folder)
    return folder / "opt" / "engine" / "bin" / "python"


def output(*command: str | Path, **variables: str) -> str:
    """What a command prints, run where no checkout is near."""
    done = subprocess.run(
        command, cwd="/", env={"PATH": "/usr/bin:/bin", **variables},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def installed(python: Path) -> set[str]:
    """Names of the distributions in an environment."""
    program = (
        "import importlib.metadata as m\nfor d in m.distributions(): print(d.metadata['Name'])"
    )
    return {name.lower().replace("_", "-") for name in output(python, "-c", program).split()}


@contextmanager
def running(python: Path, module: str, *flags: str, **variables: str) -> Iterator[None]:
    """The image's entry point with `flags`; it must end with 0 when told to."""
    process = subprocess.Popen(
        [python, "-P", "-m", module, *flags],
        cwd="/", env={"PATH": "/usr/bin:/bin", **variables},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors


def probe(python: Path, role: str, port: int) -> int:
    """Exit code of the image's own health check, sent to `port`."""
    final = Dockerfile(role).final
    *_, script, target = final.command("HEALTHCHECK")
    address = re.sub(r":\d+", f":{port}", target)
    command = [python, "-P", ROOT / "deploy" / "docker" / Path(script).name, address]
    return subprocess.run(command, cwd="/", capture_output=True, check=False).returncode


def wait_until_healthy(python: Path, role: str, port: int) -> None:
    deadline = time.monotonic() + 30
    while probe(python, role, port) != 0:
        assert time.monotonic() < deadline, f"{role} did not become healthy"


@pytest.mark.slow
def test_control_plane_and_gateway_serve_without_torch(
    wheels: Path, tmp_path: Path, redis_url: str
) -> None:
    with ThreadPoolExecutor() as pool:  # each waits for the network most of the time
        control_plane, gateway = pool.map(
            lambda role: install(role, wheels, tmp_path / role), ("control-plane", "gateway")
        )

    heavy = {"torch", "pyarrow", "tokenizers", "pip"}
    assert not installed(control_plane) & (heavy | {"fastapi", "uvicorn"})
    assert not installed(gateway) & (heavy | {"numpy", "redis", "rq", "grpcio-reflection"})
    assert output(control_plane, "-P", "-c", IMPORT_ALL, "control_plane") == "None\n"
    assert output(gateway, "-P", "-c", IMPORT_ALL, "gateway") == "None\n"
    assert "--redis-url-file" in output(control_plane, "-P", "-m", "control_plane", "--help")
    assert "--kueue-queue" in output(control_plane, "-P", "-m", "launcher", "--help")
    assert "--auth-tokens-file" in output(gateway, "-P", "-m", "gateway", "--help")

    tokens, url = tmp_path / "auth_tokens", tmp_path / "redis_url"
    tokens.write_text(TOKEN)
    url.write_text(redis_url)
    grpc_port, http_port = free_port(), free_port()
    assert probe(control_plane, "control-plane", grpc_port) == 1
    assert probe(gateway, "gateway", http_port) == 1
    with running(
        control_plane, "control_plane", f"--redis-url-file={url}", f"--auth-tokens-file={tokens}",
        f"--port={grpc_port}", TRAINING_ENGINE_ARTIFACT_ROOT=str(tmp_path / "artifacts"),
    ):  # fmt: skip
        wait_until_healthy(control_plane, "control-plane", grpc_port)
        with running(
            gateway, "gateway", f"--control-plane-address=127.0.0.1:{grpc_port}",
            f"--auth-tokens-file={tokens}", f"--port={http_port}",
        ):  # fmt: skip
            wait_until_healthy(gateway, "gateway", http_port)


@pytest.fixture
def torch_alone(tmp_path: Path) -> Path:
    """An environment that holds the torch of this one and what torch needs, by links."""
    environment = tmp_path / "worker" / "opt" / "torch"
    output(sys.executable, "-m", "venv", "--without-pip", environment)
    (site,) = environment.glob("lib/python*/site-packages")
    for name in needs_of("torch"):
        distribution = importlib.metadata.distribution(name)
        tops = {file.parts[0] for file in distribution.files or () if file.parts[0] != ".."}
        for top in tops - {"__pycache__"}:
            os.symlink(distribution.locate_file(top), site / top)
    return environment


def needs_of(name: str, found: set[str] | None = None) -> set[str]:
    """`name` and every installed distribution that it needs."""
    found = set() if found is None else found
    if name in found:
        return found
    found.add(name)
    for line in importlib.metadata.distribution(name).requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            needs_of(requirement.name, found)
    return found


@pytest.mark.long
def test_the_worker_installs_beside_a_torch_of_its_own_layer(
    wheels: Path, tmp_path: Path, torch_alone: Path, redis_url: str
) -> None:
    python = install("worker", wheels, tmp_path / "worker")

    (site,) = python.parents[1].glob("lib/python*/site-packages")
    assert not (site / "torch").exists()
    assert not installed(python) & {"fastapi", "uvicorn", "pip", "wandb"}
    torch_file = output(python, "-P", "-c", IMPORT_ALL, "training_worker", "app")
    assert torch_file.startswith(str(torch_alone))
    assert "--grace-seconds" in output(python, "-P", "-m", "training_worker", "--help")
    url = tmp_path / "redis_url"
    url.write_text(redis_url)
    output(
        python, "-P", "-m", "training_worker", "--burst", "--no-generation",
        f"--redis-url-file={url}", OMP_NUM_THREADS="1", HOME=str(tmp_path),
        TRAINING_ENGINE_ARTIFACT_ROOT=str(tmp_path / "artifacts"),
    )  # fmt: skip


@pytest.mark.slow
def test_the_torch_layer_would_hold_the_pinned_torch(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    Dockerfile("worker").build(
        "torch", tmp_path, {"PIP_DRY_RUN": "1", "PIP_REPORT": str(report), "PIP_QUIET": "1"}
    )
    planned = {
        item["metadata"]["name"].lower(): item["metadata"]["version"]
        for item in json.loads(report.read_text())["install"]
    }
    pins = (ROOT / "constraints.txt").read_text()
    assert f"\ntorch=={planned['torch'].partition('+')[0]}\n" in pins
    assert f"\nsympy=={planned['sympy']}\n" in pins
