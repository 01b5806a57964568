"""Ctrl-C while the command line is still importing ends it quietly."""

from __future__ import annotations

import builtins
from typing import Any

import pytest

from training_engine import cli


def test_an_interrupt_among_the_imports_is_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = builtins.__import__

    def interrupted(name: str, *rest: Any) -> Any:
        if name == "training_engine.cli.app":
            raise KeyboardInterrupt
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", interrupted)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    monkeypatch.undo()
    assert ended.value.code == 130
    assert capsys.readouterr().err == ""
