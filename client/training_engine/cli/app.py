"""The tree of commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core
import typer.main

from training_engine._version import __version__
from training_engine.cli import artifact_commands, extensions, job_commands, resource_commands
from training_engine.cli.exit_codes import TABLE
from training_engine.cli.session import AddressOption, Target, UrlOption

if TYPE_CHECKING:
    from collections.abc import Callable

# `export` and `generate` are ours: they fetch what the installed function works on.
_OWN = ("export", "generate")


class _Commands(typer.core.TyperGroup):
    """A group that also offers what other packages bring, loaded when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        brought = [name for name in extensions.names() if name not in _OWN]
        return [*brought, *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        own = super().get_command(ctx, cmd_name)
        if own is not None or cmd_name not in extensions.names():
            return own
        single = typer.Typer(add_completion=False)
        single.command(
            cmd_name, context_settings={"ignore_unknown_options": True, "allow_extra_args": True}
        )(extensions.command(cmd_name))
        return typer.main.get_command(single)


app = typer.Typer(
    cls=_Commands,
    help="Train GPT-style models with a service that never loses a job.",
    epilog=TABLE,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
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
    """Remember where the service is, for commands that are not told themselves."""
    if address and url:
        raise typer.BadParameter("give --address (gRPC) or --url (REST), not both")
    ctx.obj = Target(address, url)


def _add(name: str, command: Callable[..., None], panel: str, group: typer.Typer = app) -> None:
    group.command(name, rich_help_panel=panel)(command)


for _name, _command in job_commands.COMMANDS.items():
    _add(_name, _command, "Jobs")
for _name, _command in artifact_commands.COMMANDS.items():
    _add(_name, _command, "Checkpoints")
for _name, _command in resource_commands.COMMANDS.items():
    _add(_name, _command, "Configurations, data, workers")
for _group_name, (_help, _members) in resource_commands.GROUPS.items():
    _group = typer.Typer(help=_help, no_args_is_help=True)
    for _name, _command in _members.items():
        _group.command(_name)(_command)
    app.add_typer(_group, name=_group_name, rich_help_panel="Configurations, data, workers")
