"""`training-engine recover`: rebuilds the records of a stack's data folder that lost its Redis."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from local_stack.command import (
    ArtifactRootOption,
    chosen_server,
    folder_named,
    reporter,
    root_named,
)
from local_stack.data_folder import DataFolder, default_data_dir
from local_stack.embedded_server import default_memory_mib
from local_stack.errors import StackError
from local_stack.stack import Stack, StackOptions, module

NOT_EMPTY = 3
"""The control plane's exit code where Redis holds records."""


def recover(
    data_dir: Annotated[
        Path | None,
        typer.Option(
            parser=folder_named,
            metavar="FOLDER",
            help="Folder of the stack, as it was given to `up`. "
            "Default: training-engine in $XDG_DATA_HOME or ~/.local/share.",
        ),
    ] = None,
    redis_url: Annotated[
        str | None,
        typer.Option(
            envvar="TRAINING_ENGINE_REDIS_URL",
            show_envvar=True,
            help="The empty Redis or Valkey that the stack is to use instead of the embedded "
            "server. Give a URL with a password through the environment.",
        ),
    ] = None,
    root: ArtifactRootOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Rebuild jobs, sweeps, configurations and datasets of a stack whose Redis was lost.

    Needs an empty Redis and reads the stack's artifact store, while no stack runs on it.
    Jobs that ran continue from their newest checkpoint at the next `up`.
    """
    console = Console(stderr=True, highlight=False)
    try:
        with DataFolder(data_dir or default_data_dir()) as folder:
            options = _options(chosen_server(redis_url), root_named(root))
            stack = Stack(options, folder, reporter(console))
            code = _run(stack, json=json)
            if code == NOT_EMPTY and stack.options.redis_url is None:
                console.print(_remedy(folder), markup=False, soft_wrap=True)
    except StackError as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(1) from None
    raise typer.Exit(code)


def _options(redis_url: str | None, artifact_root: Path | str | None) -> StackOptions:
    memory = default_memory_mib()
    return StackOptions(0, 0, 0, redis_url, memory, data_roots=(), artifact_root=artifact_root)


def _run(stack: Stack, *, json: bool) -> int:
    """Run the recovery on the stack's server, and return its exit code."""
    flags = ["--recover", *(["--recovery-json"] if json else [])]
    try:
        environment = stack.environment(stack.start_server())
        return subprocess.run([*module("control_plane"), *flags], env=environment).returncode
    finally:
        stack.supervisor.stop_all()


def _remedy(folder: DataFolder) -> str:
    return (
        f"the embedded server's file is in {folder.server}; to recover without it, move its folder "
        f"{folder.server / 'appendonlydir'} away and call `recover` again"
    )
