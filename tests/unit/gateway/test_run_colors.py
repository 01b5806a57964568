"""The colors that tell runs apart: for every kind of color vision, and readable on the cards."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import gateway

STATIC = Path(gateway.__file__).parent / "static"
CARDS = {"light": "#ffffff", "dark": "#181d26"}
LEAST_CONTRAST = 3.0
"""Of lines and symbols, as WCAG 2.1 has it (1.4.11)."""
LEAST_DISTANCE = 0.11
"""In OKLab; 0.02 is just noticeable."""
# How linear RGB looks to eyes that lack one kind of cones (Machado, Oliveira, Fernandes 2009).
VISIONS = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                     [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                   [0.004733, 0.691367, 0.303900]],
}  # fmt: skip
# OKLab (Ottosson 2020): linear RGB to cones, and their cube roots to lightness and two hues.
CONES = np.array([[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451,
    0.1073969566], [0.0883024619, 0.2817188376, 0.6299787005]])  # fmt: skip
LAB = np.array([[0.2104542553, 0.793617785, -0.0040720468], [1.9779984951, -2.428592205,
    0.4505937099], [0.0259040371, 0.7827717662, -0.808675766]])  # fmt: skip


def linear(color: str) -> NDArray[np.float64]:
    parts = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def luminance(color: str) -> float:
    return float(linear(color) @ np.array([0.2126, 0.7152, 0.0722]))


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def oklab(color: str, vision: object) -> NDArray[np.float64]:
    seen = np.clip(np.asarray(vision, dtype=float) @ linear(color), 0, 1)
    return np.asarray(LAB @ np.cbrt(CONES @ seen))


def colors_of(scheme: str) -> list[str]:
    text = (STATIC / "compare_state.js").read_text()
    found = re.search(rf"  {scheme}: \[(.*?)\]", text)
    assert found
    return re.findall(r"#[0-9a-f]{6}", found[1])


@pytest.mark.parametrize("scheme", CARDS)
def test_lines_can_be_seen_and_told_apart(scheme: str) -> None:
    colors = colors_of(scheme)
    assert len(colors) == 8
    assert (
        f"--card: {CARDS[scheme].replace('#ffffff', '#fff')}" in (STATIC / "style.css").read_text()
    )
    assert min(contrast(color, CARDS[scheme]) for color in colors) >= LEAST_CONTRAST
    for name, vision in VISIONS.items():
        places = [oklab(color, vision) for color in colors]
        nearest = min(np.linalg.norm(a - b) for a, b in itertools.combinations(places, 2))
        assert nearest >= LEAST_DISTANCE, f"{name}: {nearest:.3f}"
