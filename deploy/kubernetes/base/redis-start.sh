#!/bin/sh
# Starts the server with the password of REDIS_PASSWORD_FILE. The password goes into a private file
# and never into an argument, which every process of the machine could read.
#
# REDIS_MEMORY_MIB is the container's memory limit. Three quarters of it are for data. The rest is
# for connections, for replicas, and for rewriting the append-only file: a server that outgrows its
# limit is killed, one that reaches its maxmemory refuses writes and lives.
set -eu
umask 077
# Quotes and backslashes mean something in the server's configuration.
password=$(sed 's/[\\"]/\\&/g' "$REDIS_PASSWORD_FILE")
if [ -z "$password" ]; then
  echo "redis-start: $REDIS_PASSWORD_FILE is empty; anyone who can write to this server can run code" \
    "on workers, so it starts only with a password" >&2
  exit 1
fi
if [ "${REDIS_MEMORY_MIB:-0}" -lt 16 ]; then
  echo "redis-start: REDIS_MEMORY_MIB is '${REDIS_MEMORY_MIB:-}'; it must be the container's memory" \
    "limit, at least 16 MiB" >&2
  exit 1
fi
folder=$(mktemp -d)
{
  cat "${REDIS_CONFIGURATION:-/etc/redis/redis.conf}"
  printf 'requirepass "%s"\n' "$password"
  printf 'maxmemory %smb\n' "$((REDIS_MEMORY_MIB * 3 / 4))"
} > "$folder/redis.conf"
exec "${REDIS_SERVER:-valkey-server}" "$folder/redis.conf"
