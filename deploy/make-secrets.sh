#!/bin/sh
# Makes random secrets for compose and Kubernetes; keeps those that exist.
#
#   sh deploy/make-secrets.sh [FOLDER]        FOLDER is deploy/secrets by default
#
# The folder is closed to other users (0700). The files in it are readable to all (0644), because
# compose shows them to containers as they are, and those run as users of their own.
set -eu
folder=${1:-$(dirname "$0")/secrets}

mkdir -p "$folder"
chmod 700 "$folder"
random() {
  od -An -N32 -tx1 /dev/urandom | tr -d ' \n'
}
if [ ! -e "$folder/redis_password" ]; then
  random > "$folder/redis_password"
fi
if [ ! -e "$folder/auth_tokens" ]; then
  random > "$folder/auth_tokens"
fi
chmod 644 "$folder/redis_password" "$folder/auth_tokens"
echo "secrets are in $folder; clients send the token that $folder/auth_tokens holds"
