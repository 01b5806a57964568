"""Runs the fenced blocks of a Markdown page the way a reader would.

    bash      the whole block in the page's shell; every command must succeed
    console   each `$ ` line in the same shell; what it prints must have the shape of what the page
              shows, and `^C` means Ctrl-C once the lines above it have appeared
    python    all blocks of a page one after the other, sharing their names
    yaml      read as a training configuration
    json      parsed
    text, mermaid   nothing to run

Shape: the shown lines appear in this order among the printed ones; numbers, times, ids and host
names may differ, `…` matches anything, and a line `…` any lines. An id keeps its meaning:
once the page has shown it in an answer, it means the id of the real answer.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import re
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

RUN = ("bash", "console", "python", "yaml", "json")
ILLUSTRATIONS = ("text", "mermaid")
_FENCE = re.compile(r"^( *)```([a-z]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_ID = r"\b(?:job|cfg|ckpt|ds)_[0-9a-z]{26}\b"
_TOKENS = re.compile(
    rf"(?P<id>{_ID})"
    r"|(?P<time>\d{4}-\d\d-\d\dT[\d:.]+Z)"
    r"|(?P<sha>\b[0-9a-f]{64}\b)"
    r"|(?P<worker>\b[\w.]+-\d+-[0-9a-f]{6}\b)"
    r"|(?P<duration>\b\d+ (?:d|h|min|s)\b(?: \d+ (?:h|min|s)\b)?)"
    r"|(?P<any>…)"
    r"|(?P<number>-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?)"
    r"|(?P<unit>\b(?:B|KiB|MiB|GiB)\b)"
    r"|(?P<space>\s+)"
)
_SHAPES = {
    "time": r"\S+Z",
    "sha": r"[0-9a-f]{64}",
    "worker": r"\S+",
    "duration": r"\d+ (?:d|h|min|s)\b(?: \d+ (?:h|min|s)\b)?",
    "any": r".*",
    "number": r"-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?",
    "unit": r"(?:B|KiB|MiB|GiB)",
    "space": r"\s+",
}
# A page may not fail unseen behind curl's habit of calling every answer a success.
_PRELUDE = 'curl() { command curl --fail-with-body --show-error --max-time 60 "$@"; }\n'


@dataclass(frozen=True)
class Block:
    """One fenced block; `place` is `page:line`."""

    place: str
    language: str
    text: str

    @property
    def first_line(self) -> str:
        """What a list of exceptions names it by."""
        return self.text.strip().partition("\n")[0]


def blocks_of(page: Path) -> list[Block]:
    """The page's blocks in order."""
    text = page.read_text()
    found = []
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        indent = len(match[1])
        body = "".join(row[indent:] for row in match[3].splitlines(keepends=True))
        found.append(Block(f"{page.name}:{line}", match[2], body))
    fences = len(re.findall(r"^ *```", text, re.MULTILINE))
    assert fences == 2 * len(found), f"{page.name} has a block that is not closed"
    return found


@dataclass
class Shell:
    """One bash that lives as long as a page, so that its variables do."""

    environment: Mapping[str, str]
    folder: Path
    seconds: float = 60.0
    _lines: queue.Queue[str | None] = field(default_factory=queue.Queue)

    def __post_init__(self) -> None:
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
            cwd=self.folder,
            env=dict(self.environment),
        )
        threading.Thread(target=self._read, daemon=True).start()
        assert self.run(_PRELUDE).status == 0

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def run(self, command: str, until: Sequence[str] | None = None) -> CommandResult:
        """Run a command to its end, or press Ctrl-C once it has printed the shapes of `until`."""
        end = f"--end-{time.monotonic_ns()}--"
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n\nprintf '\\n%s %s\\n' {end} $?\n")
        self._process.stdin.flush()
        printed: list[str] = []
        deadline = time.monotonic() + self.seconds
        interrupted = until is None
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(
                    f"no end after {self.seconds:g} s of {command!r}; it printed {printed}"
                ) from None
            assert line is not None, f"the shell ended in {command!r}; it printed {printed}"
            if line.startswith(end):
                return CommandResult(
                    printed[:-1] if printed and not printed[-1] else printed, int(line[len(end) :])
                )
            printed.append(line)
            if not interrupted and first_missing(until or (), printed, {}) is None:
                interrupted = True
                for child in psutil.Process(self._process.pid).children():
                    child.send_signal(signal.SIGINT)

    def close(self) -> None:
        """End the shell and what it left running."""
        for child in psutil.Process(self._process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        self._process.kill()
        self._process.communicate()


@dataclass(frozen=True)
class CommandResult:
    """What a command printed and how it ended."""

    lines: list[str]
    status: int


def first_missing(shown: Sequence[str], printed: Sequence[str], ids: dict[str, str]) -> str | None:
    """The first shown line whose shape is not printed, in order; ids learned go into `ids`."""
    at = 0
    for line in shown:
        if line.strip() in ("", "…"):
            continue
        pattern = re.compile(_shape(line.rstrip(), ids))
        for offset, candidate in enumerate(printed[at:]):
            if match := pattern.fullmatch(candidate.rstrip()):
                groups = match.groupdict()
                ids |= {f"{k[1:]}": v for k, v in groups.items()}
                at += offset + 1
                break
        else:
            return line
    return None


def _shape(line: str, ids: Mapping[str, str]) -> str:
    parts, end = [], 0
    seen: set[str] = set()
    for token in _TOKENS.finditer(line):
        parts.append(re.escape(line[end : token.start()]))
        end = token.end()
        kind, text = str(token.lastgroup), token[0]
        if kind != "id":
            parts.append(_SHAPES[kind])
        elif text in ids:
            parts.append(re.escape(ids[text]))
        elif text in seen:
            parts.append(f"(?P=_{text})")
        else:
            seen.add(text)
            parts.append(f"(?P<_{text}>{text.partition('_')[0]}_[0-9a-z]{{26}})")
    return "".join(parts) + re.escape(line[end:])


class Reader:
    """Goes through one page from top to bottom."""

    def __init__(self, shell: Shell, smaller: Sequence[tuple[str, str]], sampled: Sequence[str]):
        self.shell = shell
        self.smaller = smaller
        self.sampled = sampled
        self.ids: dict[str, str] = {}
        self.names: dict[str, Any] = {"__name__": "__docs__"}

    def read(self, block: Block) -> None:
        """Run one block; raises AssertionError where the page does not tell the truth."""
        text = block.text
        for shown, smaller in self.smaller:
            text = re.sub(shown, smaller, text)
        getattr(self, f"_{block.language}")(block.place, text)

    def _bash(self, place: str, text: str) -> None:
        ran = self.shell.run(f"set -e\n{self._known(text)}\nset +e")
        assert ran.status == 0, f"{place} ended with {ran.status}: {ran.lines}"

    def _console(self, place: str, text: str) -> None:
        for command, shown in commands_of(text):
            interrupt = bool(shown) and shown[-1] == "^C"
            shown = shown[:-1] if interrupt else shown
            ran = self.shell.run(self._known(command), shown if interrupt else None)
            if any(re.search(pattern, command) for pattern in self.sampled):
                assert ran.status == 0, f"{place}: `{command}`: {ran}"
                assert any(ran.lines), f"{place}: `{command}` printed nothing"
                continue
            missing = first_missing(shown, ran.lines, self.ids)
            assert missing is None, (
                f"{place}: `{command}` should print\n  {missing}\nand printed\n  "
                + "\n  ".join(ran.lines)
            )

    def _python(self, place: str, text: str) -> None:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(self._known(text), place, "exec"), self.names)

    def _yaml(self, place: str, text: str) -> None:
        from app.training import TrainingConfig

        TrainingConfig.from_document(text)

    def _json(self, place: str, text: str) -> None:
        json.loads(text)

    def _known(self, text: str) -> str:
        """The text with the ids of this run in place of the page's."""
        return re.sub(_ID, lambda match: self.ids.get(match[0], match[0]), text)


def commands_of(text: str) -> list[tuple[str, list[str]]]:
    """(command, lines shown below it) of a console block; a command goes on after a backslash."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif found and not found[-1][1] and found[-1][0].endswith("\\"):
            found[-1] = (f"{found[-1][0]}\n{line.removeprefix('> ')}", [])
        else:
            assert found, f"a console block begins with a command, not with {line!r}"
            found[-1][1].append(line)
    return found


@contextlib.contextmanager
def inside(folder: Path, variables: Mapping[str, str]) -> Any:
    """This process in `folder` with `variables` set, for blocks of Python."""
    before, here = dict(os.environ), Path.cwd()
    os.environ.update(variables)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(here)
        os.environ.clear()
        os.environ.update(before)
