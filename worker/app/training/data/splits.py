"""Which part of a dataset a file belongs to, by its name or its folder, as on the Hugging Face hub.

Standard library only, see `survey`.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Final, Literal

Split = Literal["train", "validation", "test"]

_WORDS: Final[dict[str, Split]] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "eval", "evaluation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_WORD: Final = re.compile(
    rf"(?:^|[-_.= 0-9])({'|'.join(sorted(_WORDS, key=len, reverse=True))})(?=[-_.= 0-9]|$)"
)


def split_of(relative: PurePath) -> Split | None:
    """Return the part that a path inside a folder names.

    Outer folders go before inner ones and the file. A name counts where it is a word of its own:
    `train-00000-of-00002.parquet`, `ptb.valid.txt`, `fineweb_val_000000.bin`, `test/0.jsonl`, and
    `split=test/0.parquet`, as writers of partitions have it; `contest.txt` names none.
    """
    for part in relative.parts:
        if found := _WORD.search(part.lower()):
            return _WORDS[found[1]]
    return None
