"""Commands that need more than the SDK, found through entry points of installed packages."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

import typer

from training_engine.cli.exit_codes import FAILED
from training_engine.errors import TrainingEngineError

GROUP = "training_engine.commands"
#: The extra that brings each command, for those who have only the SDK.
EXTRAS = {
    **dict.fromkeys(("up", "recover"), "local"),
    **dict.fromkeys(("evaluate", "export", "generate", "inspect", "tokenizer"), "worker"),
}


class MissingExtraError(TrainingEngineError):
    """A command needs packages that are not installed."""

    default_code = "missing_extra"


def load(name: str) -> Callable[..., Any]:
    """Return the function behind a command.

    Raises:
        MissingExtraError: It, or something that it imports, is not installed.
    """
    remedy = _remedy(name)
    commands = list(entry_points(group=GROUP, name=name))
    if not commands:
        raise MissingExtraError(f"`{name}` is not part of the SDK; {remedy}")
    try:
        function: Callable[..., Any] = commands[0].load()
    except ImportError as error:
        raise _missing(name, error) from error
    except AttributeError as error:
        raise MissingExtraError(f"`{name}` is not in this installation; {remedy}") from error
    return function


def call(name: str, *arguments: Any, **options: Any) -> Any:
    """Call the function behind a command.

    Raises:
        MissingExtraError: It, or something that it imports, is not installed.
    """
    try:
        return load(name)(*arguments, **options)
    except ImportError as error:  # what it imports when it is called
        raise _missing(name, error) from error


def _missing(name: str, error: ImportError) -> MissingExtraError:
    what = error.name or str(error)
    return MissingExtraError(f"`{name}` needs {what}, which is missing; {_remedy(name)}")


def _remedy(name: str) -> str:
    return f"install it with: pip install 'training-engine[{EXTRAS.get(name, 'local')}]'"


def names() -> list[str]:
    """Return the commands that other packages bring, and those that they would bring."""
    return sorted({point.name for point in entry_points(group=GROUP)} | set(EXTRAS))


def command(name: str) -> Callable[..., Any]:
    """Return the function for a command line; one that names the extra where it is missing."""
    try:
        return load(name)
    except MissingExtraError as error:
        message = str(error)

        def missing(ctx: typer.Context) -> None:
            typer.echo(f"error: {message}", err=True)
            raise typer.Exit(FAILED)

        missing.takes_anything = True  # type: ignore[attr-defined]
        missing.__doc__ = f"Not installed; needs training-engine[{EXTRAS.get(name, 'local')}]."
        return missing
