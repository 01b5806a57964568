#!/usr/bin/env bash
# torch 2.13.0: with three or more processes, DistributedDataParallel's first backward pass sums in
# another order than all later ones.
#
# DDP assigns gradients to buckets when it is made, and once more after the first backward pass, in
# the order in which they were ready. The place of a gradient in its bucket decides in which order
# the ranks' values are added, so equal inputs and weights give other last bits. A run that is
# resumed begins with a first pass again: it leaves the bits of the run that was not interrupted,
# though weights, optimizer, data and random states were restored exactly. Two processes hide this,
# since the sum of two numbers has one order. Here: DDP makes one pass without effect before step 1.
#
# Output seen (Linux, Python 3.11, gloo):
#   2 processes
#   backward 1 and 2: 0 of 24 gradients differ
#   backward 2 and 3: 0 of 24 gradients differ
#   3 processes
#   backward 1 and 2: some of 24 gradients differ
#   backward 2 and 3: 0 of 24 gradients differ
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6
cd "$folder"
cat > passes.py <<'P'
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group("gloo")
torch.manual_seed(0)
layer = nn.TransformerEncoderLayer(64, 4, 256, dropout=0.0, batch_first=True)
model = DistributedDataParallel(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))
torch.manual_seed(1 + dist.get_rank())
batch = torch.randn(4, 16, 64)


def gradients():
    model.zero_grad(set_to_none=True)
    model(batch).square().mean().backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


passes = [gradients() for _ in range(3)]
if dist.get_rank() == 0:
    for number, (before, after) in enumerate(zip(passes, passes[1:]), start=1):
        differ = sum(not torch.equal(one, other) for one, other in zip(before, after))
        count = "some" if differ else 0
        print(f"backward {number} and {number + 1}: {count} of {len(before)} gradients differ")
dist.destroy_process_group()
P
seen=$(for processes in 2 3; do
  echo "$processes processes"
  OMP_NUM_THREADS=1 venv/bin/torchrun --standalone --nproc-per-node "$processes" passes.py 2> errors || cat errors
done)
echo "$seen"
expected="2 processes
backward 1 and 2: 0 of 24 gradients differ
backward 2 and 3: 0 of 24 gradients differ
3 processes
backward 1 and 2: some of 24 gradients differ
backward 2 and 3: 0 of 24 gradients differ"
[ "$seen" = "$expected" ] || { echo "this has changed"; exit 1; }
