"""The JobSets of one namespace, by the API server's REST interface: list, get, create, delete.

The official client would bring some hundred modules for these four calls.
"""

from __future__ import annotations

import json
import os
import ssl
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

Manifest = dict[str, Any]

_API = "apis/jobset.x-k8s.io/v1alpha2"
_FORBIDDEN, _NOT_FOUND, _CONFLICT = 403, 404, 409
_REMEDIES = {
    401: "its service account's token is not accepted; the file is read again in each round",
    403: "give the launcher's role the verb {verb!r} on jobsets of the group jobset.x-k8s.io",
    404: "the cluster knows no JobSets; install the JobSet controller, https://jobset.sigs.k8s.io",
}


class KubernetesError(Exception):
    """The API server refuses a call, or does not answer; the text says what to do about it."""


class RefusedError(KubernetesError):
    """The API server refuses this call; others may succeed."""


def cluster_url() -> str:
    """Return the address of the API server of the cluster that this process runs in.

    Raises:
        KubernetesError: It runs in none.
    """
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "")
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise KubernetesError(
            "KUBERNETES_SERVICE_HOST is not set, so this process runs in no cluster; name the API "
            "server by --kubernetes-url"
        )
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


class JobSets:
    """Calls the API server as the service account whose files are in a folder.

    Make one for each round: the kubelet replaces the files while the process runs.

    Args:
        url: of the API server; empty for that of this cluster.
        account: folder with token, ca.crt and namespace.
        timeout: seconds that one call may take.

    Raises:
        KubernetesError: A file cannot be read.
    """

    def __init__(self, url: str, account: Path, timeout: float) -> None:
        self._url = (url or cluster_url()).rstrip("/")
        self.namespace = _read(account / "namespace")
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {_read(account / 'token')}"},
            verify=_trust(self._url, account / "ca.crt"),
            timeout=timeout,
            trust_env=False,  # the API server is inside the cluster, proxies lead out of it
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def list(self, label: str, value: str) -> list[Manifest]:
        """Return the JobSets that have a label with this value.

        Raises:
            KubernetesError: As for all calls, see `KubernetesError`.
        """
        selector = {"labelSelector": f"{label}={value}"}
        answer = await self._call("list", "GET", "", params=selector)
        items: list[Manifest] = answer.get("items") or []
        return items

    async def get(self, name: str) -> Manifest | None:
        """Return a JobSet; None where there is none of this name."""
        return await self._call("get", "GET", name, absent=(_NOT_FOUND,)) or None

    async def create(self, manifest: Manifest) -> bool:
        """Create a JobSet, and return True; False where there is one of its name."""
        answer = await self._call("create", "POST", "", body=manifest, absent=(_CONFLICT,))
        return bool(answer)

    async def delete(self, name: str, uid: str) -> None:
        """Delete a JobSet with its pods, unless it is gone, or another has taken its name."""
        # The name is free once the pods are gone, so that a successor never meets them.
        body = {"propagationPolicy": "Foreground", "preconditions": {"uid": uid}}
        await self._call("delete", "DELETE", name, body=body, absent=(_NOT_FOUND, _CONFLICT))

    async def _call(
        self,
        verb: str,
        method: str,
        name: str,
        *,
        params: dict[str, str] | None = None,
        body: Manifest | None = None,
        absent: tuple[int, ...] = (),
    ) -> Manifest:
        """Return the answer's object; an empty one where its status is among `absent`."""
        path = f"{_API}/namespaces/{quote(self.namespace)}/jobsets"
        url = "/".join(filter(None, (self._url, path, quote(name))))
        shown = name or (body or {}).get("metadata", {}).get("name", "")
        what = f"{verb} JobSet {shown}" if shown else f"{verb} JobSets"
        try:
            answer = await self._client.request(method, url, params=params, json=body)
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            raise KubernetesError(
                f"the API server at {self._url} does not answer ({why}); it is asked again"
            ) from None
        if answer.status_code in absent:
            return {}
        found = _object(answer)
        if not answer.is_success:
            raise RefusedError(_refusal(what, verb, answer.status_code, found, self.namespace))
        return found


def _object(answer: httpx.Response) -> Manifest:
    """Return the answer's JSON object; where it has none, its text as a message."""
    try:
        found = answer.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        found = None
    if isinstance(found, dict):
        return found
    return {"message": f"no JSON object, but {answer.text[:200]!r}"}


def _refusal(what: str, verb: str, status: int, found: Manifest, namespace: str) -> str:
    said = f"the API server refuses to {what} in namespace {namespace!r} with {status}"
    reason = str(found.get("message") or found.get("reason") or "no reason given")[:500]
    remedy = _REMEDIES.get(status, "").format(verb=verb)
    if status == _FORBIDDEN and f"cannot {verb}" not in reason:
        remedy = ""  # a quota or an admission policy
    return f"{said}: {reason}" + (f"; {remedy}" if remedy else "")


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise KubernetesError(
            f"cannot read {path}: {why}; mount the token of the pod's service account, or name its "
            "folder by --account-folder"
        ) from None
    if not text:
        raise KubernetesError(f"{path} is empty; it must hold the service account's {path.name}")
    return text


def _trust(url: str, certificate: Path) -> ssl.SSLContext | bool:
    if not url.startswith("https://"):
        return True
    try:
        return ssl.create_default_context(cafile=certificate)
    except (OSError, ssl.SSLError) as error:
        raise KubernetesError(
            f"cannot use {certificate} to verify the API server: {error}"
        ) from None
