"""The document at /openapi.json against a live stack: schemathesis finds no undocumented answer.

Each operation is called three ways: once as a person would, which must succeed with the documented
status; then with what the document allows and with what it forbids, generated from it by a fixed
seed. Ids in generated paths are mostly those of real resources, so that more than 404 is seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from running_stack import RunningStack, running_stack, wait_until
from schemathesis.checks import not_a_server_error
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks as conformance

from gateway.application import create_app
from gateway.settings import GatewaySettings

pytestmark = pytest.mark.slow

CHECKS = [
    not_a_server_error,
    conformance.status_code_conformance,
    conformance.content_type_conformance,
    conformance.response_headers_conformance,
    conformance.response_schema_conformance,
    conformance.allow_header_conformance,
]
REJECTION = [conformance.negative_data_rejection, conformance.missing_required_header]
CASES = 20
"""Generated requests for each operation, of each kind."""
SECONDS = 60.0
"""Longest wait for one answer: streams of jobs that have ended, and short texts."""
TOKENS = 4
"""Text is sampled no longer than this."""


def labels(document: dict[str, Any]) -> list[str]:
    return [
        f"{method.upper()} {path}"
        for path, operations in document["paths"].items()
        for method in operations
    ]


LABELS = labels(create_app(GatewaySettings()).openapi())


@dataclass
class Call:
    """A request that succeeds."""

    status: int
    path: dict[str, str] = field(default_factory=dict)
    query: dict[str, Any] = field(default_factory=dict)
    body: Any = None
    media_type: str = "application/json"


class Resources:
    """Real things on the stack, for ids that exist; and some that a call may use up.

    Every job is trained before the first generated request: those start jobs too.
    """

    def __init__(self, api: httpx.Client, config: dict[str, object], dataset_path: str) -> None:
        self._api = api
        self._config = config
        self._dataset_path = dataset_path
        self.config_id = self.new_config()
        self.dataset_id = self.new_dataset()
        jobs = [self._start() for _ in range(4)]
        for job_id in jobs:
            self._finished(job_id)
        self.job_id, self.job_to_delete, self.job_to_resume, other = jobs
        self.checkpoint_id = self._checkpoints(self.job_id)[-1]
        self.checkpoint_to_delete = self._checkpoints(other)[0]

    def _made(self, path: str, **request: Any) -> dict[str, Any]:
        answer = self._api.post(path, **request)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def new_config(self) -> str:
        return str(self._made("/configs", json={"name": "c", "config": self._config})["config_id"])

    def new_dataset(self) -> str:
        return str(self._made("/datasets?name=d.txt", content=b"some text\n" * 99)["dataset_id"])

    def job(self, **changes: object) -> dict[str, Any]:
        return {"config": self._config | changes, "dataset_path": self._dataset_path}

    def sweep(self) -> dict[str, Any]:
        document = self.job(max_steps=500) | {"parameters": {"learning_rate": [0.001, 0.002]}}
        return {"document": document}

    def new_sweep(self) -> str:
        return str(self._made("/sweeps", json=self.sweep())["sweep_id"])

    def stopped_sweep(self) -> str:
        sweep_id = self.new_sweep()
        assert self._api.post(f"/sweeps/{sweep_id}/stop").status_code == 202
        at_rest = (None, "stopped", "succeeded")

        def children() -> list[dict[str, Any]]:
            return list(self._api.get(f"/sweeps/{sweep_id}").json()["children"])

        wait_until(lambda: all(c["status"] in at_rest for c in children()), sweep_id, 60)
        return sweep_id

    def endless_job(self) -> str:
        return self._start(max_steps=10**6)

    def _start(self, **changes: object) -> str:
        return str(self._made("/jobs/start", json=self.job(**changes))["job_id"])

    def _finished(self, job_id: str) -> None:
        status = f"/jobs/{job_id}/status"
        wait_until(lambda: self._api.get(status).json()["status"] == "succeeded", job_id, 120)

    def _checkpoints(self, job_id: str) -> list[str]:
        found = self._api.get(f"/jobs/{job_id}/checkpoints").json()["checkpoints"]
        return [checkpoint["checkpoint_id"] for checkpoint in found]


Make = Callable[[Resources], Call]


def of_job(status: int = 200, **more: Any) -> Make:
    return lambda real: Call(status, {"job_id": real.job_id}, **more)


def of_checkpoint(status: int = 200, **more: Any) -> Make:
    return lambda real: Call(status, {"checkpoint_id": real.checkpoint_id}, **more)


API = "/api/training"
SUCCEEDING: dict[str, Make] = {
    f"POST {API}/configs": lambda real: Call(
        201, body={"name": "n", "config": real.job()["config"]}
    ),
    f"GET {API}/configs": lambda real: Call(200, query={"page_size": 1}),
    f"POST {API}/configs/validate": lambda real: Call(200, body={"config": {"batch_size": 0}}),
    f"GET {API}/configs/{{config_id}}": lambda real: Call(200, {"config_id": real.config_id}),
    f"DELETE {API}/configs/{{config_id}}": lambda real: Call(204, {"config_id": real.new_config()}),
    f"POST {API}/jobs/start": lambda real: Call(201, body=real.job(max_steps=20)),
    f"POST {API}/jobs/fork": lambda real: Call(
        201, body={"checkpoint_id": real.checkpoint_id, "config": {"max_steps": 44}}
    ),
    f"GET {API}/jobs": lambda real: Call(200, query={"status": "succeeded"}),
    f"GET {API}/jobs/batch": lambda real: Call(200, query={"job_ids": [real.job_id]}),
    f"GET {API}/jobs/{{job_id}}": of_job(),
    f"PATCH {API}/jobs/{{job_id}}": of_job(body={"add_tags": ["small"], "notes": "A note."}),
    f"DELETE {API}/jobs/{{job_id}}": lambda real: Call(204, {"job_id": real.job_to_delete}),
    f"GET {API}/jobs/{{job_id}}/status": of_job(),
    f"POST {API}/jobs/{{job_id}}/stop": lambda real: Call(202, {"job_id": real.endless_job()}),
    f"POST {API}/jobs/{{job_id}}/resume": lambda real: Call(
        202, {"job_id": real.job_to_resume}, body={"max_steps": 80}
    ),
    f"GET {API}/jobs/{{job_id}}/logs": of_job(),
    f"GET {API}/jobs/{{job_id}}/stream": of_job(),
    f"GET {API}/jobs/{{job_id}}/metrics": of_job(),
    f"GET {API}/jobs/{{job_id}}/metrics/history": of_job(),
    f"GET {API}/jobs/{{job_id}}/metrics/system": of_job(),
    f"GET {API}/jobs/{{job_id}}/samples": of_job(),
    f"GET {API}/jobs/{{job_id}}/alerts": of_job(),
    f"GET {API}/jobs/{{job_id}}/throughput": of_job(),
    f"GET {API}/metrics/series": lambda real: Call(
        200, query={"job_ids": [real.job_id], "metrics": ["loss"]}
    ),
    f"GET {API}/jobs/{{job_id}}/checkpoints": of_job(),
    f"GET {API}/checkpoints/{{checkpoint_id}}": of_checkpoint(),
    f"DELETE {API}/checkpoints/{{checkpoint_id}}": lambda real: Call(
        204, {"checkpoint_id": real.checkpoint_to_delete}
    ),
    f"GET {API}/checkpoints/{{checkpoint_id}}/download": of_checkpoint(),
    f"POST {API}/checkpoints/{{checkpoint_id}}/generate": of_checkpoint(
        body={"prompt": "9 ", "max_tokens": TOKENS, "stream": False}
    ),
    f"POST {API}/checkpoints/{{checkpoint_id}}/evaluate": lambda real: Call(
        200,
        {"checkpoint_id": real.checkpoint_id},
        body={"dataset_path": real.job()["dataset_path"], "stream": False},
    ),
    f"POST {API}/datasets": lambda real: Call(
        201, query={"name": "x.txt"}, body=b"text " * 99, media_type="application/octet-stream"
    ),
    f"GET {API}/datasets": lambda real: Call(200),
    f"POST {API}/datasets/inspect": lambda real: Call(200, body=real.job()),
    f"GET {API}/datasets/{{dataset_id}}": lambda real: Call(200, {"dataset_id": real.dataset_id}),
    f"DELETE {API}/datasets/{{dataset_id}}": lambda real: Call(
        204, {"dataset_id": real.new_dataset()}
    ),
    f"POST {API}/sweeps": lambda real: Call(201, body=real.sweep()),
    f"GET {API}/sweeps": lambda real: Call(200, query={"page_size": 1}),
    f"GET {API}/sweeps/{{sweep_id}}": lambda real: Call(200, {"sweep_id": real.new_sweep()}),
    f"POST {API}/sweeps/{{sweep_id}}/stop": lambda real: Call(202, {"sweep_id": real.new_sweep()}),
    f"POST {API}/sweeps/{{sweep_id}}/resume": lambda real: Call(
        202, {"sweep_id": real.stopped_sweep()}
    ),
    f"DELETE {API}/sweeps/{{sweep_id}}": lambda real: Call(204, {"sweep_id": real.stopped_sweep()}),
    f"GET {API}/workers": lambda real: Call(200),
    "POST /api/session": lambda real: Call(201, body={"token": "none is needed here"}),
    "GET /api/session": lambda real: Call(200),
    "DELETE /api/session": lambda real: Call(204),
    "GET /healthz": lambda real: Call(200),
    "GET /readyz": lambda real: Call(200),
    "GET /metrics": lambda real: Call(200),
}


SPENT = {
    f"DELETE {API}/configs/{{config_id}}",
    f"DELETE {API}/jobs/{{job_id}}",
    f"POST {API}/jobs/{{job_id}}/stop",
    f"POST {API}/jobs/{{job_id}}/resume",
    f"DELETE {API}/checkpoints/{{checkpoint_id}}",
    f"DELETE {API}/datasets/{{dataset_id}}",
    f"POST {API}/jobs/fork",
    f"GET {API}/jobs/batch",
    f"GET {API}/metrics/series",
    f"POST {API}/sweeps",
    f"POST {API}/sweeps/{{sweep_id}}/stop",
    f"POST {API}/sweeps/{{sweep_id}}/resume",
    f"DELETE {API}/sweeps/{{sweep_id}}",
}
"""Succeed once on each resource, or need an id outside of the path, which is never generated."""


@pytest.fixture(scope="module")
def fuzzed_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack of its own: what is generated here is no other test's business."""
    with running_stack(tmp_path_factory.mktemp("fuzzed") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def schema(fuzzed_stack: RunningStack) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{fuzzed_stack.url}/openapi.json")


@pytest.fixture(scope="module")
def resources(fuzzed_stack: RunningStack) -> Iterator[Resources]:
    text = fuzzed_stack.data_dir.parent / "text.txt"
    text.write_text("".join(f"{n} green bottles hanging on the wall.\n" for n in range(400)))
    with httpx.Client(base_url=f"{fuzzed_stack.url}{API}", timeout=SECONDS) as api:
        yield Resources(api, SMALL, text.name)


SMALL: dict[str, object] = {
    "model_config": {
        "vocab_size": 256,
        "hidden_size": 16,
        "num_layers": 1,
        "num_heads": 2,
        "max_position_embeddings": 16,
    },
    "batch_size": 2,
    "warmup_steps": 2,
    "max_steps": 40,
    "logging_steps": 2,
    "eval_steps": 20,
    "save_steps": 20,
}


def test_the_served_document_has_the_operations_tried_here(schema: schemathesis.BaseSchema) -> None:
    assert labels(schema.raw_schema) == LABELS
    assert sorted(SUCCEEDING) == sorted(LABELS)


@pytest.mark.parametrize("label", LABELS)
def test_every_answer_is_documented(
    schema: schemathesis.BaseSchema, resources: Resources, label: str
) -> None:
    method, path = label.split(" ")
    operation = schema[path][method]
    call = SUCCEEDING[label](resources)
    given: dict[str, Any] = {} if call.body is None else {"body": call.body}
    if given:
        given["media_type"] = call.media_type
    case = operation.Case(path_parameters=call.path, query=call.query, **given)
    answer = case.call_and_validate(checks=CHECKS, timeout=SECONDS)
    assert answer.status_code == call.status, answer.text

    allowed = fuzz(operation, GenerationMode.POSITIVE, call.path, call.body)
    assert allowed.total() >= (CASES if operation.path_parameters or operation.query else 1)
    forbidden = fuzz(operation, GenerationMode.NEGATIVE, call.path, call.body)
    if operation.query or operation.body:
        assert forbidden.total() == CASES
    if label not in SPENT:  # what can be done twice is done by generated requests too
        assert sum(allowed[status] for status in range(200, 300)) >= 1, allowed
    print(f"\n{label}: {dict(allowed)} as allowed, {dict(forbidden)} as forbidden", end="")


def fuzz(
    operation: schemathesis.APIOperation, mode: GenerationMode, ids: dict[str, str], body: Any
) -> Counter[int]:
    """Call an operation with generated requests; returns how often each status came back.

    Three of four carry real `ids`, and what of `body` no generator would hit upon.
    """
    seen: Counter[int] = Counter()
    checks = CHECKS if mode is GenerationMode.POSITIVE else CHECKS + REJECTION

    @hypothesis.settings(
        max_examples=CASES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode), real=st.integers(0, 3))
    def call(case: schemathesis.Case, real: int) -> None:
        if real and not negated(case, ParameterLocation.PATH):
            case.path_parameters = {**(case.path_parameters or {}), **ids}
        if isinstance(case.body, dict):
            usable = real and body and not negated(case, ParameterLocation.BODY)
            make_cheap(case.body, body if usable else {})
        answer = case.call_and_validate(checks=checks, timeout=SECONDS)
        seen[answer.status_code] += 1

    try:
        call()
    except Unsatisfiable:  # an operation without parameters has nothing to get wrong
        assert mode is GenerationMode.NEGATIVE
    return seen


def negated(case: schemathesis.Case, location: ParameterLocation) -> bool:
    """Whether that part of the request is meant to be wrong."""
    component = case.meta.components.get(location) if case.meta else None
    return component is not None and component.mode.is_negative


def make_cheap(generated: dict[str, Any], real: dict[str, Any]) -> None:
    """Real configurations and data instead of generated ones; no long texts, no many processes."""
    for name in ("config", "dataset_path"):
        if name in real:
            generated[name] = real[name]
            generated.pop("config_id", None)
    if isinstance(generated.get("max_tokens"), int):
        generated["max_tokens"] = min(generated["max_tokens"], TOKENS)
    if isinstance(generated.get("execution"), dict):
        for name in ("processes", "nodes"):
            generated["execution"].pop(name, None)
