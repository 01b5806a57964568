"""The part of Kubernetes that a launcher meets: an API server for JobSets, and who runs their pods.

The server speaks TLS with a certificate of its own, lets a service account in by a token that may
be renewed, knows what verbs it has, validates what it is sent, and fails where a test asks for it.
The pods are processes of this machine.
"""

from __future__ import annotations

import copy
import datetime
import ipaddress
import json
import secrets
import signal
import ssl
import subprocess
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema
import kubernetes_validate
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from redis_server import DIE_WITH_PARENT

Manifest = dict[str, Any]
NAMESPACE = "ml"
VERBS = frozenset({"create", "delete", "get", "list"})
_FOLDER = f"/apis/jobset.x-k8s.io/v1alpha2/namespaces/{NAMESPACE}/jobsets"
_SCHEMA = yaml.safe_load((Path(__file__).parent / "jobset_schema.yaml").read_text())


def strict(schema: Manifest) -> Manifest:
    """The schema, under which a field that it does not name is an error."""
    copied = {name: strict(value) if isinstance(value, dict) else value
              for name, value in schema.items()}  # fmt: skip
    if isinstance(copied.get("properties"), dict) and "type" in copied:
        copied.setdefault("additionalProperties", False)
    return copied


def validate_jobset(manifest: Manifest, version: str = "1.29.0") -> None:
    """Raise where JobSet's schema, or Kubernetes' for the jobs in it, refuses a JobSet."""
    assert (manifest["apiVersion"], manifest["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    jsonschema.validate(manifest | {"metadata": {}}, strict(_SCHEMA))
    for group in manifest["spec"]["replicatedJobs"]:
        template = copy.deepcopy(group["template"])
        metadata = template.pop("metadata", {}) | {"name": group["name"]}
        # The webhook sets it where it is missing.
        template["spec"]["template"]["spec"].setdefault("restartPolicy", "OnFailure")
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, **template}
        kubernetes_validate.validate(job, version, strict=True)


class KubernetesApi:
    """An API server with JobSets in one namespace.

    Attributes:
        account: Folder of a service account, as a pod has it.
        jobsets: What is stored, by name.
        created: Names of what was stored by a call, in order.
        verbs: What the account may do.
        fault: Asked before a call is carried out; a status and a message make it fail.
        before_answer: Called once a call has been carried out.
    """

    def __init__(self, folder: Path) -> None:
        self.account = folder / "account"
        self.account.mkdir(parents=True)
        (self.account / "namespace").write_text(NAMESPACE)
        self.jobsets: dict[str, Manifest] = {}
        self.created: list[str] = []
        self.verbs = VERBS
        self.fault: Callable[[str], tuple[int, str] | None] = lambda verb: None
        self.before_answer: Callable[[str], None] = lambda verb: None
        self.lock = threading.RLock()
        self.renew_token()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(_certificate(self.account / "ca.crt", folder / "server.pem"))
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.url = f"https://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()

    def reset(self) -> None:
        """Forget all JobSets and faults."""
        self.jobsets.clear()
        self.created.clear()
        self.verbs = VERBS
        self.fault, self.before_answer = (lambda verb: None), (lambda verb: None)

    def renew_token(self) -> None:
        """Give the account another token; the one before is not let in any more."""
        self.token = secrets.token_hex(8)
        (self.account / "token").write_text(self.token)

    def store(self, manifest: Manifest) -> Manifest:
        """Store a JobSet as a person would, by `kubectl create`."""
        validate_jobset(manifest)
        stored = copy.deepcopy(manifest)
        stored["metadata"] |= {"uid": str(uuid.uuid4()), "namespace": NAMESPACE}
        self.jobsets[manifest["metadata"]["name"]] = stored
        return stored

    def answer(self, verb: str, name: str, query: Manifest, body: Manifest) -> tuple[int, Manifest]:
        """Carry a call out; returns its status and its object."""
        with self.lock:
            if fault := self.fault(verb):
                return fault[0], _status(*fault)
            if verb not in self.verbs:
                return 403, _status(403, f"jobsets is forbidden: User cannot {verb} resource")
            result = getattr(self, f"_{verb}")(name, query, body)
            self.before_answer(verb)
            return result

    def _list(self, name: str, query: Manifest, body: Manifest) -> tuple[int, Manifest]:
        label, _, value = query["labelSelector"][0].partition("=")
        items = [one for one in self.jobsets.values()
                 if one["metadata"].get("labels", {}).get(label) == value]  # fmt: skip
        return 200, {"kind": "JobSetList", "items": items}

    def _get(self, name: str, query: Manifest, body: Manifest) -> tuple[int, Manifest]:
        found = self.jobsets.get(name)
        return (200, found) if found else (404, _status(404, f'jobsets "{name}" not found'))

    def _create(self, name: str, query: Manifest, body: Manifest) -> tuple[int, Manifest]:
        name = body["metadata"]["name"]
        if name in self.jobsets:
            return 409, _status(409, f'jobsets "{name}" already exists')
        try:
            stored = self.store(body)
        except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
            return 422, _status(422, f'JobSet "{name}" is invalid: {error.message}')
        self.created.append(name)
        return 201, stored

    def _delete(self, name: str, query: Manifest, body: Manifest) -> tuple[int, Manifest]:
        found = self.jobsets.get(name)
        if found is None:
            return 404, _status(404, f'jobsets "{name}" not found')
        if body["preconditions"]["uid"] != found["metadata"]["uid"]:
            return 409, _status(409, "the UID in the precondition does not match")
        if found.get("pods"):
            found["metadata"]["deletionTimestamp"] = "now"  # until its pods are gone
        else:
            del self.jobsets[name]
        return 200, found


class Pods:
    """Runs the pods of JobSets as processes, as the controllers of Kubernetes would.

    Args:
        environment: variables of the machine, which those of a manifest are added to.
    """

    def __init__(self, api: KubernetesApi, folder: Path, environment: dict[str, str]) -> None:
        self._api, self._folder, self._environment = api, folder, environment
        self._ending = threading.Event()
        self.exit_codes: list[int] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Start no more, and kill what runs."""
        self._ending.set()
        self._thread.join()
        for jobset in self._api.jobsets.values():
            for pod in jobset.get("pods", []):
                pod.kill()
                pod.wait()

    def of(self, name: str) -> list[subprocess.Popen[bytes]]:
        """The processes of a JobSet's pods."""
        return list(self._api.jobsets.get(name, {}).get("pods", []))

    def _run(self) -> None:
        while not self._ending.wait(0.05):
            with self._api.lock:
                for name, jobset in list(self._api.jobsets.items()):
                    self._look_after(name, jobset)

    def _look_after(self, name: str, jobset: Manifest) -> None:
        spec = jobset["spec"]
        if "managedBy" in spec or spec.get("suspend"):
            return
        pods = jobset.setdefault("pods", [])
        self.exit_codes += [pod.returncode for pod in pods if pod.poll() is not None]
        pods[:] = [pod for pod in pods if pod.poll() is None]
        if "deletionTimestamp" in jobset["metadata"]:
            if not jobset.setdefault("asked", False):
                jobset["asked"] = True  # once: a second signal would end them at once
                for pod in pods:
                    pod.send_signal(signal.SIGTERM)
            if not pods:
                del self._api.jobsets[name]
            return
        job = spec["replicatedJobs"][0]["template"]["spec"]
        while len(pods) < job["parallelism"]:
            pods.append(self._start(name, job["template"]["spec"]["containers"][0]))

    def _start(self, name: str, container: Manifest) -> subprocess.Popen[bytes]:
        given = {one["name"]: one["value"] for one in container["env"]}
        with (self._folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [*DIE_WITH_PARENT, *container["command"], *container["args"]],
                env=self._environment | given,
                cwd=self._folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )


def _handler(api: KubernetesApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def _respond(self, verb: str) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            if self.headers.get("Authorization") != f"Bearer {api.token}":
                status, answer = 401, _status(401, "Unauthorized")
            elif not parts.path.startswith(_FOLDER):
                status, answer = 404, _status(404, "the server could not find the resource")
            else:
                name = parts.path.removeprefix(_FOLDER).strip("/")
                verb = "list" if verb == "get" and not name else verb
                status, answer = api.answer(verb, name, parse_qs(parts.query), body)
            sent = json.dumps({k: v for k, v in answer.items() if k != "pods"}, default=str)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(sent.encode())))
            self.end_headers()
            self.wfile.write(sent.encode())

        def do_GET(self) -> None:
            self._respond("get")

        def do_POST(self) -> None:
            self._respond("create")

        def do_DELETE(self) -> None:
            self._respond("delete")

        def handle(self) -> None:
            with suppress(OSError):  # the client went away
                super().handle()

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler


def _status(code: int, message: str) -> Manifest:
    return {"kind": "Status", "status": "Failure", "code": code, "message": message}


def _certificate(certificate: Path, chain: Path) -> Path:
    """Write a certificate for 127.0.0.1 that signs itself, and it with its key into `chain`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kubernetes")])
    now = datetime.datetime.now(datetime.UTC)
    host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(host, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    certificate.write_bytes(pem)
    plain = serialization.NoEncryption()
    formats = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    chain.write_bytes(key.private_bytes(*formats, plain) + pem)
    return chain
