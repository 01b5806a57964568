"""Renders the kustomizations, and finds things in what comes out."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from dockerfile import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"
ALL = sorted(
    str(path.parent.relative_to(KUBERNETES))
    for path in KUBERNETES.rglob("kustomization.yaml")
    if path.parent.parent.name != "components"
)
"""The base and every overlay."""
_APART = ("overlays/autoscale", "overlays/ha", "overlays/multi-node")
FOLDERS = [folder for folder in ALL if folder not in _APART]
"""Those with a Redis server of their own, and nothing but objects of Kubernetes."""

Manifest = dict[str, Any]


def render(folder: str | Path) -> list[Manifest]:
    """The objects that `kubectl apply -k` would send; `folder` is relative to deploy/kubernetes."""
    return copy.deepcopy(_rendered(folder))


@cache
def _rendered(folder: str | Path) -> list[Manifest]:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not on PATH, and only it renders kustomizations; install it")
    done = subprocess.run(
        [kubectl, "kustomize", str(KUBERNETES / folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # deprecations are told here
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def of_kind(manifests: list[Manifest], *kinds: str) -> dict[str, Manifest]:
    """The objects of these kinds, by name."""
    return {m["metadata"]["name"]: m for m in manifests if m["kind"] in kinds}


def workloads(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Pod specifications by the name of what makes the pods."""
    found = of_kind(manifests, "Deployment", "StatefulSet", "Job", "DaemonSet")
    return {name: m["spec"]["template"]["spec"] for name, m in found.items()}


def container(pod: Manifest) -> Manifest:
    """A pod's only container."""
    (only,) = pod["containers"]
    return dict(only)


def variables(pod: Manifest, namespace: str = "training-engine") -> dict[str, str]:
    """A container's environment, values taken from resources and the namespace filled in."""
    only = container(pod)
    filled = {}
    for entry in only.get("env", []):
        if "value" in entry:
            filled[entry["name"]] = entry["value"]
        elif "fieldRef" in entry["valueFrom"]:
            assert entry["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.namespace"
            filled[entry["name"]] = namespace
        else:
            kind, resource = entry["valueFrom"]["resourceFieldRef"]["resource"].split(".")
            filled[entry["name"]] = str(only["resources"][kind][resource])
    return filled


def arguments(pod: Manifest, namespace: str = "training-engine") -> list[str]:
    """A container's arguments; each `$(NAME)` is filled in as Kubernetes does it."""
    known = variables(pod, namespace)
    return [
        re.sub(r"\$\((\w+)\)", lambda name: known[name[1]], text) for text in container(pod)["args"]
    ]
