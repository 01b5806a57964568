"""What can be wrong with a dataset.

ValueError
└── DataError      data that cannot be trained on: value, rule and remedy in one sentence
"""

from __future__ import annotations


class DataError(ValueError):
    """Data that cannot be used; raised before the first step."""
