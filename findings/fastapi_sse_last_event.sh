#!/usr/bin/env bash
# fastapi 0.165.0: fastapi.sse drops the last event that was yielded before an exception.
#
# An endpoint with EventSourceResponse yields "one" and "two" and then fails: the client gets "one",
# and the broken stream. The same generator behind Starlette's StreamingResponse delivers both. A
# stream that ends with an event which says why it ends, and then raises, says nothing.
# Here: the gateway writes its events itself, and a last event ends the stream in good order.
#
# Output seen (Linux, Python 3.11, uvicorn 0.54.0): the lines of `expected` below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet fastapi==0.165.0 uvicorn==0.54.0 httpx==0.28.1
cd "$folder"
seen=$("$folder/venv/bin/python" - <<'P'
import socket
import threading
import time
from collections.abc import AsyncIterable

import httpx
import uvicorn
from fastapi import FastAPI
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.responses import StreamingResponse

app = FastAPI()

@app.get("/fastapi.sse", response_class=EventSourceResponse)
async def with_fastapi() -> AsyncIterable[ServerSentEvent]:
    yield ServerSentEvent(raw_data="one")
    yield ServerSentEvent(raw_data="two")
    raise RuntimeError("a source of events failed")

@app.get("/StreamingResponse")
async def with_starlette():
    async def events():
        yield "data: one\n\n"
        yield "data: two\n\n"
        raise RuntimeError("a source of events failed")
    return StreamingResponse(events(), media_type="text/event-stream")

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
threading.Thread(target=lambda: server.run(sockets=[listener]), daemon=True).start()
end = time.monotonic() + 20
while not server.started and time.monotonic() < end:
    time.sleep(0.02)

for path in ("fastapi.sse", "StreamingResponse"):
    text = ""
    try:
        with httpx.stream("GET", f"http://127.0.0.1:{listener.getsockname()[1]}/{path}", trust_env=False) as answer:
            for piece in answer.iter_text():
                text += piece
        ending = "ended in good order"
    except httpx.RemoteProtocolError:
        ending = "then broken off"
    events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    print(f"{path}: {' '.join(events)}, {ending}")
server.should_exit = True
P
)
echo "$seen"
expected="fastapi.sse: one, then broken off
StreamingResponse: one two, then broken off"
[ "$seen" = "$expected" ] || { echo "this has changed"; exit 1; }
