"""As much of MLflow's tracking server as its client needs for a run, in a thread."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse


class TrackingServer(ThreadingHTTPServer):
    """Experiments by name, runs by id."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, dict[str, Any]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, call: str, body: dict[str, Any]) -> dict[str, Any] | None:
        if call == "experiments/get-by-name":
            found = self.experiments.get(body["experiment_name"])
            return found and {"experiment": {"experiment_id": found, "lifecycle_stage": "active"}}
        if call == "experiments/create":
            self.experiments[body["name"]] = new = str(len(self.experiments) + 1)
            return {"experiment_id": new}
        if call == "runs/create":
            info = {name: body[name] for name in ("experiment_id", "run_name")}
            info |= {"run_id": f"run{len(self.runs)}", "status": "RUNNING", "start_time": 0}
            run = {"info": info, "data": {"tags": body["tags"], "params": [], "metrics": []}}
            self.runs[info["run_id"]] = run
            return {"run": run}
        if call == "runs/search":
            wanted = body["filter"].split("'")[1]
            found = [run for run in self.runs.values() if self.tags(run).get(_TAG) == wanted]
            return {"runs": found}
        run = self.runs[body["run_id"]]
        if call == "runs/log-batch":
            for kind in ("tags", "params", "metrics"):
                run["data"][kind] += body.get(kind, [])
        if call == "runs/update":
            run["info"]["status"] = body["status"]
        return {"run_info": run["info"], "run": run}

    @staticmethod
    def tags(run: dict[str, Any]) -> dict[str, str]:
        return {tag["key"]: tag["value"] for tag in run["data"]["tags"]}


_TAG = "training_engine.run"


class _Handler(BaseHTTPRequestHandler):
    server: TrackingServer

    def _answer(self, body: dict[str, Any]) -> None:
        call = urlparse(self.path).path.partition("/mlflow/")[2]
        found = self.server.answer(call, body)
        missing = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "there is none"}
        text = json.dumps(missing if found is None else found).encode()
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self) -> None:
        self._answer({k: v[0] for k, v in parse_qs(urlparse(self.path).query).items()})

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def tracking_server() -> Iterator[TrackingServer]:
    """A server for the time of the block."""
    with TrackingServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
