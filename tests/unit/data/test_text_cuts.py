"""Pieces of a long text get the ids of the whole, for every kind of tokenizer.json."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

from app.training.data import DataError, load_dataset
from app.training.data.parts import Part, Place
from app.training.data.pieces import cut_pieces
from app.training.text_cuts import Cut
from app.training.tokenizer import ByteTokenizer, CharTokenizer, PretrainedTokenizer

WORDS = (
    *("the", "cat's", "New York", "SAT", "on", "42", "3.14", "1,000", "é", "e\u0301", "été", "ΣΑΣ"),
    *("字", "漢字。", "나무", "—", "--", "(x)", "_", "``", "''", "İ", "\u0958", "ﬁ", "²", "½", "…"),
    *("<|end|>", "<t>", "\u00a0", "\x1c", "\u200b", "i'll", "x"),
)
GAPS = (" ", "  ", "   ", "\n", "\n\n", " \n ", "\t", "\r\n", "", ". ", ".\n", ", ")

GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = GPT4.replace("{1,3}", "")
GPT4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+"
    r"[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

n, p = normalizers, pre_tokenizers
WS, SPACE, NOWHERE = Cut.BEFORE_WHITE_SPACE, Cut.BEFORE_SPACE, Cut.NOWHERE


def by_pattern(pattern: str, behavior: str = "isolated") -> Any:
    split = p.Split(Regex(pattern), behavior)
    return p.Sequence([split, p.ByteLevel(add_prefix_space=False, use_regex=False)])


KINDS: dict[str, tuple[Any, Any, Cut]] = {
    "gpt2": (None, p.ByteLevel(add_prefix_space=False), WS),
    "gpt2 as a pattern": (None, by_pattern(GPT2), WS),
    "roberta": (None, p.ByteLevel(add_prefix_space=True), SPACE),
    "gpt4, llama3": (None, by_pattern(GPT4), WS),
    "qwen2": (n.NFC(), by_pattern(QWEN2), WS),
    "gpt4o": (None, by_pattern(GPT4O), WS),
    "gpt4 under nfd": (n.NFD(), by_pattern(GPT4), WS),
    "gpt4 under nfkc": (n.NFKC(), by_pattern(GPT4), WS),
    "another pattern": (None, by_pattern(r"\p{L}+\s?|\s+|\S"), NOWHERE),
    "a contiguous pattern": (None, by_pattern(GPT4, "contiguous"), NOWHERE),
    "starcoder": (None, p.Sequence([p.Digits(True), p.ByteLevel(add_prefix_space=False)]), WS),
    "bert": (n.BertNormalizer(), p.BertPreTokenizer(), WS),
    "lowercase words": (n.Sequence([n.NFD(), n.Lowercase(), n.StripAccents()]), p.Whitespace(), WS),
    "white space": (None, p.WhitespaceSplit(), WS),
    "punctuation first": (None, p.Sequence([p.Punctuation(), p.WhitespaceSplit()]), WS),
    "scripts first": (None, p.Sequence([p.UnicodeScripts(), p.WhitespaceSplit()]), NOWHERE),
    "scripts alone": (None, p.UnicodeScripts(), NOWHERE),
    "digits alone": (None, p.Digits(), NOWHERE),
    "metaspace": (None, p.Metaspace(), SPACE),
    "metaspace, first": (None, p.Metaspace(prepend_scheme="first"), SPACE),
    "metaspace, never": (None, p.Metaspace(prepend_scheme="never"), SPACE),
    "metaspace without a split": (None, p.Metaspace(split=False), NOWHERE),
    "t5": (n.Replace(Regex(" {2,}"), " "), p.Sequence([p.WhitespaceSplit(), p.Metaspace()]), WS),
    "albert": (n.Sequence([n.Replace("``", '"'), n.NFKD()]), p.Metaspace(), SPACE),
    "replaced words": (n.Replace("t c", "X"), p.WhitespaceSplit(), NOWHERE),
    "prepend and replace": (n.Sequence([n.Prepend("▁"), n.Replace(" ", "▁")]), None, NOWHERE),
    "gemma": (n.Replace(" ", "▁"), p.Split(" ", "merged_with_previous"), NOWHERE),
    "strip": (n.Strip(), p.ByteLevel(add_prefix_space=False), NOWHERE),
    "spaces apart": (None, p.Split(" ", "isolated"), SPACE),
    "spaces with the next": (None, p.Split(" ", "merged_with_next"), SPACE),
    "spaces with the previous": (None, p.Split(" ", "merged_with_previous"), NOWHERE),
    "byte-level normalizer": (n.ByteLevel(), p.WhitespaceSplit(), NOWHERE),
    "nothing": (None, None, NOWHERE),
}


def random_text(chance: random.Random, words: int) -> str:
    return "".join(chance.choice(WORDS) + chance.choice(GAPS) for _ in range(words))


def trained(normalizer: Any, pre_tokenizer: Any, tokens: list[AddedToken] = []) -> Tokenizer:  # noqa: B006
    made = Tokenizer(models.BPE(unk_token="?"))
    if normalizer is not None:
        made.normalizer = normalizer
    if pre_tokenizer is not None:
        made.pre_tokenizer = pre_tokenizer
    chance = random.Random(1)
    texts = [random_text(chance, 8) for _ in range(60)]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["?"], show_progress=False)
    made.train_from_iterator(texts, trainer)
    made.add_tokens(tokens)
    return made


def require_pieces_to_be_the_whole(made: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = PretrainedTokenizer(made.to_str())
    chance = random.Random(7)
    for size in itertools.chain([1, 2, 5, 13, 40] * 12):
        monkeypatch.setattr("app.training.data.pieces.PIECE_CHARACTERS", size)
        text = random_text(chance, 40)
        place = Place(Path("a"), "line", 1)
        blocks = [Part(text[i : i + 31], place) for i in range(0, len(text), 31)]
        pieces = [str(part.content) for part in cut_pieces(blocks, tokenizer.cut, "a") if part]
        assert "".join(pieces) == text
        ids = [int(i) for piece in pieces for i in tokenizer.encode(piece)]
        assert ids == tokenizer.encode(text).tolist(), pieces


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_get_the_ids_of_the_whole(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    normalizer, pre_tokenizer, cut = KINDS[kind]
    made = trained(normalizer, pre_tokenizer)
    assert PretrainedTokenizer(made.to_str()).cut is cut
    require_pieces_to_be_the_whole(made, monkeypatch)


@pytest.mark.parametrize(
    ("token", "cut"),
    [
        (AddedToken("<|end|>", special=True), WS),
        (AddedToken("<|end|>", lstrip=True, rstrip=True), WS),
        (AddedToken("x", rstrip=True), NOWHERE),
        (AddedToken("x", lstrip=True, single_word=True), WS),
        (AddedToken("New York"), NOWHERE),
    ],
)
def test_added_tokens(token: AddedToken, cut: Cut, monkeypatch: pytest.MonkeyPatch) -> None:
    made = trained(None, p.ByteLevel(add_prefix_space=False), [token])
    assert PretrainedTokenizer(made.to_str()).cut is cut
    require_pieces_to_be_the_whole(made, monkeypatch)


@pytest.mark.parametrize(
    "model",
    [
        lambda: models.WordPiece(
            {"[UNK]": 0, "the": 1, "##e": 2, "t": 3, "##h": 4}, unk_token="[UNK]"
        ),
        lambda: models.WordLevel({"[UNK]": 0, "the": 1, "cat": 2}, "[UNK]"),
        lambda: models.Unigram([("?", 0.0), ("▁the", -1.0), ("t", -2.0), ("▁", -3.0)], 0),
    ],
)
def test_other_models(model: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for pre_tokenizer in (p.WhitespaceSplit(), p.Metaspace()):
        made = Tokenizer(model())
        made.pre_tokenizer = pre_tokenizer
        require_pieces_to_be_the_whole(made, monkeypatch)


def test_bytes_and_characters_are_cut_anywhere() -> None:
    assert (ByteTokenizer().cut, CharTokenizer("ab").cut) == (Cut.ANYWHERE, Cut.ANYWHERE)


def test_long_records_are_cut_like_long_files(
    tmp_path: Path, make_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.training.data.pieces.PIECE_CHARACTERS", 100)
    made = trained(None, p.ByteLevel(add_prefix_space=False))
    made.save(str(tmp_path / "tokenizer.json"))
    text = random_text(random.Random(2), 300)
    (tmp_path / "a.txt").write_text(text, newline="")
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": text}))
    config = make_config(500, tokenizer=str(tmp_path / "tokenizer.json"), val_fraction=0)
    whole = PretrainedTokenizer(made.to_str()).encode(text).tolist()
    for name in ("a.txt", "a.jsonl"):
        train, _ = load_dataset(tmp_path / name, config)
        assert train.tokens.ids.tolist() == whole


def test_a_text_too_long_to_be_encoded_whole(
    tmp_path: Path, make_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.training.data.pieces.PIECE_CHARACTERS", 100)
    monkeypatch.setattr("app.training.data.pieces.WHOLE_CHARACTERS", 300)
    trained(None, None).save(str(tmp_path / "tokenizer.json"))
    config = make_config(500, tokenizer=str(tmp_path / "tokenizer.json"), val_fraction=0)
    data = tmp_path / "a.jsonl"
    data.write_text(f'{{"text": "the"}}\n{{"text": "{"the cat " * 37}"}}\n')
    load_dataset(data, config)
    data.write_text(f'{{"text": "the"}}\n{{"text": "{"the cat " * 38}"}}\n')
    with pytest.raises(DataError) as error:
        load_dataset(data, config)
    assert f"line 2 of {str(data)!r} on has more than 300 characters" in str(error.value)
    assert "JSON Lines" in str(error.value)
