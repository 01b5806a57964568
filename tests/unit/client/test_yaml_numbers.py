"""The SDK and the training library read the plain words of a YAML document alike."""

from __future__ import annotations

import math

import pytest

from app.training.document import parse_document
from training_engine import _yaml

INTEGERS = {
    "0": 0,
    "-1": -1,
    "+7": 7,
    "1_000": 1000,
    "0x1F": 31,
    "0b101": 5,
    "9" * 100: 10**100 - 1,
}
FLOATS = {"1.5": 1.5, "1.": 1.0, ".5": 0.5, "6.0e-4": 6e-4, "1.0E+5": 1e5, "01.5": 1.5}
INFINITE = {".inf": math.inf, "-.INF": -math.inf}
WORDS = {"yes": True, "no": False, "on": True, "off": False, "null": None, "~": None}
TEXTS = """
    007 010 0o10 00 1:30 190:20:30 1:30.5 2020-01-01 2020-01-01T00:00:00 1e5 6e-4 1.0e5 -.5 . _1
    inf nan None 1,000 1.2.3
"""
LONG = ["9" * 101, "9" * 5000, "1." + "0" * 200]
SAME = {text: text for text in [*TEXTS.split(), *LONG]}
TABLE = INTEGERS | FLOATS | INFINITE | WORDS | SAME


@pytest.mark.parametrize("word", TABLE, ids=lambda word: word[:20])
def test_a_plain_word_means_the_same_to_both(word: str) -> None:
    expected = TABLE[word]
    for value in (_yaml.load(f"key: {word}")["key"], parse_document(f"key: {word}")[0]["key"]):
        assert (type(value), value) == (type(expected), expected)


def test_nan_is_a_number_to_both() -> None:
    assert math.isnan(_yaml.load("key: .nan")["key"])
    assert math.isnan(parse_document("key: .nan")[0]["key"])
