"""What can be wrong with a dataset.

ValueError
└── DataError          data that cannot be trained on: value, rule and remedy in one sentence
    └── ColumnsError   records without text, a conversation or ids
"""

from __future__ import annotations


class DataError(ValueError):
    """Data that cannot be used; raised before the first step."""


class ColumnsError(DataError):
    """Records without anything to train on.

    Attributes:
        found: the sentence without its remedy, for a caller that has another one.
    """

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(f"{found}; {remedy}")
        self.found = found


IDS_END = 1 << 32
"""No vocabulary has as many ids, and no file of ours holds one that is greater."""


def require_id(where: object, token: int) -> None:
    """Raise `DataError` where a token, found at this place, cannot be an id."""
    if token < 0:
        raise DataError(
            f"{where} holds the token {token}; ids must be >= 0; remove padding and labels such as "
            "-100 from the ids"
        )
    if token >= IDS_END:
        raise DataError(
            f"{where} holds the token {token}; ids must be below 2^32; check the column, or the "
            "`token_dtype` of a file of ids"
        )


def require_row(where: object, largest: int, vocab_size: int, remedy: str) -> None:
    """Raise `DataError` where the largest id has no row in the model's embedding.

    `where` names the place in the data; `remedy` is what else than a larger vocabulary helps.
    """
    if largest >= vocab_size:
        raise DataError(
            f"{where} holds the token {largest}, but `model_config.vocab_size` is {vocab_size}; "
            f"every token must be below it; set vocab_size to at least {largest + 1}, or {remedy}"
        )
