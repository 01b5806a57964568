"""What a cache entry depends on: the bytes of the files, and how they are read."""

from __future__ import annotations

from pathlib import Path

from app.training import progress
from app.training.data.array_files import read_layout
from app.training.data.facts import content_digest
from app.training.data.formats import COMPRESSED, RECORD_FORMS, DataFile, form_of_name
from app.training.data.sources import Corpus
from app.training.data.text_files import has_other_encoding


def corpus_digests(corpus: Corpus, directory: Path) -> list[str]:
    """Return a text for each file of a corpus; `directory` is the cache's."""
    with progress.working("reading", corpus.size):
        return [
            f"{_reading(file, corpus)} {content_digest(file.path, directory)}"
            for file in corpus.files
        ]


def _reading(file: DataFile, corpus: Corpus) -> str:
    """Return what decides how a file's bytes are read.

    The suffix alone for what always was read so.
    """
    suffix, column = file.path.suffix.lower(), corpus.options.text_column
    if file.form == "array":
        return f"{suffix} {read_layout(file.path, corpus.options).dtype}"
    parts = [suffix] if _is_read_as_ever(file) else [suffix, file.form]
    is_named = file.form in RECORD_FORMS and corpus.content == "text" and column != "text"
    return " ".join([*parts, repr(column)] if is_named else parts)


def _is_read_as_ever(file: DataFile) -> bool:
    if file.path.suffix.lower() in COMPRESSED:
        return False
    if file.form == "text":
        return not has_other_encoding(file.path)
    return file.form == form_of_name(file.path) and file.form in ("json lines", "parquet")
