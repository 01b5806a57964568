#!/usr/bin/env bash
# safetensors 0.8.0: a saved file can be read by its owner alone, whatever the umask says.
#
# With umask 002 a group expects 0664, which numpy.save and torch.save give. safetensors' save_file
# (numpy and torch alike; the writer is one) makes the file 0600. Nothing says so; a colleague or a
# web server that serves the export gets "permission denied". Here: exports set the mode themselves.
#
# Output seen (Linux, Python 3.11):
#   numpy.save 0664
#   save_file 0600
#   save_file over a file of mode 0664: 0600
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet safetensors==0.8.0 numpy==2.4.6
umask 002
cd "$folder"
seen=$("$folder/venv/bin/python" - <<'P'
import os
import numpy
from safetensors.numpy import save_file

def mode(name):
    return f"{os.stat(name).st_mode & 0o777:04o}"

tensors = {"weight": numpy.zeros(4, dtype="float32")}
numpy.save("plain.npy", tensors["weight"])
print("numpy.save", mode("plain.npy"))
save_file(tensors, "model.safetensors")
print("save_file", mode("model.safetensors"))
os.chmod("model.safetensors", 0o664)
save_file(tensors, "model.safetensors")
print("save_file over a file of mode 0664:", mode("model.safetensors"))
P
)
echo "$seen"
expected="numpy.save 0664
save_file 0600
save_file over a file of mode 0664: 0600"
[ "$seen" = "$expected" ] || { echo "this has changed"; exit 1; }
