"""A tokenizer of one's own: the same bytes always, nothing lost, line ends seen."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pydoc_data.topics import topics

import pytest

from app.training.tokenizer import TokenizerError, tokenizer_from_dict
from app.training.tokenizer_training import sample, train_bpe

TEXT = "".join(topics[name] for name in sorted(topics)[:12])
PROGRAM = """
import hashlib
from pydoc_data.topics import topics
from app.training.tokenizer_training import train_bpe
text = "".join(topics[name] for name in sorted(topics)[:12])
print(hashlib.sha256(train_bpe([text], 1000).definition.encode()).hexdigest())
"""


def blocks() -> Iterator[str]:
    """Sixteen assigned characters of each 256 code points, which is finer than Unicode's blocks."""
    for start in range(0, 0x110000, 256):
        characters = map(chr, range(start, start + 256))
        known = [c for c in characters if unicodedata.category(c) not in ("Cn", "Cs")]
        if known:
            yield "".join(random.Random(start).sample(known, min(16, len(known))))


def test_every_block_of_unicode_comes_back() -> None:
    tokenizer = train_bpe([TEXT], 500)
    for text in blocks():
        assert tokenizer.decode(tokenizer.encode(text)) == text
        stream = tokenizer.stream()
        assert "".join(map(stream.push, tokenizer.encode(text))) + stream.finish() == text


def test_the_bytes_do_not_depend_on_threads_or_on_how_the_text_comes_in() -> None:
    found = set()
    for threads, parallel in (("1", "false"), ("4", "true")):
        environment = {
            **os.environ,
            "RAYON_NUM_THREADS": threads,
            "TOKENIZERS_PARALLELISM": parallel,
        }
        command = [sys.executable, "-P", "-c", PROGRAM]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=120
        )
        found.add(done.stdout)
    assert len(found) == 1
    one_by_one = [TEXT[i : i + 1000] for i in range(0, len(TEXT), 1000)]
    assert train_bpe(one_by_one, 600).definition == train_bpe([TEXT], 600).definition


def test_tokens_go_over_line_ends() -> None:
    text = "if x:\n    pass\n\n" * 400
    tokenizer = train_bpe([text], 300)
    ids = tokenizer.encode("x:\n    pass\n\n")
    assert ":\n" in [tokenizer.decode([int(i)]) for i in ids]
    by_lines = train_bpe((line.rstrip("\n") for line in text.splitlines()), 300)
    assert len(tokenizer.encode(text)) < 0.8 * len(by_lines.encode(text))


def test_the_end_of_a_text_is_its_first_token() -> None:
    tokenizer = train_bpe([TEXT], 300, special_tokens=["<|im_end|>"])
    assert (tokenizer.end_of_text, tokenizer.end_of_text_id) == ("<|endoftext|>", 0)
    assert tokenizer.vocab_size == 300
    assert tokenizer.encode("<|im_end|>").tolist() == [1]
    assert tokenizer_from_dict(tokenizer.to_dict()).fingerprint == tokenizer.fingerprint


def test_of_a_long_text_pieces_at_even_distances_are_taken() -> None:
    text = "".join(chr(97 + i // 65536) * 65536 for i in range(0, 10 * 65536, 65536))
    taken = list(sample([text], len(text), most=4 * 65536))
    assert [piece[0] for piece in taken] == ["a", "d", "g", "j"]
    assert "".join(sample([text[:100], text[100:]], None)) == text


@pytest.mark.parametrize(
    ("texts", "size", "message"),
    [
        ([], 300, "there is no text to train a tokenizer on"),
        (["a"], 256, "`vocab_size` is 256; it must be at least 257"),
    ],
)
def test_what_cannot_be_trained_is_refused(texts: list[str], size: int, message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        train_bpe(texts, size)
