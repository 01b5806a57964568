#!/usr/bin/env bash
# tokenizers 0.23.3: a WordPiece or Unigram tokenizer trained twice on one text has other ids each time.
#
# The trainers have no seed; the text is the same, in the same order, on one thread. BPE gives the same ids
# in every process. WordPiece numbers the pieces that begin with `##` in an order that changes, and a tie
# between two pairs can then be decided otherwise, so some pieces differ too. Unigram orders pieces of equal
# score in changing ways and divides some words otherwise. A model does not fit a tokenizer trained again.
# Here: what is trained is byte-level BPE, and every checkpoint carries it; docs/training.md.
#
# Output seen (Linux, Python 3.11): the lines of `expected` below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet tokenizers==0.23.3
cd "$folder"
cat > train.py <<'P'
import hashlib
from pydoc_data.topics import topics

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

text = [topics[name] for name in sorted(topics)]
forms = {
    "BPE": (models.BPE(), trainers.BpeTrainer(vocab_size=2000, show_progress=False)),
    "WordPiece": (models.WordPiece(), trainers.WordPieceTrainer(vocab_size=2000, show_progress=False)),
    "Unigram": (models.Unigram(), trainers.UnigramTrainer(vocab_size=2000, show_progress=False)),
}
for name, (model, trainer) in forms.items():
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(text, trainer)
    ids = [encoding.ids for encoding in tokenizer.encode_batch(text)]
    print(name, hashlib.sha256(repr(ids).encode()).hexdigest())
P
# One after the other, since each process has hash tables of its own. Four of them: two could agree by chance.
for attempt in 1 2 3 4; do
    TOKENIZERS_PARALLELISM=false PYTHONHASHSEED=0 "$folder/venv/bin/python" train.py >> outputs.txt
done
seen=$(for form in BPE WordPiece Unigram; do
    different=$(grep "^$form " outputs.txt | sort -u | wc -l)
    echo "$form: $([ "$different" = 1 ] && echo "the same ids" || echo "other ids")"
done)
echo "$seen"
expected="BPE: the same ids
WordPiece: other ids
Unigram: other ids"
[ "$seen" = "$expected" ] || { cat outputs.txt; echo "this has changed"; exit 1; }
