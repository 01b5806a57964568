"""Which files hold data, by their names. Standard library only: a control plane asks it too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from app.training.data.choice import Choice

if TYPE_CHECKING:
    from app.training.config import TrainingConfig

_TEXT_EXTENSIONS = """
    .txt .text .tokens .raw .md .markdown .rst .tex .org .adoc .log
    .py .pyi .ipynb .c .h .cc .cpp .cxx .hpp .cu .cuh .m .mm .rs .go .java .kt .kts .scala .swift
    .js .jsx .mjs .ts .tsx .css .scss .html .htm .xml .svg .yaml .yml .toml .ini .cfg .conf
    .sh .bash .zsh .fish .ps1 .bat .rb .php .pl .lua .r .jl .hs .ml .clj .ex .exs .erl .el .lisp
    .vim .sql .proto .graphql .cmake .gradle .tf .dockerfile .mk .asm .s .f90 .v .sv .vhd .dart .cs
    .fs .vb .nim .zig .d
"""

Form = Literal["text", "json", "json lines", "csv", "tsv", "parquet", "arrow", "array", "tar"]
"""How a file is read."""

RECORD_FORMS: Final = frozenset({"json", "json lines", "csv", "tsv", "parquet", "arrow", "tar"})
"""Files of records, each with its own text or ids."""

PLAIN_TEXT: Final = frozenset({".txt", ".text", ".tokens", ".raw"})

COMPRESSED: Final = frozenset({".gz", ".zst", ".zstd", ".xz", ".bz2"})
"""Endings behind another one: `part.jsonl.gz`."""

_FORMS: Final[dict[str, Form]] = {
    "": "text",  # README, Makefile
    **dict.fromkeys(_TEXT_EXTENSIONS.split(), "text"),
    ".json": "json",
    **dict.fromkeys((".jsonl", ".ndjson", ".jsonlines"), "json lines"),
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    **dict.fromkeys((".arrow", ".feather"), "arrow"),
    **dict.fromkeys((".bin", ".npy", ".ds"), "array"),
    **dict.fromkeys((".tar", ".tgz"), "tar"),
}

_UNCOMPRESSED_FORMS: Final = frozenset({"parquet", "arrow", "array"})
"""They are read from several places, and hold compressed columns themselves."""

Content = Literal["text", "input_ids", "conversation"]
"""What the documents of a dataset are made of."""

KINDS: Final[dict[Content, str]] = {
    "text": "text",
    "input_ids": "`input_ids`",
    "conversation": "conversations",
}
"""How messages call them."""


class ReadOptions(NamedTuple):
    """The settings of a configuration that decide how its data is read."""

    vocab_size: int
    """Decides the width of ids in a file that does not show it."""
    text_column: str = "text"
    """The field that holds the text; `a.b` is `b` within `a`."""
    token_dtype: str | None = None
    """The type of ids in files without a header; None for what they show."""
    choice: Choice = Choice()
    """The files of a folder that are meant."""
    wants_conversations: bool = False
    """Whether records with a text and a conversation are read as conversations."""
    allow_skipped: bool = False
    """Whether more bytes of a folder may be skipped than are read."""

    @classmethod
    def of(cls, config: TrainingConfig) -> ReadOptions:
        """Return what this configuration says of the data in its `dataset_path`."""
        data = config.data
        return cls(
            config.model_config.vocab_size,
            config.text_column,
            config.token_dtype,
            Choice(tuple(data.files), data.split),
            data.loss_on == "completion" or data.chat_template is not None,
            data.allow_skipped,
        )


class DataFile(NamedTuple):
    """A file of data and how it is read."""

    path: Path
    form: Form


def inner_name(path: Path) -> Path:
    """Return the path without the ending of a compressed file."""
    return path.with_suffix("") if path.suffix.lower() in COMPRESSED else path


def form_of_name(path: Path) -> Form | None:
    """How a file with such a name is read; None where its name is not one of data."""
    inner = inner_name(path)
    form = _FORMS.get(inner.suffix.lower())
    return None if inner != path and form in _UNCOMPRESSED_FORMS else form
