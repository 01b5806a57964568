#!/usr/bin/env bash
# redis-py 8.1.0: a retry without end ends, after 1,024 failures, with an OverflowError.
#
# Retry(..., retries=-1) is there to wait an outage out. Four of the five growing backoffs compute
# base * 2 ** failures before they apply their cap; the 1,024th power does not fit into a float, and
# the error of the arithmetic takes the place of the connection's. With a cap of 2 s that is after 34
# minutes of outage. DecorrelatedJitterBackoff goes on.
# Here: the number of retries is bounded, and our own backoff bounds its exponent.
#
# Output seen (Linux, Python 3.11): the lines of `expected` below. The caps are small so that no time
# is spent.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet redis==8.1.0
cd "$folder"
seen=$("$folder/venv/bin/python" - <<'P'
import redis
from redis import backoff
from redis.retry import Retry

for name in ("Exponential", "FullJitter", "EqualJitter", "ExponentialWithJitter", "DecorrelatedJitter"):
    calls = 0

    def away_for_long():
        global calls
        calls += 1
        if calls <= 1200:
            raise redis.ConnectionError("away")
        return "back"

    growing = getattr(backoff, f"{name}Backoff")(cap=1e-5, base=1e-6)
    try:
        end = Retry(growing, -1).call_with_retry(away_for_long, lambda error: None)
    except OverflowError as error:
        end = f"OverflowError: {error}"
    print(f"{name}, call {calls}: {end}")
P
)
echo "$seen"
expected="Exponential, call 1024: OverflowError: int too large to convert to float
FullJitter, call 1024: OverflowError: int too large to convert to float
EqualJitter, call 1024: OverflowError: int too large to convert to float
ExponentialWithJitter, call 1024: OverflowError: int too large to convert to float
DecorrelatedJitter, call 1201: back"
[ "$seen" = "$expected" ] || { echo "this has changed"; exit 1; }
