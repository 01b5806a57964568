"""Many documents at once get the ids of each alone, whatever encodes them and on how many cores."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_text_cuts import GPT2, GPT4, GPT4O, KINDS, QWEN2, by_pattern, random_text
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers

from app.training.data import DataError, encoding, load_dataset
from app.training.fast_encoding import FastEncoder, fast_encoder
from app.training.tokenizer import PretrainedTokenizer

BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False)
TEXTS = [random_text(random.Random(number), number % 60) for number in range(300)]
ODD = ["", " ", "\n", "a", "\u0000", "\U0010ffff", "e\u0301" * 40, "  x  ", "1234567", "\r\n\r\n"]


def bpe(normalizer: Any, pre_tokenizer: Any, tokens: tuple[AddedToken, ...] = ()) -> Tokenizer:
    made = Tokenizer(models.BPE())
    if normalizer is not None:
        made.normalizer = normalizer
    if pre_tokenizer is not None:
        made.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<|endoftext|>"],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    made.train_from_iterator(TEXTS[:60], trainer)
    made.add_tokens(list(tokens))
    return made


def ignoring_merges(made: Tokenizer) -> Tokenizer:
    state = json.loads(made.to_str())
    state["model"]["ignore_merges"] = True
    return Tokenizer.from_str(json.dumps(state))


SERVED = {
    **{name: bpe(*KINDS[name][:2]) for name in ("gpt2", "roberta", "gpt4, llama3", "gpt4o")},
    "qwen2": bpe(normalizers.NFC(), by_pattern(QWEN2)),
    "llama3": ignoring_merges(bpe(None, by_pattern(GPT4))),
    "special": bpe(None, BYTE_LEVEL, (AddedToken("<|end|>", special=True),)),
    "overlapping": bpe(None, BYTE_LEVEL, tuple(map(AddedToken, ("ab", "abc", "<t>", "New")))),
    "stripping": bpe(
        None, BYTE_LEVEL, (AddedToken("<t>", lstrip=True), AddedToken("<|end|>", rstrip=True))
    ),
    "beside nfc": bpe(normalizers.NFC(), BYTE_LEVEL, (AddedToken("é", normalized=False),)),
}
REFUSED = {
    "single word": bpe(None, BYTE_LEVEL, (AddedToken("x", single_word=True),)),
    "normalized": bpe(normalizers.NFC(), BYTE_LEVEL, (AddedToken("é", normalized=True),)),
    "contiguous": bpe(None, by_pattern(GPT4O, "contiguous")),
    "lowercase": bpe(normalizers.Lowercase(), BYTE_LEVEL),
    "another pattern": bpe(None, by_pattern(r"\p{L}+|\s+|\S")),
    "gpt2 as a pattern": bpe(None, by_pattern(GPT2)),
    "nothing": bpe(None, None),
    "word level": Tokenizer(models.WordLevel({"[UNK]": 0}, "[UNK]")),
}


@pytest.mark.parametrize("kind", SERVED)
def test_the_faster_encoder_gives_the_same_ids(kind: str) -> None:
    encode = fast_encoder(SERVED[kind].to_str()).encode
    assert encode is not None
    for text in [*TEXTS, *ODD, "".join(TEXTS)]:
        assert encode(text).tolist() == SERVED[kind].encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("kind", REFUSED)
def test_kinds_that_are_not_known_are_left_to_the_library(kind: str) -> None:
    encode, reason = fast_encoder(REFUSED[kind].to_str())
    assert encode is None
    assert reason


@pytest.fixture
def data(tmp_path: Path) -> Path:
    lines = (json.dumps({"text": text}) + "\n" for text in [*TEXTS, "".join(TEXTS)])
    (tmp_path / "a.jsonl").write_text("".join(lines))
    return tmp_path / "a.jsonl"


def tokens_of(data: Path, config: Any) -> list[int]:
    train, _ = load_dataset(data, config)
    return [int(i) for i in train.tokens.ids]


@pytest.mark.parametrize("kind", [*REFUSED][:2] + [*SERVED][:2])
@pytest.mark.parametrize("size", [1, 100, 1 << 18])
def test_batches_do_not_change_the_ids(
    data: Path, make_config: Any, kind: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {**REFUSED, **SERVED}[kind]
    made.save(str(data.with_name("tokenizer.json")))
    monkeypatch.setattr(encoding, "BATCH_CHARACTERS", size)
    monkeypatch.setattr("app.training.data.pieces.PIECE_CHARACTERS", 1000)
    found = tokens_of(data, make_config(800, tokenizer=str(data.parent), val_fraction=0))
    tokenizer, expected = PretrainedTokenizer(made.to_str()), []
    for text in filter(None, [*TEXTS, "".join(TEXTS)]):
        expected += [*tokenizer.encode(text).tolist(), tokenizer.end_of_text_id]
    assert found == expected[:-1]


def test_other_ids_are_noticed_and_tokenized_again(
    data: Path,
    make_config: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    SERVED["gpt2"].save(str(data.with_name("tokenizer.json")))
    config = make_config(800, tokenizer=str(data.parent), val_fraction=0)
    monkeypatch.setattr(encoding, "_FIRST_COMPARED", 0)
    monkeypatch.setattr(encoding, "_COMPARED_EVERY", 2000)
    calls = 0

    def wrong_later(text: str) -> Any:
        nonlocal calls
        calls += 1
        ids = np.array(SERVED["gpt2"].encode(text, add_special_tokens=False).ids, np.uint32)
        return ids if calls < 40 else ids[::-1]

    with monkeypatch.context() as patched:
        patched.setattr(encoding, "fast_encoder", lambda definition: FastEncoder(wrong_later))
        found = tokens_of(data, config)
    assert "tokenizing again without it" in caplog.text
    monkeypatch.setenv("TRAINING_ENGINE_CACHE", str(data.parent / "other"))
    assert found == tokens_of(data, config)


def test_without_the_faster_encoder_the_log_says_so(
    data: Path,
    make_config: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    SERVED["gpt2"].save(str(data.with_name("tokenizer.json")))
    monkeypatch.setitem(sys.modules, "gigatoken", None)
    with caplog.at_level(logging.INFO, logger=encoding.logger.name):
        tokens_of(data, make_config(800, tokenizer=str(data.parent)))
    assert "gigatoken is not installed" in caplog.text


def test_a_text_of_a_batch_that_cannot_be_encoded_is_located(
    tmp_path: Path, make_config: Any
) -> None:
    made = Tokenizer(models.WordLevel({"the": 0, "cat": 1}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.save(str(tmp_path / "tokenizer.json"))
    texts = ["the cat", "cat the", "the dog", "the"]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (tmp_path / "a.jsonl").write_text(lines)
    with pytest.raises(DataError, match=r"line 3 of .* cannot be encoded"):
        load_dataset(tmp_path / "a.jsonl", make_config(tokenizer=str(tmp_path)))


SCRIPT = """
import sys
from app.training.data.encoding import encode_parts
from app.training.data.parts import Part, Place
from app.training.tokenizer import load_tokenizer
from pathlib import Path
import json
texts = [json.loads(line)["text"] for line in open(sys.argv[1])]
parts = [Part(text, Place(Path("a"), "line", 1)) for text in texts]
for _, ids in encode_parts(parts, load_tokenizer(sys.argv[2])):
    sys.stdout.buffer.write(ids.tobytes())
"""


def test_the_number_of_threads_does_not_change_the_ids(data: Path) -> None:
    found = set()
    for kind in ("contiguous", "gpt2"):
        {**REFUSED, **SERVED}[kind].save(str(data.with_name("tokenizer.json")))
        for threads in ("1", "3"):
            ids = subprocess.run(
                [sys.executable, "-P", "-c", SCRIPT, data, data.parent],
                check=True,
                capture_output=True,
                env={**os.environ, "RAYON_NUM_THREADS": threads},
            ).stdout
            found.add((kind, hashlib.sha256(ids).hexdigest()))
    assert len(found) == 2
