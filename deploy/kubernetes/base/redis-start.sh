#!/bin/sh
# Starts the server with the password of REDIS_PASSWORD_FILE. The password goes into a private file
# and never into an argument, which every process of the machine could read.
set -eu
umask 077
# Quotes and backslashes mean something in the server's configuration.
password=$(sed 's/[\\"]/\\&/g' "$REDIS_PASSWORD_FILE")
if [ -z "$password" ]; then
  echo "redis-start: $REDIS_PASSWORD_FILE is empty; whoever can write to this server can run code" \
    "on workers, so it starts only with a password" >&2
  exit 1
fi
folder=$(mktemp -d)
{
  cat "${REDIS_CONFIGURATION:-/etc/redis/redis.conf}"
  printf 'requirepass "%s"\n' "$password"
} > "$folder/redis.conf"
exec "${REDIS_SERVER:-valkey-server}" "$folder/redis.conf"
