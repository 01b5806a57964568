"""The gateway as its own process: it starts, logs its address, and ends at SIGTERM."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import httpx
from memory_state import State
from running_gateway import DEADLINE_SECONDS, client_for


async def test_sigterm_ends_open_streams_and_the_process(
    control_plane_port: int, state: State, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text("raise SystemExit('a user file shadows ours')\n")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "gateway", "--port", "0", "--log-format", "json"),
        cwd=tmp_path,
        env={
            **os.environ,
            "TRAINING_ENGINE_CONTROL_PLANE_ADDRESS": f"127.0.0.1:{control_plane_port}",
        },
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            line = (await process.stderr.readline()).decode()
            found = re.search(r'"url": "(http://127\.0\.0\.1:\d+)"', line)
            assert found, line
            async with client_for(found[1]) as client:
                while not await ready(client):
                    await asyncio.sleep(0.02)
                await client.post("/api/training/jobs/start", json={"config": {}})
                async with client.stream("GET", "/api/training/jobs/job_1/stream") as response:
                    lines = response.aiter_lines()
                    assert await anext(lines) == "event: state"
                    process.send_signal(signal.SIGTERM)
                    assert [line async for line in lines if line.startswith("event")] == []
            rest = (await process.stderr.read()).decode()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert "Traceback" not in rest
    assert state.open_watches == 0


async def ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx.ConnectError:
        return False
