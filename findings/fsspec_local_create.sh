#!/usr/bin/env bash
# fsspec 2026.9.0: put_file(..., mode="create") on a local disk replaces the file that is there.
#
# `mode="create"` means "fail if there is a file of this name". pipe_file and put_file have it, so that
# two writers of one name cannot both win. On a local disk put_file takes the argument and copies all the
# same, without an error; pipe_file there, and both of them on the file system "memory", raise
# FileExistsError and leave the file as it was. Code that was tested in memory loses files on a disk.
# Here: the artifact store's folder publishes a file with a hard link of its own; put_object asks S3.
#
# Output seen (Linux, Python 3.11): the lines of `expected` below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet fsspec==2026.9.0
cd "$folder"
seen=$("$folder/venv/bin/python" - <<'P'
from pathlib import Path

import fsspec

source = Path("new")
source.write_bytes(b"new")
for name, place in (("file", str(Path.cwd() / "kept")), ("memory", "/kept")):
    files = fsspec.filesystem(name)
    for call, argument in (("pipe_file", b"new"), ("put_file", str(source))):
        files.pipe_file(place, b"old")
        order = (place, argument) if call == "pipe_file" else (argument, place)
        try:
            getattr(files, call)(*order, mode="create")
            answer = "returns"
        except FileExistsError:
            answer = "FileExistsError"
        print(f"{name}.{call}: {answer}, the file holds", files.cat_file(place).decode())
P
)
echo "$seen"
expected="file.pipe_file: FileExistsError, the file holds old
file.put_file: returns, the file holds new
memory.pipe_file: FileExistsError, the file holds old
memory.put_file: FileExistsError, the file holds old"
[ "$seen" = "$expected" ] || { echo "this has changed"; exit 1; }
