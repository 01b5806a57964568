"""What a look into data counts: ids, documents and their lengths, and what follows from them."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from app.training import fit
from app.training.config import TrainingConfig
from app.training.data.inspection import (
    FileReport,
    Inspection,
    LengthCount,
    SourceReport,
    WindowReport,
    WindowSegment,
)
from app.training.data.schedule import whole_shares
from app.training.tokenizer import Ids, PretrainedTokenizer, Tokenizer
from app.transformer.errors import FieldProblem

WINDOWS = 3
"""Samples that are shown."""
_MOST_HASHES = 1 << 20
_IDS_AT_ONCE = 1 << 18


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a look may cost. What is beyond these bounds is not read."""

    characters: int = 16 << 20
    """Characters or ids, over all files."""
    seconds: float = 10.0


@dataclass
class Tally:
    """What was counted of the training data so far."""

    bounds: Bounds
    tokenizer: Tokenizer | None
    vocab_size: int
    inspection: Inspection = field(default_factory=Inspection)
    counts: Ids = field(init=False)
    """Of each id of the vocabulary."""
    beyond: Counter[int] = field(default_factory=Counter)
    """Of ids that the vocabulary does not have, of which one may be in the billions."""
    head: list[Ids] = field(default_factory=list)
    """The first ids, for the windows."""
    head_size: int = 0
    uncounted: list[Ids] = field(default_factory=list)
    uncounted_size: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    hashes: set[bytes] = field(default_factory=set)
    reports: list[FileReport] = field(default_factory=list)
    left: int = 0
    ends_at: float = 0.0

    def __post_init__(self) -> None:
        size = self.tokenizer.vocab_size if self.tokenizer else self.vocab_size
        self.counts = np.zeros(size, dtype=np.int64)
        self.left = self.bounds.characters
        self.ends_at = time.monotonic() + self.bounds.seconds

    @property
    def tokens(self) -> int:
        """Ids that were added so far."""
        return int(self.counts.sum()) + self.beyond.total() + self.uncounted_size

    @property
    def is_out_of_time(self) -> bool:
        return time.monotonic() >= self.ends_at

    def add_ids(self, ids: Ids, length: int) -> None:
        """Count ids that follow the earlier ones, and keep the first `length` of all."""
        self.uncounted.append(ids)
        self.uncounted_size += len(ids)
        if self.uncounted_size >= _IDS_AT_ONCE:
            self.count_ids()
        if self.head_size < length:
            self.head.append(ids[: length - self.head_size])
            self.head_size += len(self.head[-1])

    def count_ids(self) -> None:
        """Count what was added: many at once, since the counts are as many as the vocabulary."""
        ids = np.concatenate(self.uncounted) if self.uncounted else np.empty(0, dtype=np.int64)
        is_known = ids < len(self.counts)
        beyond, counts = np.unique(ids[~is_known], return_counts=True)
        self.beyond.update(dict(zip(beyond.tolist(), counts.tolist(), strict=True)))
        self.counts += np.bincount(ids[is_known], minlength=len(self.counts))
        self.uncounted, self.uncounted_size = [], 0

    def add_document(self, digest: bytes, tokens: int) -> None:
        """Count a document that is at its end."""
        self.lengths[tokens.bit_length()] += 1
        if digest in self.hashes:
            self.inspection.duplicate_documents += 1
        elif len(self.hashes) < _MOST_HASHES:
            self.hashes.add(digest)


def fill_in_counts(tally: Tally, config: TrainingConfig) -> None:
    """Write what was counted, and what follows from it, into the inspection of the tally."""
    tally.count_ids()
    inspection = tally.inspection
    counts = np.concatenate([tally.counts, [*tally.beyond.values()]]).astype(np.int64)
    inspection.documents = sum(file.documents for file in tally.reports)
    inspection.characters = sum(file.characters for file in tally.reports)
    inspection.tokens = int(counts.sum())
    inspection.vocabulary_used = int(np.count_nonzero(counts))
    inspection.lengths = [
        LengthCount(1 << (bits - 1) if bits else 0, count)
        for bits, count in sorted(tally.lengths.items())
    ]
    if inspection.tokens:
        inspection.rare_share = int(np.count_nonzero(counts == 1)) / inspection.tokens
        inspection.unknown_share = _unknown(tally) / inspection.tokens
    inspection.estimated_tokens = estimated_tokens(inspection.tokens, tally.reports)
    if not config.data.sources:
        inspection.epochs = _epochs(inspection.estimated_tokens, config)
    inspection.windows = list(_windows(tally, config))
    _warn(inspection)


def _unknown(tally: Tally) -> int:
    unknown = _unknown_id(tally.tokenizer)
    return int(tally.counts[unknown]) if unknown is not None else 0


def _unknown_id(tokenizer: Tokenizer | None) -> int | None:
    """Return the id of text that the vocabulary does not have, where there is one."""
    if not isinstance(tokenizer, PretrainedTokenizer):
        return None
    model = json.loads(tokenizer.definition).get("model") or {}
    if isinstance(number := model.get("unk_id"), int):
        return number
    token, vocabulary = model.get("unk_token"), model.get("vocab")
    number = vocabulary.get(token) if token and isinstance(vocabulary, dict) else None
    return number if isinstance(number, int) else None


def estimated_tokens(tokens: int, reports: Sequence[FileReport]) -> int | None:
    """Return how many tokens files have of which `tokens` were read; None where that is unknown."""
    if all(file.complete for file in reports):
        return tokens
    if not all(file.read_share for file in reports):
        return None
    return round(sum(file.tokens / (file.read_share or 1) for file in reports))


def source_reports(tokens: Sequence[int | None], config: TrainingConfig) -> list[SourceReport]:
    """Return how often each source of a mixture is gone through, by its tokens."""
    sources = config.data.sources
    if not sources:
        return []
    parts = whole_shares([source.weight for source in sources])
    reports = []
    for source, part, count in zip(sources, parts, tokens, strict=True):
        share = part / sum(parts)
        epochs = _epochs(count, config)
        times = None if epochs is None else epochs * share
        reports.append(SourceReport(source.path, share, count, times))
    return reports


def _epochs(tokens: int | None, config: TrainingConfig) -> float | None:
    if not tokens:
        return None
    windows = fit.window_count(fit.split_at(tokens, config), config.get_sequence_length())
    return config.max_steps * config.get_effective_batch_size() / windows


def _windows(tally: Tally, config: TrainingConfig) -> Iterator[WindowReport]:
    if tally.tokenizer is None or not tally.head:
        return
    ids, length = np.concatenate(tally.head), config.get_sequence_length()
    for start in range(0, min(len(ids) - 1, WINDOWS * length), length):
        window = ids[start : start + length + 1]
        text = tally.tokenizer.decode(window.tolist())
        yield WindowReport(len(window), [WindowSegment(text, trained=True)])


def _warn(inspection: Inspection) -> None:
    for count, what in (
        (inspection.duplicate_documents, "are equal to an earlier one"),
        (inspection.empty_documents, "are empty and not trained on"),
    ):
        if count * 100 > inspection.documents:
            message = f"{count:,} of {inspection.documents:,} documents {what}"
            inspection.warnings.append(FieldProblem("dataset_path", message))
    if inspection.unknown_share > 0.001:
        message = (
            f"{inspection.unknown_share:.2%} of the tokens stand for text that the tokenizer "
            f"{inspection.tokenizer!r} does not know; take one that was made for such text"
        )
        inspection.warnings.append(FieldProblem("tokenizer", message))
