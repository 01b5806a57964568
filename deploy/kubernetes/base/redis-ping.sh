#!/bin/sh
# Succeeds where the server answers and has read its append-only file.
set -eu
REDISCLI_AUTH=$(cat "$REDIS_PASSWORD_FILE")
export REDISCLI_AUTH
"${REDIS_CLI:-valkey-cli}" -p "${REDIS_PORT:-6379}" ping | grep -q PONG
