"""`AutoTokenizer` gives the ids of an exported tokenizer, and `generate` only those that it has."""

from __future__ import annotations

import json
import logging
import random
import time
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers
from tokenizers import processors

from app.training.checkpoint_file import write_checkpoint
from app.training.config import TrainingConfig
from app.training.data.chat_template import CHATML, ChatTemplate
from app.training.data.conversations import turns_of
from app.training.data.parts import Place
from app.training.export import export_checkpoint
from app.training.fast_encoding import fast_encoder
from app.training.tokenizer import (
    ByteTokenizer,
    CharTokenizer,
    PretrainedTokenizer,
    Tokenizer,
    TokenizerError,
)
from app.training.tokenizer_export import exported
from app.training.tokenizer_training import train_bpe
from app.transformer.config import TransformerConfig
from app.transformer.families import describe
from app.transformer.model import GPTModel

SCALARS = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
EVERYWHERE = "".join(SCALARS[::61] + SCALARS[:0x3000])
"""Characters of every block of Unicode, and all of the first ones."""
WORDS = ["The", " quick", "\tbrown\r\n", "  fox", "́", "🙂", "<|endoftext|>", "\x00", "é", "ﬁ"]
WORDS += ["[unused 300]", "[unused 300", "unused"]

PADDING = 30
"""Rows of an embedding without an id of the tokenizer."""


def save(path: Path, tokenizer: Tokenizer | None, **extra: Any) -> None:
    """Write a checkpoint of a random model with more ids than the tokenizer."""
    size = tokenizer.vocab_size + PADDING if tokenizer else 40
    shape = {"vocab_size": size, "hidden_size": 16, "num_layers": 1, "num_heads": 2}
    config = TransformerConfig(**shape, max_position_embeddings=64, initializer_range=0.5)  # type: ignore[arg-type]
    torch.manual_seed(3)
    state = {
        "model_state_dict": GPTModel(config).state_dict(),
        "optimizer_state_dict": {},
        "scheduler_state_dict": {},
        "step": 3,
        "loss": 1.5,
        "config": TrainingConfig(model_config=config).to_dict(),
        "timestamp": time.time(),
        "tokenizer": tokenizer.to_dict() if tokenizer else None,
        **extra,
    }
    write_checkpoint(path, state)


def bpe() -> PretrainedTokenizer:
    text = ["The quick brown fox jumps over the lazy dog. " * 9]
    return PretrainedTokenizer(train_bpe(text, 300).definition)


def texts(alphabet: str) -> list[str]:
    draws = random.Random(5)
    mixed = ["".join(draws.choices([*WORDS, *draws.sample(alphabet, 9)], k=30)) for _ in range(40)]
    return ["", "a", "  \n\n ", alphabet, *mixed]


@pytest.mark.parametrize("kind", ["byte", "char", "bpe"])
def test_auto_tokenizer_gives_the_same_ids_and_text(tmp_path: Path, kind: str) -> None:
    ours = {"byte": ByteTokenizer, "char": lambda: CharTokenizer(EVERYWHERE), "bpe": bpe}[kind]()
    save(tmp_path / "c.pt", ours)
    export_checkpoint(tmp_path / "c.pt", tmp_path / "out")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    for text in texts(EVERYWHERE):
        if kind == "char":
            text = "".join(set(EVERYWHERE) & set(text)) if len(text) < 9 else text
            text = "".join(c for c in text if c in ours.characters)  # type: ignore[attr-defined]
        ids = ours.encode(text).tolist()
        assert {**theirs(text)} == {"input_ids": ids, "attention_mask": [1] * len(ids)}
        assert theirs.decode(ids, skip_special_tokens=True) == ours.decode(ids)
    assert len(theirs) == ours.vocab_size + PADDING, "each row of the embedding has a token"
    draws = random.Random(7)
    ids = [draws.randrange(min(ours.vocab_size, 256)) for _ in range(500)]
    assert theirs.decode(ids, skip_special_tokens=True) == ours.decode(ids)


def test_a_character_without_an_id_is_an_error_there_too(tmp_path: Path) -> None:
    save(tmp_path / "c.pt", CharTokenizer("abc"))
    export_checkpoint(tmp_path / "c.pt", tmp_path / "out")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    with pytest.raises(TokenizerError):
        CharTokenizer("abc").encode("abd")
    with pytest.raises(Exception, match="WordLevel error"):
        theirs("abd")


def test_nothing_is_added_that_training_did_not_see(tmp_path: Path) -> None:
    """A post-processor, a cut or padding of a tokenizer.json is no part of a run."""
    definition = tokenizers.Tokenizer.from_str(bpe().definition)
    definition.add_special_tokens(["<s>", "[PAD]"])
    begin = definition.token_to_id("<s>")
    definition.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", begin)]
    )
    definition.enable_truncation(4)
    definition.enable_padding(pad_id=definition.token_to_id("[PAD]"), pad_token="[PAD]", length=9)
    tokens = {"bos_token": "<s>", "pad_token": "[PAD]", "cls_token": "The"}
    ours = PretrainedTokenizer(definition.to_str(), "t", tokens)
    save(tmp_path / "c.pt", ours)
    export_checkpoint(tmp_path / "c.pt", tmp_path / "out")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    text = "The quick brown fox<s> jumps. Theodor"
    assert theirs(text)["input_ids"] == ours.encode(text).tolist()
    assert theirs.special_tokens_map == {
        "bos_token": "<s>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "[PAD]",
    }
    written = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert (written["bos_token_id"], written["eos_token_id"]) == (begin, 0)
    assert written["pad_token_id"] == begin + 1
    batch = theirs(["The quick brown", "fox"], padding=True)["input_ids"]
    assert batch[1][0] == begin + 1, "what is generated goes on at the right"


def byte_level(*added: str, ignore_merges: bool = False) -> dict[str, Any]:
    """A tokenizer.json with tokens that were added behind its vocabulary."""
    made = tokenizers.Tokenizer.from_str(bpe().definition)
    made.add_special_tokens(list(added))
    content: dict[str, Any] = json.loads(made.to_str())
    content["model"]["ignore_merges"] = ignore_merges
    return content


@pytest.mark.parametrize("ignores", [False, True])
def test_names_of_unused_ids_are_in_no_text(ignores: bool) -> None:
    content = byte_level("<|im_start|>", "<|im_end|>", ignore_merges=ignores)
    ours = PretrainedTokenizer(json.dumps(content))
    padded = ours.vocab_size + PADDING
    theirs = PretrainedTokenizer(exported(ours, padded).definition)
    assert theirs.vocab_size == ours.vocab_size, "a padded vocabulary is read as what it was"
    named = tokenizers.Tokenizer.from_str(theirs.definition)
    assert sorted(named.get_vocab().values()) == list(range(padded))
    fast = fast_encoder(theirs.definition).encode
    assert fast is not None
    for text in [*texts(EVERYWHERE), "<|im_start|>user\n[unused 302]<|im_end|>", "[unused 302]"]:
        ids = ours.encode(text).tolist()
        assert theirs.encode(text).tolist() == fast(text).tolist() == ids
        assert theirs.decode(ids) == ours.decode(ids)
    assert exported(theirs, padded).definition == theirs.definition
    assert exported(ours, ours.vocab_size).definition == ours.definition


def test_ids_stay_without_names_where_a_text_could_have_them() -> None:
    single = byte_level("tail")
    single["added_tokens"][-1]["single_word"] = True
    without_words = byte_level(ignore_merges=True) | {"pre_tokenizer": None}
    pieces = tokenizers.models.WordPiece({"a": 0, "[UNK]": 1}, unk_token="[UNK]")
    others = [single, without_words, json.loads(tokenizers.Tokenizer(pieces).to_str())]
    for content in others:
        ours = PretrainedTokenizer(json.dumps(content))
        assert exported(ours, 400).definition == ours.definition


def test_tokens_of_the_vocabulary_are_named_by_purpose() -> None:
    words = {"a": 0, "</s>": 1, "[UNK]": 2}
    level = tokenizers.models.WordLevel(words, unk_token="[UNK]")
    found = exported(PretrainedTokenizer(tokenizers.Tokenizer(level).to_str()))
    assert found.special_ids == {"bos_token": 1, "eos_token": 1, "unk_token": 2}
    assert found.special_tokens["unk_token"] == "[UNK]"
    unigram = tokenizers.models.Unigram([("<u>", 0.0), ("a", -1.0)], unk_id=0)
    found = exported(PretrainedTokenizer(tokenizers.Tokenizer(unigram).to_str()))
    assert dict(found.special_tokens) == {"unk_token": "<u>"}


NAMED = {"eos_token": "</s>", "unk_token": "[UNK]"}


@pytest.mark.parametrize("added", [["[UNK]", "</s>"], ["[UNK]"], []], ids=["all", "one", "none"])
def test_named_tokens_are_found_in_no_text_that_training_did_not_find_them_in(
    tmp_path: Path, added: list[str]
) -> None:
    words = {word: place for place, word in enumerate(["[UNK]", "</s>", "a", "s", "UNK", "[", "]"])}
    definition = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    definition.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    definition.add_special_tokens(added)
    ours = PretrainedTokenizer(definition.to_str(), "t", NAMED)
    save(tmp_path / "c.pt", ours)
    export_checkpoint(tmp_path / "c.pt", tmp_path / "out")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    for text in ("a </s> s", "[UNK]a", "</s>", "a<b"):
        assert theirs(text)["input_ids"] == ours.encode(text).tolist()
    assert theirs.decode(range(2, 7)) == ours.decode(range(2, 7))
    # `transformers` can leave all special tokens alone in a text, not one of them.
    lost = {"eos_token": "</s>", "bos_token": "</s>"} if added == ["[UNK]"] else {}
    named = {"bos_token": "</s>", **NAMED}
    assert dict(theirs.special_tokens_map) == {k: v for k, v in named.items() if k not in lost}
    written = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert written["eos_token_id"] == 1


def test_a_large_vocabulary_is_read_without_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    form = {"position_encoding_type": "rotary", "layer_norm_type": "rms_norm", "bias": False}
    shape = {"vocab_size": 100_001, "hidden_size": 18, "num_heads": 4, "head_dim": 4}
    config = TransformerConfig.from_dict({**form, **shape, "activation": "swiglu"})
    assert describe(config)["model_type"] == "mistral", "transformers 5 looks closer at it"
    words = {f"w{place}": place for place in range(100_001)}
    level = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w0"))
    level.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    files = exported(PretrainedTokenizer(level.to_str()))
    (tmp_path / "config.json").write_text(json.dumps(describe(config)))
    (tmp_path / "tokenizer.json").write_text(files.definition)
    (tmp_path / "tokenizer_config.json").write_text(files.description(64, None))
    logging.getLogger("transformers").propagate = True
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs("w100000")["input_ids"] == [100_000]
    assert caplog.messages == []


@pytest.mark.parametrize("kind", ["byte", "bpe"])
def test_padded_ids_are_never_generated_and_nothing_is_warned_of(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    ours: Tokenizer = ByteTokenizer() if kind == "byte" else bpe()
    save(tmp_path / "c.pt", ours)
    out = export_checkpoint(tmp_path / "c.pt", tmp_path / "out")[0].parent
    logging.getLogger("transformers").propagate = True
    with caplog.at_level(logging.WARNING, "transformers"):
        model = transformers.AutoModelForCausalLM.from_pretrained(out)
        theirs = transformers.AutoTokenizer.from_pretrained(out)
        batch = theirs(["The quick brown"] * 4, return_tensors="pt")
        greedy = model.generate(**batch, max_new_tokens=40, do_sample=False)
        torch.manual_seed(1)
        drawn = model.generate(**batch, max_new_tokens=40, do_sample=True, temperature=2.0)
    assert int(greedy.max()) < ours.vocab_size
    assert int(drawn.max()) < ours.vocab_size
    assert caplog.messages == []
    free = model.generate(**batch, max_new_tokens=40, do_sample=False, suppress_tokens=None)
    assert int(free.max()) >= ours.vocab_size, "the model would have chosen one"


def test_a_chat_template_writes_the_same_text_and_ends_an_answer(tmp_path: Path) -> None:
    special = ["<|im_start|>", "<|im_end|>"]
    trained = train_bpe(["What is? It is. Yes!"], 270, special_tokens=special)
    ours = PretrainedTokenizer(trained.definition)
    template = ChatTemplate(CHATML, {})
    save(tmp_path / "c.pt", ours, chat_template=template.to_dict())
    export_checkpoint(tmp_path / "c.pt", tmp_path / "out")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    turns = [{"role": "user", "content": "What is?"}]
    written = theirs.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    place = Place(Path("messages"), "turn", 1)
    assert written == template.prompt(turns_of([("user", "What is?")]), place)
    settings = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    ends = [ours.end_of_text_id, ours.encode("<|im_end|>").tolist()[0]]
    assert settings["eos_token_id"] == ends
    assert theirs.eos_token_id == ends[0]
