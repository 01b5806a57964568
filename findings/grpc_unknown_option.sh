#!/usr/bin/env bash
# grpcio 1.85.1: a server or channel option that does not exist is ignored without a word.
#
# The documents of gRPC's core and many answers on the web name two spellings of the option that
# allows frequent keepalive pings. Only grpc.http2.min_ping_interval_without_data_ms exists here; with
# "recv" in it nothing happens: the default of five minutes stays, and a client that pings each 30 s
# on a quiet stream is sent away with "too_many_pings". No error, no warning, no log line.
# Here: the control plane sets the right name, and a test pings over the wire.
#
# Output seen (Linux, Python 3.11): the lines of `expected` below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet grpcio==1.85.1 h2==4.3.0
cd "$folder"
seen=$("$folder/venv/bin/python" - <<'P'
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import h2.connection
import h2.events

def goes_away(*options):
    """Whether the server sends a client away that pings five times in two seconds."""
    server = grpc.server(ThreadPoolExecutor(1), options=options)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    client = h2.connection.H2Connection()
    client.initiate_connection()
    reason = b""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.settimeout(0.4)
        for number in range(5):
            client.ping(number.to_bytes(8, "big"))
            sock.sendall(client.data_to_send())
            end = time.monotonic() + 0.4
            while not reason and time.monotonic() < end:
                try:
                    data = sock.recv(65536)
                except TimeoutError:
                    break
                for event in client.receive_data(data) if data else ():
                    if isinstance(event, h2.events.ConnectionTerminated):
                        reason = event.additional_data or b"?"
                if not data:
                    break
            if reason:
                break
    server.stop(None)
    return reason.decode() or "stays"

allowed = ("grpc.keepalive_permit_without_calls", 1)
print("no option:", goes_away(allowed))
print("min_recv_ping_interval:", goes_away(allowed, ("grpc.http2.min_recv_ping_interval_without_data_ms", 100)))
print("min_ping_interval:", goes_away(allowed, ("grpc.http2.min_ping_interval_without_data_ms", 100)))
P
)
echo "$seen"
expected="no option: too_many_pings
min_recv_ping_interval: too_many_pings
min_ping_interval: stays"
[ "$seen" = "$expected" ] || { echo "this has changed"; exit 1; }
