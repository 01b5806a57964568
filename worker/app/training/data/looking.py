"""Looks into the data of a configuration before it is trained on, in bounded time and memory.

The beginning of each file is read as training reads it, and tokenized; a short dataset is read
whole. Nothing is written, and torch is not imported.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.training import fit, progress
from app.training.config import TrainingConfig
from app.training.data.array_files import read_layout
from app.training.data.chat_template import RenderedConversation
from app.training.data.conversation_texts import rendered_conversations, template_of
from app.training.data.documents import first_documents, parts_and_breaks
from app.training.data.errors import DataError
from app.training.data.folders import require_readable
from app.training.data.formats import DataFile, ReadOptions
from app.training.data.inspection import (
    FileReport,
    Inspection,
    LengthCount,
    WindowReport,
    WindowSegment,
)
from app.training.data.parquet_footer import read_footer
from app.training.data.parts import DOCUMENT_END, DocumentEnd, Part, Piece
from app.training.data.pieces import cut_pieces
from app.training.data.selection import Selection, select
from app.training.data.sources import Corpus, content_of_file
from app.training.home import expanded
from app.training.preflight import VisibleData, inspect_run
from app.training.reading import PathNotAllowedError, permitted
from app.training.tokenizer import (
    CharTokenizer,
    PretrainedTokenizer,
    Tokenizer,
    TokenizerError,
    load_tokenizer,
)
from app.training.tokenizer_files import is_path, trained_size
from app.training.tokenizer_training import tokenizer_of_text
from app.transformer.errors import FieldProblem

Ids = npt.NDArray[np.int64]

_MOST_FILES_LISTED = 200
_MOST_HASHES = 1 << 20
_WINDOWS = 3
_MOST_TRAINED_ON = 1 << 21
"""Characters that a tokenizer is trained on for a look."""
_SMALLEST_PART = 1 << 16
_IDS_AT_ONCE = 1 << 18


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a look may cost. What is beyond these bounds is not read."""

    characters: int = 16 << 20
    """Characters or ids, over all files."""
    seconds: float = 10.0


@dataclass
class _Tally:
    """What was counted of the training data so far."""

    bounds: Bounds
    tokenizer: Tokenizer | None
    vocab_size: int
    inspection: Inspection = field(default_factory=Inspection)
    counts: Ids = field(init=False)
    head: list[Ids] = field(default_factory=list)
    """The first ids, for the windows."""
    head_size: int = 0
    held: list[Ids] = field(default_factory=list)
    held_size: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    hashes: set[bytes] = field(default_factory=set)
    read: list[FileReport] = field(default_factory=list)
    left: int = 0
    ends_at: float = 0.0

    def __post_init__(self) -> None:
        size = self.tokenizer.vocab_size if self.tokenizer else self.vocab_size
        self.counts = np.zeros(size, dtype=np.int64)
        self.left = self.bounds.characters
        self.ends_at = time.monotonic() + self.bounds.seconds

    @property
    def is_out_of_time(self) -> bool:
        return time.monotonic() >= self.ends_at

    def add_ids(self, ids: Ids, wanted: int) -> None:
        """Count ids that follow the earlier ones."""
        self.held.append(ids)
        self.held_size += len(ids)
        if self.held_size >= _IDS_AT_ONCE:
            self.count_held()
        if self.head_size < wanted:
            self.head.append(ids[: wanted - self.head_size])
            self.head_size += len(self.head[-1])

    def count_held(self) -> None:
        """Count what was added: many at once, since the counts are as many as the vocabulary."""
        ids = np.concatenate(self.held) if self.held else np.empty(0, dtype=np.int64)
        if ids.size and int(ids.max()) >= len(self.counts):
            self.counts = np.pad(self.counts, (0, int(ids.max()) + 1 - len(self.counts)))
        self.counts += np.bincount(ids, minlength=len(self.counts))
        self.held, self.held_size = [], 0

    def add_document(self, digest: bytes, tokens: int) -> None:
        """Count a document that is at its end."""
        self.lengths[tokens.bit_length()] += 1
        if digest in self.hashes:
            self.inspection.duplicate_documents += 1
        elif len(self.hashes) < _MOST_HASHES:
            self.hashes.add(digest)


def inspect_data(config: TrainingConfig, bounds: Bounds | None = None) -> Inspection:
    """Look into the data of a valid configuration, on this machine.

    Whatever is wrong with the data is among the `problems`; nothing is raised for it.
    """
    found = inspect_run(config, VisibleData.here(config))
    inspection = Inspection(
        problems=list(found.problems),
        warnings=list(found.warnings),
        tokenizer=config.tokenizer,
    )
    named = _named_data(config)
    try:
        selections = {name: _selected(path, config) for name, path in named.items()}
        tokenizer = _tokenizer(selections, config, bounds or Bounds())
    except (DataError, PathNotAllowedError, TokenizerError) as error:
        _add_problem(inspection, "dataset_path", str(error))
        return inspection
    tally = _Tally(bounds or Bounds(), tokenizer, config.model_config.vocab_size, inspection)
    files = sum(len(selection.files) for selection in selections.values())
    for name, selection in selections.items():
        for file in selection.files:
            _read_beginning(name, file, config, tally, files)
            files -= 1
        _list_others(selection, inspection)
    _finish(tally, config)
    if tokenizer is not None and not inspection.problems:
        first = next(iter(selections.values())).files[0]
        inspection.windows = _first_conversations(first, config, tokenizer) or inspection.windows
    return inspection


def _first_conversations(
    file: DataFile, config: TrainingConfig, tokenizer: Tokenizer
) -> list[WindowReport]:
    """Return the first conversations with what is trained on; empty for data of another kind."""
    options = ReadOptions.of(config)
    corpus = Corpus((file,), content_of_file(file, options), options)
    if corpus.content != "conversation":
        return []
    conversations = rendered_conversations(corpus, template_of(config, tokenizer), config)
    everything = config.data.loss_on == "all"
    return [
        WindowReport(len(tokenizer.encode(found.text)), list(_segments(found, everything)))
        for _, found in itertools.islice(conversations, _WINDOWS)
    ]


def _segments(found: RenderedConversation, everything: bool) -> Iterator[WindowSegment]:
    start = 0
    for first, last in found.spans:
        if start < first:
            yield WindowSegment(found.text[start:first], everything)
        if first < last:
            yield WindowSegment(found.text[first:last], True)
        start = last
    if start < len(found.text):
        yield WindowSegment(found.text[start:], everything)


def _named_data(config: TrainingConfig) -> dict[str, Path]:
    named = {"dataset_path": config.dataset_path} if config.dataset_path else {}
    sources = enumerate(config.data.sources)
    named |= {f"data.sources[{number}].path": source.path for number, source in sources}
    return {name: expanded(path) for name, path in named.items()}


def _selected(path: Path, config: TrainingConfig) -> Selection:
    try:
        path = permitted(path)
        require_readable(path)
        return select(path, "train", ReadOptions.of(config))
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read ({error.strerror or error})") from error


def _tokenizer(
    selections: dict[str, Selection], config: TrainingConfig, bounds: Bounds
) -> Tokenizer | None:
    """Return the tokenizer, its alphabet taken from what is looked at; None where ids need none."""
    files = [file for selection in selections.values() for file in selection.files]
    contents = {content_of_file(file, ReadOptions.of(config)) for file in files}
    try:
        if contents - {"input_ids"} and config.tokenizer == "char":
            return CharTokenizer(_alphabet(files, config, bounds.characters))
        if contents - {"input_ids"} and trained_size(config.tokenizer):
            texts = _texts(files, config, min(bounds.characters, _MOST_TRAINED_ON))
            return tokenizer_of_text(config.tokenizer, texts)
        return load_tokenizer(config.tokenizer)
    except TokenizerError:
        if contents == {"input_ids"}:
            return None
        raise


def _alphabet(files: Sequence[DataFile], config: TrainingConfig, left: int) -> set[str]:
    found = {"\n"}
    for text in _texts(files, config, left):
        found.update(text)
    return found


def _texts(files: Sequence[DataFile], config: TrainingConfig, left: int) -> Iterator[str]:
    """Yield the beginning of the text, about so many characters."""
    for file in files:
        for piece in _pieces(file, config):
            if isinstance(piece, Part) and isinstance(piece.content, str):
                yield piece.content
                left -= len(piece.content)
            if left <= 0:
                return


def _pieces(file: DataFile, config: TrainingConfig) -> Iterator[Piece]:
    options = ReadOptions.of(config)
    corpus = Corpus((file,), content_of_file(file, options), options)
    if corpus.content == "conversation":
        return _conversations(corpus, config)
    return first_documents(corpus.pieces(), config.data.max_documents)


def _conversations(corpus: Corpus, config: TrainingConfig) -> Iterator[Piece]:
    template = template_of(config, _tokenizer_of_files(config))
    for place, rendered in rendered_conversations(corpus, template, config):
        yield Part(rendered.text, place)
        yield DOCUMENT_END


def _tokenizer_of_files(config: TrainingConfig) -> Tokenizer | None:
    """Return the tokenizer where its files say how a conversation is written."""
    return load_tokenizer(config.tokenizer) if is_path(config.tokenizer) else None


def _read_beginning(
    name: str, file: DataFile, config: TrainingConfig, tally: _Tally, files: int
) -> None:
    """Read the beginning of a file, its part of what is left."""
    listed = FileReport(_name(file.path), "train", file.path.stat().st_size, file.form)
    _list(listed, tally.inspection)
    tally.read.append(listed)
    if tally.is_out_of_time:
        tally.inspection.complete = False
        return
    reader = _Reader(listed, max(tally.left // files, _SMALLEST_PART), tally)
    try:
        with progress.reporting_to(reader.count_bytes):
            _count(reader, file, config, tally)
    except (DataError, PathNotAllowedError, TokenizerError) as error:
        listed.reason = str(error)
        _add_problem(tally.inspection, name, listed.reason)
    except OSError as error:
        listed.reason = f"cannot be read ({error.strerror or error})"
    tally.left -= listed.characters
    tally.inspection.complete &= listed.complete
    _estimate_share(reader, file, ReadOptions.of(config))


class _Reader:
    """Counts the documents of one file on their way to the tokenizer, up to a limit."""

    def __init__(self, listed: FileReport, limit: int, tally: _Tally) -> None:
        self.listed, self.bytes_read = listed, 0
        self._limit, self._tally = limit, tally
        self.digests: list[bytes] = []
        """Of documents that the tokenizer has not come to."""

    def count_bytes(self, size: int) -> None:
        """Count bytes that were read."""
        self.bytes_read += size

    def pieces(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """Yield the pieces until the limit is reached."""
        digest, size = hashlib.blake2b(digest_size=8), 0
        pieces = iter(pieces)
        for piece in pieces:
            if isinstance(piece, DocumentEnd):
                self._end(digest, size)
                digest, size = hashlib.blake2b(digest_size=8), 0
            else:
                content = piece.content
                text = isinstance(content, str)
                digest.update(content.encode() if text else content.tobytes())  # type: ignore[union-attr]
                size += len(content)
                self.listed.characters += len(content)
            yield piece
            if self.listed.characters >= self._limit or self._tally.is_out_of_time:
                if size:
                    self._end(digest, size)
                following = (each for each in pieces if isinstance(each, Part))
                self.listed.complete = next(following, None) is None
                return
        self.listed.complete = True

    def _end(self, digest: hashlib.blake2b, size: int) -> None:
        self.listed.documents += 1
        if size:
            self.digests.append(digest.digest())
        else:
            self._tally.inspection.empty_documents += 1


def _count(reader: _Reader, file: DataFile, config: TrainingConfig, tally: _Tally) -> None:
    wanted = _WINDOWS * config.get_sequence_length() + 1
    between = _separator(file, config, tally.tokenizer)
    if tally.held_size or tally.counts.any():  # an earlier file ends in a document
        tally.add_ids(between, wanted)
    tokens = 0
    for ids in _encoded(reader.pieces(_pieces(file, config)), config, tally):
        if ids is not None:
            tokens += len(ids)
        else:
            _end_document(reader, tokens, tally)
            tokens = 0
        tally.add_ids(between if ids is None else ids, wanted)
    if tokens:
        _end_document(reader, tokens, tally)


def _end_document(reader: _Reader, tokens: int, tally: _Tally) -> None:
    reader.listed.tokens += tokens
    tally.add_document(reader.digests.pop(0), tokens)


def _separator(file: DataFile, config: TrainingConfig, tokenizer: Tokenizer | None) -> Ids:
    """Return the ids between two documents; there are none between documents of ids."""
    text, none = config.data.document_separator, np.empty(0, dtype=np.int64)
    content = content_of_file(file, ReadOptions.of(config))
    if tokenizer is None or content == "input_ids":
        return none
    if content == "conversation" and text is None and tokenizer.end_of_text_id is None:
        return none
    if text is None and tokenizer.end_of_text_id is not None:
        return np.array([tokenizer.end_of_text_id])
    return tokenizer.encode("\n\n" if text is None else text)


def _encoded(
    pieces: Iterable[Piece], config: TrainingConfig, tally: _Tally
) -> Iterator[Ids | None]:
    for part in _cut_texts(parts_and_breaks(pieces), tally.tokenizer, config):
        if part is None:
            yield None
        elif isinstance(part.content, str):
            assert tally.tokenizer is not None
            yield tally.tokenizer.encode(part.content)
        else:
            yield np.asarray(part.content)


def _cut_texts(
    parts: Iterator[Part | None], tokenizer: Tokenizer | None, config: TrainingConfig
) -> Iterator[Part | None]:
    """Return text in pieces that can be encoded alone; ids as they are."""
    first = next(parts, None)
    if first is None:
        return iter(())
    whole = itertools.chain([first], parts)
    if isinstance(first.content, str) and tokenizer is not None:
        return cut_pieces(whole, tokenizer.cut, config.tokenizer)
    return whole


def _estimate_share(reader: _Reader, file: DataFile, options: ReadOptions) -> None:
    """Set the share of the file that was read: by rows, or by bytes unless it is compressed."""
    listed = reader.listed
    if listed.complete:
        listed.read_share = 1.0
    elif file.form == "parquet":
        footer = read_footer(file.path)
        listed.read_share = listed.documents / footer.rows if footer and footer.rows else None
    elif file.form == "array":
        listed.read_share = listed.tokens / read_layout(file.path, options).count
    elif reader.bytes_read and reader.bytes_read <= listed.size_bytes:
        listed.read_share = reader.bytes_read / listed.size_bytes


def _list_others(selection: Selection, inspection: Inspection) -> None:
    for file in selection.validation:
        size = file.path.stat().st_size
        _list(FileReport(_name(file.path), "validation", size, file.form), inspection)
    for skipped in selection.skipped:
        size = skipped.path.stat().st_size if skipped.path.is_file() else 0
        _list(FileReport(_name(skipped.path), "skipped", size, reason=skipped.reason), inspection)


def _name(path: Path) -> str:
    """Return a path as text; a file system may hold names that are not UTF-8."""
    return os.fsencode(path).decode(errors="replace")


def _list(file: FileReport, inspection: Inspection) -> None:
    if len(inspection.files) < _MOST_FILES_LISTED:
        inspection.files.append(file)
    else:
        inspection.more_files += 1


def _finish(tally: _Tally, config: TrainingConfig) -> None:
    tally.count_held()
    found, counts = tally.inspection, tally.counts
    found.documents = sum(file.documents for file in tally.read)
    found.characters = sum(file.characters for file in tally.read)
    found.tokens = int(counts.sum())
    found.vocabulary_used = int(np.count_nonzero(counts))
    found.lengths = [
        LengthCount(1 << (bits - 1) if bits else 0, count)
        for bits, count in sorted(tally.lengths.items())
    ]
    if found.tokens:
        found.rare_share = int(np.count_nonzero(counts == 1)) / found.tokens
        found.unknown_share = _unknown(tally) / found.tokens
    found.estimated_tokens = _estimated_tokens(found, tally.read)
    found.epochs = _epochs(found.estimated_tokens, config)
    found.windows = list(_windows(tally, config))
    _warn(found)


def _unknown(tally: _Tally) -> int:
    unknown = unknown_id(tally.tokenizer)
    return int(tally.counts[unknown]) if unknown is not None else 0


def unknown_id(tokenizer: Tokenizer | None) -> int | None:
    """Return the id of text that the vocabulary does not have, where there is one."""
    if not isinstance(tokenizer, PretrainedTokenizer):
        return None
    model = json.loads(tokenizer.definition).get("model") or {}
    if isinstance(number := model.get("unk_id"), int):
        return number
    token, vocabulary = model.get("unk_token"), model.get("vocab")
    found = vocabulary.get(token) if token and isinstance(vocabulary, dict) else None
    return found if isinstance(found, int) else None


def _estimated_tokens(found: Inspection, read: Sequence[FileReport]) -> int | None:
    if found.complete:
        return found.tokens
    if not all(file.read_share for file in read):
        return None
    return round(sum(file.tokens / (file.read_share or 1) for file in read))


def _epochs(tokens: int | None, config: TrainingConfig) -> float | None:
    if not tokens or config.data.sources:
        return None
    windows = fit.window_count(fit.split_at(tokens, config), config.get_sequence_length())
    return config.max_steps * config.get_effective_batch_size() / windows


def _windows(tally: _Tally, config: TrainingConfig) -> Iterator[WindowReport]:
    if tally.tokenizer is None or not tally.head:
        return
    ids, length = np.concatenate(tally.head), config.get_sequence_length()
    for start in range(0, min(len(ids) - 1, _WINDOWS * length), length):
        window = ids[start : start + length + 1]
        text = tally.tokenizer.decode(window.tolist())
        yield WindowReport(len(window), [WindowSegment(text, trained=True)])


def _warn(found: Inspection) -> None:
    for count, what in (
        (found.duplicate_documents, "are equal to an earlier one"),
        (found.empty_documents, "are empty and not trained on"),
    ):
        if count * 100 > found.documents:
            message = f"{count:,} of {found.documents:,} documents {what}"
            found.warnings.append(FieldProblem("dataset_path", message))
    if found.unknown_share > 0.001:
        message = (
            f"{found.unknown_share:.2%} of the tokens stand for text that the tokenizer "
            f"{found.tokenizer!r} does not know; take one that was made for such text"
        )
        found.warnings.append(FieldProblem("tokenizer", message))


def _add_problem(inspection: Inspection, name: str, message: str) -> None:
    if message not in [problem.message for problem in inspection.problems]:
        inspection.problems.append(FieldProblem(name, message))
