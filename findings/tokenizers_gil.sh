#!/usr/bin/env bash
# tokenizers 0.23.3: encode() holds the GIL for the whole text; encode_batch() lets other threads run.
#
# A thread that renews a lease, draws a bar or answers a health check stands still while one long
# document is encoded, for seconds. The same text in a batch of one does not stop them.
# Here: signs of life come from another process, and long documents are encoded in pieces.
#
# Output seen (Linux, Python 3.11, two cores): "encode: other threads stand still" and
# "encode_batch: other threads run".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet tokenizers==0.23.3
cd "$folder"
seen=$("$folder/venv/bin/python" - <<'P'
import threading
import time

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
tokenizer.train_from_iterator(
    ["The quick brown fox jumps over the lazy dog."],
    trainers.BpeTrainer(vocab_size=300, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()),
)
text = " ".join(f"{number} dogs" for number in range(400_000))

def longest_pause(act):
    """Share of the act's time for which a thread that wakes each 10 ms did not run at once."""
    pauses, over = [0.0], threading.Event()

    def tick():
        last = time.monotonic()
        while not over.is_set():
            time.sleep(0.01)
            now = time.monotonic()
            pauses.append(now - last)
            last = now

    thread = threading.Thread(target=tick)
    thread.start()
    time.sleep(0.1)
    began = time.monotonic()
    act()
    took = time.monotonic() - began
    over.set()
    thread.join()
    return max(pauses) / took

for name, act in (("encode", lambda: tokenizer.encode(text)), ("encode_batch", lambda: tokenizer.encode_batch([text]))):
    still = longest_pause(act) > 0.5
    print(f"{name}: other threads {'stand still' if still else 'run'}")
P
)
echo "$seen"
expected="encode: other threads stand still
encode_batch: other threads run"
[ "$seen" = "$expected" ] || { echo "this has changed"; exit 1; }
