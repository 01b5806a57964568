"""Characters that the output's encoding does not have, as those of a model's text in ASCII."""

from __future__ import annotations

import codecs
import io
import sys

_ERRORS = "training_engine_escapes"


def tolerate_encoding() -> None:
    """Let standard output print what its encoding lacks as escapes, instead of failing."""
    codecs.register_error(_ERRORS, escapes)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=_ERRORS)


def escapes(error: UnicodeError) -> tuple[str, int]:
    r"""Return what cannot be encoded as `\uXXXX`, which JSON reads too, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    pairs = (units[at : at + 2].hex() for at in range(0, len(units), 2))
    return "".join(f"\\u{pair}" for pair in pairs), error.end
