"""`training-engine up`: what it refuses, what it survives, what it leaves behind."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import psutil
import pytest
from paced import Pace
from running_stack import RunningStack, run_up, running_stack, wait_until

from training_engine import TrainingEngine
from training_engine.errors import UnauthenticatedError


def test_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run_up("--data-dir=data", f"--http-port={port}", "--grpc-port=0", cwd=tmp_path)
    assert ended.returncode == 1
    assert f"the HTTP port {port} cannot be used" in ended.stderr
    assert "--http-port" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_data_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    ended = run_up("--data-dir=file/data", "--grpc-port=0", "--http-port=0", cwd=tmp_path)
    assert ended.returncode == 1
    assert "cannot be used" in ended.stderr
    assert "--data-dir" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_redis_away_at_start(tmp_path: Path) -> None:
    url = "redis://:hush@127.0.0.1:1/0"
    ports = ("--grpc-port=0", "--http-port=0")
    ended = run_up("--data-dir=data", f"--redis-url={url}", *ports, cwd=tmp_path)
    assert ended.returncode == 1
    assert "127.0.0.1:1 did not answer" in ended.stderr
    assert "hush" not in ended.stderr


def test_second_up_on_the_same_folder_names_the_holder(stack: RunningStack, tmp_path: Path) -> None:
    ended = run_up(f"--data-dir={stack.data_dir}", cwd=tmp_path)
    assert ended.returncode == 1
    assert f"held by the stack of process {stack.process.pid}" in ended.stderr.replace("\n", " ")
    assert stack.url in ended.stderr


def engine_step(stack: RunningStack, job_id: str) -> int:
    with TrainingEngine(stack.address) as engine:
        return engine.jobs.get(job_id).current_step


def test_a_killed_worker_is_replaced_from_a_process_that_has_torch(stack: RunningStack) -> None:
    with TrainingEngine(stack.address) as engine:

        def pids() -> list[int]:
            return [one.pid for one in engine.workers.list() if one.state == "idle"]

        (killed,) = pids()
        parent = psutil.Process(killed).parent()
        psutil.Process(killed).kill()
        (taken,) = wait_until(lambda: set(pids()) - {killed}, "another worker")
    assert psutil.Process(taken).parent() == parent


def test_tokens_and_proxies_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        url = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        names = ("grpc_proxy", "http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY")
        environment = dict.fromkeys(names, url) | {"TRAINING_ENGINE_AUTH_TOKENS": "one,two"}
        for name in names:
            monkeypatch.setenv(name, url)
        with running_stack(tmp_path / "data", environment=environment) as stack:
            for connect, where in (
                (TrainingEngine, stack.address),
                (TrainingEngine.over_rest, stack.url),
            ):
                with connect(where, token="two") as engine:
                    assert [worker.state for worker in engine.workers.list()] == ["idle"]
                with connect(where) as engine, pytest.raises(UnauthenticatedError):
                    list(engine.workers.list())
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_a_token_that_no_header_can_carry_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("good\nschlüssel\n")
    ended = run_up(
        "--data-dir=data",
        cwd=tmp_path,
        environment={"TRAINING_ENGINE_AUTH_TOKENS_FILE": "tokens"},
    )
    assert ended.returncode == 1
    assert "token 2 holds a space or a character beyond printable ASCII" in ended.stderr
    assert "schl" not in ended.stderr


def test_neither_an_app_py_here_nor_an_odd_data_folder_does_harm(tmp_path: Path) -> None:
    for name in ("app.py", "redis.py", "torch.py"):
        (tmp_path / name).write_text("raise SystemExit('shadowed')\n")
    odd = tmp_path / """the "big" [disk]* 'of' \\ ü $HOME %s"""
    with running_stack(odd, cwd=tmp_path) as stack:
        with TrainingEngine(stack.address) as engine:
            assert [worker.state for worker in engine.workers.list()] == ["idle"]
        children = stack.descendants()
        assert stack.interrupt() == 0
    assert [child for child in children if child.is_running()] == []


@pytest.mark.parametrize(
    "end",
    [
        "kill",
        *(pytest.param(each, marks=pytest.mark.long) for each in ("interrupt", "terminate_all")),
    ],
)
def test_running_job_continues_at_the_next_up(
    tmp_path: Path, tiny_config: dict[str, Any], end: str
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("to be or not to be, that is the question. " * 500)
    tiny_config |= {"max_steps": 200, "save_steps": 25, "eval_steps": 1000}
    if end == "terminate_all":  # the loader's process gets the signal too
        tiny_config |= {"num_workers": 1, "gradient_accumulation_steps": 2}
    pace = Pace(tmp_path)
    pace.set(0.015)
    with running_stack(tmp_path / "data", environment=pace.environment()) as stack:
        with TrainingEngine(stack.address) as engine:
            job = engine.jobs.start(config=tiny_config, dataset_path=str(text))
            wait_until(
                lambda: any(one.step >= 50 for one in job.checkpoints()),
                "a checkpoint of step 50",
                timeout=120,
            )
        last = engine_step(stack, job.job_id)
        children = stack.descendants()
        getattr(stack, end)()
        wait_until(lambda: not any(c.is_running() for c in children), "the children to be gone")
    # The next `up` knows of a killed worker by its lease alone; that of the default is 15 s.
    lease = {"TRAINING_ENGINE_LEASE_SECONDS": "6", "TRAINING_ENGINE_LEASE_RENEWAL_SECONDS": "1"}
    with (
        running_stack(tmp_path / "data", environment=lease) as stack,
        TrainingEngine(stack.address) as engine,
    ):
        done = engine.jobs.get(job.job_id).wait(timeout=90)
        assert (done.status, done.current_step, done.attempt) == ("succeeded", 200, 2)
        # A server killed while its disk is busy may forget its last seconds, but not the run.
        assert done.resumed_from_step is not None
        assert done.resumed_from_step >= (25 if end == "kill" else last)
        assert [p.step for p in engine.metrics.history(job.job_id)] == list(range(1, 201))
