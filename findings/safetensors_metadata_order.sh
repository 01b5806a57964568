#!/usr/bin/env bash
# safetensors 0.8.0: equal tensors and metadata give a file of other bytes in each process.
#
# The tensors keep their order, but the entries of `metadata` come in an order that is drawn when a
# process starts. With two entries or more, the sha256 of an export, the name of a file in a
# content-addressed store or a layer of an image changes though the model did not. One entry, as
# transformers writes it ({"format": "pt"}), hides this. Here: exports have two entries, and their
# header is written in a fixed order.
#
# Output seen (Linux, Python 3.11):
#   1 entry: 1 kind of file from 12 processes
#   6 entries: several kinds of files from 12 processes, all with equal content
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet safetensors==0.8.0 numpy==2.4.6
cd "$folder"
cat > save.py <<'P'
import sys
import numpy
from safetensors.numpy import save_file

entries = {f"key{n}": str(n) for n in range(int(sys.argv[1]))}
save_file({"weight": numpy.zeros(4, dtype="float32")}, sys.argv[2], entries)
P
cat > kinds.py <<'P'
import hashlib
import sys
from pathlib import Path
from safetensors import safe_open

files = list(Path(sys.argv[1]).iterdir())
kinds = len({hashlib.sha256(file.read_bytes()).hexdigest() for file in files})
contents = set()
for file in files:
    with safe_open(file, "numpy") as opened:
        contents.add((str(sorted(opened.metadata().items())), opened.get_tensor("weight").tobytes()))
        entries = len(opened.metadata())
said = "1 kind of file" if kinds == 1 else "several kinds of files"
name = "1 entry" if entries == 1 else f"{entries} entries"
print(f"{name}: {said} from {len(files)} processes" + (", all with equal content" * (kinds > 1)))
assert len(contents) == 1, contents
P
seen=$(for entries in 1 6; do
  mkdir "saved$entries"
  for n in $(seq 12); do venv/bin/python save.py "$entries" "saved$entries/$n.safetensors"; done
  venv/bin/python kinds.py "saved$entries"
done)
echo "$seen"
expected="1 entry: 1 kind of file from 12 processes
6 entries: several kinds of files from 12 processes, all with equal content"
[ "$seen" = "$expected" ] || { echo "this has changed"; exit 1; }
