"""A tokenizer of one's own: the same bytes always, nothing lost, line ends seen."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from app.training import Trainer, TrainingConfig, commands
from app.training.data import load_dataset
from app.training.inference import load_for_generation
from app.training.preflight import VisibleData, inspect_run
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
    made = train_bpe([TEXT], 500)
    for text in blocks():
        assert made.decode(made.encode(text)) == text
    text = "".join(itertools.islice(blocks(), 0, None, 20))
    stream = made.stream()
    assert "".join(map(stream.push, made.encode(text))) + stream.finish() == text


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
    made = train_bpe([text], 300)
    ids = made.encode("x:\n    pass\n\n")
    assert ":\n" in [made.decode([int(i)]) for i in ids]
    by_lines = train_bpe((line.rstrip("\n") for line in text.splitlines()), 300)
    assert len(made.encode(text)) < 0.8 * len(by_lines.encode(text))


def test_the_end_of_a_text_is_its_first_token() -> None:
    made = train_bpe([TEXT], 300, special_tokens=["<|im_end|>"])
    assert (made.end_of_text, made.end_of_text_id) == ("<|endoftext|>", 0)
    assert made.vocab_size == 300
    assert made.encode("<|im_end|>").tolist() == [1]
    assert tokenizer_from_dict(made.to_dict()).fingerprint == made.fingerprint


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


def config_of(folder: Path, **fields: Any) -> TrainingConfig:
    model = {"vocab_size": 400, "hidden_size": 16, "num_layers": 1, "num_heads": 2}
    return TrainingConfig.from_dict(
        {
            "model_config": {**model, "max_position_embeddings": 32},
            "tokenizer": {"train": "bpe", "vocab_size": 400},
            "batch_size": 2,
            "max_steps": 2,
            "warmup_steps": 0,
            "device": "cpu",
            "checkpoint_dir": str(folder / "run"),
            **fields,
        }
    )


def test_a_run_trains_its_tokenizer_once_and_goes_on_with_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = tmp_path / "a.txt"
    text.write_text(TEXT)
    config = config_of(tmp_path)
    assert TrainingConfig.from_document(config.to_yaml()) == config
    with caplog.at_level("INFO"):
        Trainer(config, *load_dataset(text, config)).train()
        assert "training a tokenizer of 400 ids on 100 % of the text" in caplog.text
        caplog.clear()
        more = config_of(tmp_path, max_steps=3, resume_from_checkpoint=True)
        trainer = Trainer(more, *load_dataset(text, more))
        assert "training a tokenizer" not in caplog.text
    trainer.train()
    _, loaded = load_for_generation(tmp_path / "run" / "checkpoint_step_3.pt")
    assert loaded is not None
    assert loaded.fingerprint == train_bpe([TEXT], 400).fingerprint
    assert trainer.exactness_notes == []


def test_chats_get_a_tokenizer_that_knows_their_template(tmp_path: Path) -> None:
    record = {"prompt": "What is it?", "completion": "It is what it is."}
    path = tmp_path / "a.jsonl"
    path.write_text((json.dumps(record) + "\n") * 30)
    tokenizer = load_dataset(path, config_of(tmp_path))[0].tokenizer
    assert [tokenizer.encode(word).tolist() for word in ("<|im_start|>", "<|im_end|>")] == [
        [1],
        [2],
    ]


@pytest.mark.parametrize(
    ("given", "field", "message"),
    [
        ({"train": "wordpiece"}, "tokenizer.train", "must be one of 'bpe'"),
        ({"train": "bpe", "size": 3}, "tokenizer.size", "not a known key"),
        ({"train": "bpe", "vocab_size": 20}, "tokenizer", "of at least 257"),
        ({"train": "bpe", "vocab_size": 4096}, "model_config.vocab_size", "has 4096 ids"),
    ],
)
def test_a_tokenizer_that_cannot_be_is_refused(
    given: dict[str, Any], field: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    named = {"tokenizer": given, "dataset_path": str(tmp_path / "a.txt")}
    config, problems = TrainingConfig.read({**named, "model_config": {"vocab_size": 400}})
    if not problems:
        problems = inspect_run(config, VisibleData.here(config)).problems
    assert [(p.field, message in p.message) for p in problems] == [(field, True)]


def test_the_command_writes_what_a_run_would_use(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    app = typer.Typer()
    app.command()(commands.tokenizer)
    output = tmp_path / "made.json"
    command = ["train", str(tmp_path / "a.txt"), "--vocab-size", "400", "--output", str(output)]
    result = CliRunner().invoke(app, [*command, "--json"])
    assert json.loads(result.stdout) == {"output": str(output), "vocab_size": 400}
    assert output.read_text() == train_bpe([TEXT], 400).definition
    again = CliRunner().invoke(app, command)
    assert (again.exit_code, "is there already" in again.stderr) == (4, True)


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--vocab-size", "-5"], 6, "`tokenizer` is 'bpe:-5'; it must be of at least 257"),
        (["--vocab-size", "9" * 20], 6, f"`tokenizer` is 'bpe:{'9' * 20}'; it must be of at "),
        (["--output", "none/t.json"], 2, "none is not a folder; make it, or choose another"),
    ],
)
def test_what_is_refused_before_the_text_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], code: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command()(commands.tokenizer)
    refused = CliRunner().invoke(app, ["train", "missing.txt", *flags])
    assert (refused.exit_code, said in refused.stderr) == (code, True)
    assert not list(tmp_path.iterdir())
