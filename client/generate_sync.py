"""Writes the blocking SDK from the asyncio SDK, which is the one that is written by hand.

    make sync                                write the blocking modules
    python client/generate_sync.py --check   fail where they differ (part of `make lint`)

A module is translated word by word, docstrings included, by `WORDS`. ruff then drops and sorts
imports, shortens loops and formats. What differs by more than words is kept out of the translated
modules, in pairs of small modules with the same names, like `_aio_lifetime` and `_lifetime`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

PACKAGE = Path(__file__).with_name("training_engine")
#: Each asyncio module, and the blocking one that is written from it.
MODULES = {
    "aio": "engine",
    "_aio_guard": "_guard",
    "_aio_grpc_transport": "_grpc_transport",
    "_aio_job": "_job",
    "_aio_jobs": "_jobs",
    "_aio_link": "_link",
    "_aio_methods": "_methods",
    "_aio_presigned": "_presigned",
    "_aio_resource": "_resource",
    "_aio_resources": "_resources",
    "_aio_rest": "_rest",
    "_aio_transport": "_transport",
}
#: Regular expressions and their replacements, applied in this order.
WORDS = (
    (
        r"An engine belongs to the event loop that first uses it\.",
        "Engines may be shared by threads.",
    ),
    (r"\basync (def|for|with)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bAwaitable\[(\w+)\]", r"\1"),
    (r"\bAwaitable, ", ""),
    (r"\bAsync([A-Z]\w*)", r"\1"),
    (r"\b__a(enter|exit)__\b", r"__\1__"),
    (r"\baclosing\b", "closing"),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\.a(close|iter_bytes|iter_sse|read)\(", r".\1("),
    (r"\btraining_engine\.aio\b", "training_engine.engine"),
    (r"\b_aio_(\w+)", r"_\1"),
    (r"\basyncio\.to_thread\(\s*([\w.]+)(,\s*)?", r"\1("),
    (r"\basyncio\.sleep\b", "time.sleep"),
    (r"\bhandle_async_request\b", "handle_request"),
    (r"\bFirstStatus\((.+)\)\.answer\(\)", r"\1"),
    (r"\bgrpc\.aio\b", "grpc"),
    (r"^import asyncio$", "import time"),
    (r"\b([Aa])n asyncio\b", r"\1 blocking"),
    (r"\basyncio\b", "blocking"),
)
LEFT_OVER = re.compile(r".*(?:async|await|\baio\b|_aio_).*", re.IGNORECASE)
#: Unused imports, order of imports and exports, loops that only yield, comprehensions that only
#: copy.
RUFF_FIXES = "F401,I001,RUF022,UP028,C416"


def main() -> None:
    """Write the blocking modules, or compare them with what would be written."""
    texts = {
        PACKAGE / f"{target}.py": blocking_module(source) for source, target in MODULES.items()
    }
    write(texts, "the asyncio modules", "make sync")


def write(modules: Mapping[Path, str], source: str, command: str) -> None:
    """Write the texts of modules, tidied; with --check, exit where one is not as it would be."""
    texts = {path: tidied(text, path) for path, text in modules.items()}
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
    if "--check" not in sys.argv[1:]:
        for path in stale:
            path.write_text(texts[path])
    elif stale:
        names = ", ".join(path.name for path in stale)
        sys.exit(f"{names}: not what {source} give; run: {command}")


def blocking_module(source: str) -> str:
    """Return the text of the blocking module for an asyncio one.

    Raises:
        SystemExit: A word of asyncio is left over.
    """
    header = f"# Generated from {source}.py by client/generate_sync.py; run: make sync\n"
    return header + blocking_words((PACKAGE / f"{source}.py").read_text())


def blocking_words(text: str) -> str:
    """Translate the words of an asyncio module."""
    for pattern, replacement in WORDS:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    if left := LEFT_OVER.search(text):
        sys.exit(f"no blocking form is known for: {left[0].strip()}; add it to WORDS")
    return text


def tidied(text: str, path: Path) -> str:
    """Let ruff fix and format a module that will be at `path`."""
    ruff = str(Path(sys.executable).with_name("ruff"))
    fix = ("check", "--quiet", "--fix-only", "--unsafe-fixes", f"--select={RUFF_FIXES}")
    for arguments in (fix, ("format", "--quiet")):
        command = [ruff, *arguments, "--stdin-filename", path, "-"]
        text = subprocess.run(
            command, input=text, stdout=subprocess.PIPE, text=True, check=True
        ).stdout
    return text


if __name__ == "__main__":
    main()
