"""Which files hold data, by their names. Standard library only: a control plane asks it too."""

from __future__ import annotations

from typing import Final, Literal

_TEXT_EXTENSIONS = """
    .txt .text .md .markdown .rst .tex .org .adoc .log .csv .tsv
    .py .pyi .ipynb .c .h .cc .cpp .cxx .hpp .cu .cuh .m .mm .rs .go .java .kt .kts .scala .swift
    .js .jsx .mjs .ts .tsx .css .scss .html .htm .xml .svg .json .yaml .yml .toml .ini .cfg .conf
    .sh .bash .zsh .fish .ps1 .bat .rb .php .pl .lua .r .jl .hs .ml .clj .ex .exs .erl .el .lisp
    .vim .sql .proto .graphql .cmake .gradle .tf .dockerfile .mk .asm .s .f90 .v .sv .vhd .dart .cs
    .fs .vb .nim .zig .d
"""

TEXT_EXTENSIONS: Final = frozenset(_TEXT_EXTENSIONS.split())
"""What counts as text. In a folder, files without an extension (README, Makefile) do too."""

RECORD_EXTENSIONS: Final = frozenset({".jsonl", ".parquet"})
"""Files of records, each with its own text or ids."""

ARRAY_EXTENSIONS: Final = frozenset({".bin", ".npy"})
"""Files of ids, which a folder of documents does not take."""

Content = Literal["text", "input_ids"]
"""What the documents of a dataset are made of."""


def is_document_name(suffix: str) -> bool:
    """Whether a folder takes a file with this extension, in lower case, as documents."""
    return not suffix or suffix in TEXT_EXTENSIONS or suffix in RECORD_EXTENSIONS
