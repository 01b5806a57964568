"""`docs/deployment.md`: its commands name what there is; those that need no engine and no cluster
are run."""

from __future__ import annotations

import re
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from dockerfile import ROOT, Dockerfile
from manifests import FOLDERS, KUBERNETES, of_kind, render
from processes import SETTINGS

from gateway.application import create_app
from gateway.settings import GatewaySettings

PAGE = ROOT / "docs" / "deployment.md"
TEXT = PAGE.read_text()
COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
]


def commands(beginning: str) -> list[list[str]]:
    """The words of each command that begins like this."""
    return [shlex.split(line) for line in COMMANDS if line.startswith(beginning + " ")]


def test_every_command_is_of_a_kind_that_is_checked_here() -> None:
    kinds = ("curl", "docker build", "docker compose", "kubectl", "sh deploy/make-secrets.sh")
    assert [line for line in COMMANDS if not line.startswith(kinds)] == []
    assert len(re.findall("```", TEXT)) == 2 * len(re.findall("```(?:bash|yaml)\n", TEXT))


def test_each_role_is_built_as_its_dockerfile_says() -> None:
    lines = [line for line in COMMANDS if line.startswith("docker build")]
    assert len(lines) == len(SETTINGS)
    for role, line in zip(SETTINGS, lines, strict=True):
        assert f"#   {line}\n" in Dockerfile(role).text
    arguments = Dockerfile("worker").arguments
    named = {name for name in arguments if f"| `{name}` |" in TEXT}
    assert named == set(arguments) == {"PYTHON_IMAGE", "TORCH_INDEX", "EXTRAS"}


def test_compose_is_given_files_that_exist() -> None:
    for words in commands("docker compose"):
        files = [file for flag, file in pairwise(words) if flag == "-f"]
        assert files[0] == "deploy/compose.yaml"
        assert all((ROOT / file).is_file() for file in files)
    variables = re.findall(r"\$\{(\w+):-", (ROOT / "deploy" / "compose.yaml").read_text())
    assert [name for name in variables if f"`{name}`" not in TEXT] == []


@pytest.mark.parametrize("words", commands("kubectl kustomize"), ids=lambda words: words[-1])
def test_renderings_are_run(words: list[str]) -> None:
    folder = Path(words[-1]).relative_to("deploy/kubernetes")
    assert len(render(str(folder))) >= 10


def test_kubectl_is_given_what_the_manifests_hold() -> None:
    rendered = render("base")
    (namespace,) = of_kind(rendered, "Namespace")
    for words in commands("kubectl"):
        if "-n" in words:
            assert words[words.index("-n") + 1] == namespace
        if "-k" in words:
            folder = Path(words[words.index("-k") + 1]).relative_to("deploy/kubernetes")
            assert str(folder) in FOLDERS
        if "-f" in words:
            assert (ROOT / words[words.index("-f") + 1]).is_file()
        for kind, name in re.findall(r"\b(deployment|service)/(\S+)", " ".join(words)):
            assert name in of_kind(rendered, kind.capitalize())
    (forward,) = [words for words in commands("kubectl") if "port-forward" in words]
    port = of_kind(rendered, "Service")["gateway"]["spec"]["ports"][0]["port"]
    assert forward[-1] == f"8000:{port}"


def test_the_secret_is_made_of_the_files_that_the_script_makes(tmp_path: Path) -> None:
    (create,) = [words for words in commands("kubectl") if "create" in words]
    assert create[create.index("generic") + 1] == "training-engine"
    assert create[-1] == "--from-file=deploy/secrets"
    script = ROOT / "deploy" / "make-secrets.sh"
    subprocess.run(["sh", script, tmp_path / "secrets"], check=True, capture_output=True)
    made = {path.name for path in (tmp_path / "secrets").iterdir()}
    (generated,) = of_kind(render("overlays/dev"), "Secret").values()
    assert made == set(generated["data"])


def test_the_request_names_a_route() -> None:
    (curl,) = commands("curl")
    path = curl[-1].removeprefix("http://127.0.0.1:8000")
    assert "get" in create_app(GatewaySettings()).openapi()["paths"][path]


def test_folders_and_numbers_in_the_text_are_true() -> None:
    for folder in FOLDERS:
        assert f"| `deploy/kubernetes/{folder}` |" in TEXT
    graces = {}
    for folder in ("base", "overlays/gpu"):
        pod = of_kind(render(folder), "Deployment")["worker"]["spec"]["template"]["spec"]
        (seconds,) = re.findall(r"--grace-seconds=(\d+)", str(pod["containers"][0]["args"]))
        graces[folder] = f"{seconds} of {pod['terminationGracePeriodSeconds']} s"
    shown = f"({graces['base']}; {graces['overlays/gpu']} with GPUs)"
    assert shown in re.sub(r"\s+", " ", TEXT)
    assert (KUBERNETES / "base" / "namespace.yaml").is_file()
