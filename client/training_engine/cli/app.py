"""The tree of commands."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core
import typer.main

from training_engine._version import __version__
from training_engine.cli import (
    artifact_commands,
    bulk_commands,
    comparison_commands,
    extensions,
    fork_command,
    job_commands,
    resource_commands,
    sweep_commands,
)
from training_engine.cli.exit_codes import TABLE
from training_engine.cli.session import AddressOption, Target, UrlOption, expand_home

if TYPE_CHECKING:
    from collections.abc import Callable

# The SDK has commands of its own for these, which a service answers, or the library without one.
_OWN = ("evaluate", "export", "generate", "inspect")


class _ExternalCommand(typer.core.TyperCommand):
    """A command of another package. It refuses an unknown option and names the nearest one."""

    def invoke(self, ctx: Any) -> Any:
        if ctx.args and not getattr(self.callback, "takes_anything", False):
            raise typer.BadParameter(self._refusal(ctx.args[0]), ctx=ctx)
        ctx.params = {name: expand_home(value) for name, value in ctx.params.items()}
        return super().invoke(ctx)

    def _refusal(self, argument: str) -> str:
        if not argument.startswith("-"):
            return f"{argument!r} is too much: `{self.name}` takes options only"
        flag = argument.partition("=")[0]
        options = [text for spec in self.params for text in spec.opts if text.startswith("--")]
        best = max(_likeness(flag, text) for text in options)
        nearest = ", ".join(text for text in options if _likeness(flag, text) == best)
        return f"`{self.name}` has no option {flag}; the nearest is {nearest}"


def _likeness(flag: str, option: str) -> float:
    """Return how much a flag looks like another, or like a word of it: --prot like --http-port."""
    flag, option = flag.lstrip("-"), option.lstrip("-")
    return max(SequenceMatcher(None, flag, text).ratio() for text in (option, *option.split("-")))


class _Commands(typer.core.TyperGroup):
    """A group that also has the commands of other packages, each loaded when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        external = [name for name in extensions.names() if name not in _OWN]
        return [*external, *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        own = super().get_command(ctx, cmd_name)
        if own is not None or cmd_name not in extensions.names():
            return own
        wrapper = typer.Typer(add_completion=False)
        wrapper.command(
            cmd_name,
            cls=_ExternalCommand,
            context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        )(extensions.command(cmd_name))
        return typer.main.get_command(wrapper)


app = typer.Typer(
    cls=_Commands,
    help="Train GPT-style models with a service that never loses a job.",
    epilog=TABLE,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        print(f"training-engine {__version__}")
        raise typer.Exit()


@app.callback()
def root(
    ctx: typer.Context,
    address: AddressOption = None,
    url: UrlOption = None,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Remember where the service is, for commands without their own --address or --url."""
    if address and url:
        raise typer.BadParameter("give --address (gRPC) or --url (REST), not both")
    ctx.obj = Target(address, url)


def _add(name: str, command: Callable[..., None], panel: str, group: typer.Typer = app) -> None:
    group.command(name, rich_help_panel=panel)(command)


_JOB_COMMANDS = job_commands.COMMANDS | fork_command.COMMANDS | bulk_commands.COMMANDS
for _name, _command in _JOB_COMMANDS.items():
    _add(_name, _command, "Jobs")
for _name, _command in comparison_commands.COMMANDS.items():
    _add(_name, _command, "Several jobs")
for _name, _command in artifact_commands.COMMANDS.items():
    _add(_name, _command, "Checkpoints")
for _name, _command in resource_commands.COMMANDS.items():
    _add(_name, _command, "Configurations, data, workers")
for _groups, _panel in (
    (sweep_commands.GROUPS, "Jobs"),
    (resource_commands.GROUPS, "Configurations, data, workers"),
):
    for _group_name, (_help, _members) in _groups.items():
        _group = typer.Typer(help=_help, no_args_is_help=True)
        for _name, _command in _members.items():
            _group.command(_name)(_command)
        app.add_typer(_group, name=_group_name, rich_help_panel=_panel)
