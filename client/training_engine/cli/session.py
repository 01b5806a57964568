"""The session that every command has: its engine, its output, and how errors end it."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec

import typer

from training_engine._finding import is_checkpoint_id, is_job_id
from training_engine._home import expanded
from training_engine._options import (
    ADDRESS_VARIABLE,
    DEFAULT_ADDRESS,
    URL_VARIABLE,
)
from training_engine.cli.exit_codes import INTERRUPTED, exit_code, show_error
from training_engine.cli.output import Output
from training_engine.errors import TrainingEngineError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from training_engine.engine import TrainingEngine

P = ParamSpec("P")
#: A person waits less long than a program for a service that is not there.
RETRY_SECONDS = 2.0
#: The largest count that an option takes; more would not fit what counts here and in requests.
MOST = 2**31 - 1

AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="HOST:PORT",
        help=f"Control plane, over gRPC. Default: ${ADDRESS_VARIABLE}, else {DEFAULT_ADDRESS}.",
        rich_help_panel="Connection",
    ),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help=f"Gateway, over REST instead. Default: ${URL_VARIABLE}.",
        rich_help_panel="Connection",
    ),
]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Say more about errors.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.", show_default=False)]


@dataclass(frozen=True)
class Target:
    """The address or URL of an engine, from flags or the environment."""

    address: str | None = None
    url: str | None = None

    @property
    def is_named(self) -> bool:
        """Whether a person has chosen it; else it is the default address."""
        return bool(self.address or self.url)

    def with_fallback(self, other: Target) -> Target:
        """Return this target if it names an address or a URL, else `other`."""
        return self if self.is_named else other

    @classmethod
    def from_environment(cls) -> Target:
        """Return what the environment names; gRPC wins where both are set."""
        address = os.environ.get(ADDRESS_VARIABLE)
        return cls(address, None if address else os.environ.get(URL_VARIABLE))


@dataclass
class Session:
    """One run of a command."""

    target: Target
    output: Output
    verbose: bool = False

    @cached_property
    def engine(self) -> TrainingEngine:
        """The engine; made on first use, for gRPC takes a moment to import."""
        from training_engine.engine import TrainingEngine

        if self.target.url:
            return TrainingEngine.over_rest(self.target.url, retry_for=RETRY_SECONDS)
        return TrainingEngine(self.target.address, retry_for=RETRY_SECONDS)

    def job_id(self, reference: str) -> str:
        """Return the id of the job that an id, a name or the beginning of an id means."""
        return reference if is_job_id(reference) else self.engine.jobs.find(reference).job_id

    def checkpoint_id(self, reference: str) -> str:
        """Return the id of a checkpoint: of the one that an id names, or of a job's best one."""
        if is_checkpoint_id(reference):
            return reference
        return self.engine.checkpoints.find(reference).checkpoint_id

    def close(self) -> None:
        """Close the engine if one was made."""
        if "engine" in self.__dict__:
            self.engine.close()


@contextmanager
def shown_errors(verbose: bool) -> Iterator[None]:
    """Turn errors into one readable block and an exit code."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        # The reader has left, as in `... | head`; a later flush of stdout must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except (TrainingEngineError, OSError) as error:
        show_error(error, verbose=verbose)
        raise typer.Exit(exit_code(error)) from None


def connected(
    command: Callable[Concatenate[Session, P], None],
) -> Callable[..., None]:
    """Give a command its `Session`, and the options that a session needs.

    The command's first parameter is replaced by --address, --url, --json and --verbose. Typer
    reads options from a function's signature and annotations, so both are rewritten: they list the
    command's own parameters and then those of the session.
    """
    body: Callable[..., None] = command

    @functools.wraps(command)
    def run(
        ctx: typer.Context,
        address: str | None,
        url: str | None,
        as_json: bool,
        verbose: bool,
        **arguments: Any,
    ) -> None:
        if address and url:
            raise typer.BadParameter("give --address (gRPC) or --url (REST), not both")
        outer: Target = ctx.obj if isinstance(ctx.obj, Target) else Target()
        target = Target(address, url).with_fallback(outer).with_fallback(Target.from_environment())
        session = Session(target, Output(as_json), verbose)
        with shown_errors(verbose):
            try:
                body(session, **{name: expand_home(value) for name, value in arguments.items()})
            finally:
                session.close()

    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    run.__signature__ = inspect.Signature([*own, *_SESSION_PARAMETERS])  # type: ignore[attr-defined]
    run.__annotations__ = {spec.name: spec.annotation for spec in [*own, *_SESSION_PARAMETERS]}
    del run.__wrapped__
    return run


def expand_home(value: Any) -> Any:
    """Return a path with its leading `~` expanded, which a shell does not do in `--output=~/x`."""
    return expanded(value) if isinstance(value, Path) else value


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, annotation=annotation, default=default)


_SESSION_PARAMETERS = [
    _parameter("ctx", typer.Context, inspect.Parameter.empty),
    _parameter("address", AddressOption, None),
    _parameter("url", UrlOption, None),
    _parameter("as_json", JsonOption, False),
    _parameter("verbose", VerboseOption, False),
]
SESSION_OPTIONS = [spec.name for spec in _SESSION_PARAMETERS]
