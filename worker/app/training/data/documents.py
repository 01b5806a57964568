"""How the documents of a corpus follow each other: how many, in which order.

A stream of documents is their ids in pieces, with None between two of them. Pieces without a None
between them are of one document.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from app.training import progress
from app.training.data.parts import DocumentEnd, Part, Piece

Ids = npt.NDArray[Any]

_IDS_AT_ONCE = 1 << 16


def first_documents(pieces: Iterable[Piece], most: int | None) -> Iterator[Piece]:
    """Yield the pieces of the first `most` documents that hold something; all where it is None."""
    count, begun = 0, False
    for piece in pieces:
        if isinstance(piece, Part):
            begun = begun or len(piece.content) > 0
        elif begun:
            count, begun = count + 1, False
        yield piece
        if count == most:
            return


def parts_and_breaks(pieces: Iterable[Piece]) -> Iterator[Part | None]:
    """Yield the parts, and None between two documents; empty ones do not count."""
    begun = ended = False
    for piece in pieces:
        if isinstance(piece, DocumentEnd):
            ended = begun
        elif len(piece.content):
            if ended:
                yield None
            begun, ended = True, False
            yield piece


def in_order(stream: Iterable[Ids | None], separator: Callable[[], Ids]) -> Iterator[Ids]:
    """Yield the ids with the separator between documents, many at once.

    `separator` is called where there is one: an alphabet may lack it and need none.
    """
    held: list[Ids] = []
    size = 0
    for piece in stream:
        ids = separator() if piece is None else piece
        if size + ids.size > _IDS_AT_ONCE:
            yield from _joined(held)
            held, size = [], 0
        held.append(ids)
        size += ids.size
    yield from _joined(held)


def _joined(held: list[Ids]) -> list[Ids]:
    return [np.concatenate(held)] if len(held) > 1 else held


def shuffled(
    stream: Iterable[Ids | None], separator: Callable[[], Ids], seed: int, folder: Path
) -> Iterator[Ids]:
    """Yield the ids of the documents in an order drawn from `seed`, with the separator between.

    The ids wait in an unnamed file in `folder`, 8 bytes each; memory holds 24 bytes a document.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        starts = array("q", [0])
        for piece in stream:
            if piece is None:
                starts.append(file.tell() // 8)
            else:
                progress.advanced(file.write(piece.astype("<i8").tobytes()))
        starts.append(file.tell() // 8)
        file.flush()
        if starts[-1]:
            ids = np.memmap(file, "<i8", "r")
            yield from in_order(_reordered(ids, np.array(starts), seed), separator)


def shuffled_order(count: int, seed: int) -> Ids:
    """Return an order of `count` documents that is drawn from `seed`."""
    from app.training.sampler import seed_for  # here, since it imports torch

    # Sorted random numbers, not a generator's `permutation`: numpy keeps the numbers of a bit
    # generator the same in all releases, and not what is made of them.
    draws = np.random.PCG64(seed_for("documents", seed)).random_raw(count)
    return np.argsort(draws, kind="stable")


def _reordered(ids: Ids, starts: Ids, seed: int) -> Iterator[Ids | None]:
    for place, document in enumerate(shuffled_order(len(starts) - 1, seed)):
        if place:
            yield None
        yield np.asarray(ids[starts[document] : starts[document + 1]])
