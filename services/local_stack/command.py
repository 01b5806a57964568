"""`training-engine up`: the whole stack on this machine, until Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
import time
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from pydantic import SecretStr
from rich.console import Console
from rich.markup import escape

from artifact_store.opening import artifact_root
from local_stack.data_folder import DataFolder, default_data_dir
from local_stack.embedded_server import (
    LEAST_MEMORY_MIB,
    default_memory_mib,
    is_server_url,
    usable_memory_mib,
)
from local_stack.errors import StackError
from local_stack.stack import Stack, StackOptions, describe_server, free_port
from local_stack.supervisor import ENDING_SIGNALS
from service_runtime.settings import RedisSettings, SettingsError

CHECK_EVERY_SECONDS = 0.05
SAME_REQUEST_SECONDS = 1.0
"""A signal so soon after another one is the same request, sent to the process and to its group:
GNU's `timeout` does so, and so does a script that Ctrl-C reaches beside its child."""


def folder_named(text: str) -> Path:
    """Return the folder of a flag; refuse an empty text, which would mean the current folder."""
    if not text.strip():
        raise typer.BadParameter("it is empty; name a folder, . for the current one")
    try:
        return named_in_text(Path(text).expanduser().resolve())
    except RuntimeError:
        raise typer.BadParameter(
            f"{text} begins with ~, and this user has no home folder; write the path out"
        ) from None


def named_in_text(folder: Path) -> Path:
    """Return a folder, unless its name is not text: the records of jobs could not hold it.

    Raises:
        typer.BadParameter: It is not.
    """
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise typer.BadParameter(
            f"the folder {str(folder)!a} has a name that is not text in UTF-8; rename it, or "
            "use another"
        ) from None
    return folder


def root_named(text: str | None) -> Path | str | None:
    """Return what `--artifact-root` names: a bucket's address, a folder, or nothing.

    Raises:
        typer.BadParameter: It is an address of another form, or an empty text.
    """
    if text is None:
        return None
    try:
        root = artifact_root(text)
    except ValueError as error:
        raise typer.BadParameter(f"--artifact-root is {text}; {error}") from None
    return root if isinstance(root, str) else folder_named(text)


ArtifactRootOption = Annotated[
    str | None,
    typer.Option(
        "--artifact-root",
        metavar="FOLDER|s3://BUCKET/PREFIX",
        envvar="TRAINING_ENGINE_ARTIFACT_ROOT",
        show_envvar=True,
        help="Where checkpoints and datasets go. Default: a folder in the data folder.",
    ),
]


def up(
    data_dir: Annotated[
        Path | None,
        typer.Option(
            parser=folder_named,
            metavar="FOLDER",
            help="Folder for jobs, checkpoints and logs; made if missing. "
            "Default: training-engine in $XDG_DATA_HOME or ~/.local/share.",
        ),
    ] = None,
    data_root: Annotated[
        list[Path] | None,
        typer.Option(
            parser=folder_named,
            metavar="FOLDER",
            help="Folder that jobs may read data from, besides the current one and the data "
            "folder. Repeatable.",
        ),
    ] = None,
    grpc_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the gRPC control plane; 0: a free one.")
    ] = 50051,
    http_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of REST and dashboard; 0: a free one.")
    ] = 8000,
    workers: Annotated[
        int, typer.Option(min=0, help="Workers, each training one job at a time.")
    ] = 1,
    redis_url: Annotated[
        str | None,
        typer.Option(
            envvar="TRAINING_ENGINE_REDIS_URL",
            show_envvar=True,
            help="A running Redis or Valkey to use instead of the embedded server. "
            "Give a URL with a password through the environment.",
        ),
    ] = None,
    redis_memory: Annotated[
        int | None,
        typer.Option(
            metavar="MIB",
            help="Memory for the data of the embedded server. A full one refuses new jobs and "
            "forgets nothing. Default: a quarter of this machine's memory.",
            show_default=False,
        ),
    ] = None,
    root: ArtifactRootOption = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Do not open the dashboard.")
    ] = False,
) -> None:
    """Start the whole stack on this machine; Ctrl-C stops all of it.

    Running jobs save a checkpoint when it stops, and continue at the next `up`.
    """
    console = Console(stderr=True, highlight=False)
    report = reporter(console)
    redis_url = chosen_server(redis_url)
    refuse_impossible_options(grpc_port, http_port, redis_memory, data_root or [])
    options = StackOptions(
        grpc_port=grpc_port or free_port(),
        http_port=http_port or free_port(),
        workers=workers,
        redis_url=redis_url,
        redis_memory_mib=redis_memory or default_memory_mib(),
        data_roots=(named_in_text(Path.cwd().resolve()), *(data_root or [])),
        artifact_root=root_named(root),
    )
    try:
        with DataFolder(data_dir or named_in_text(default_data_dir())) as folder:
            run(Stack(options, folder, report), report, open_browser=not no_browser)
    except StackError as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(1) from None


def reporter(console: Console) -> Callable[[str], None]:
    """Return a function that prints a line, and does nothing once the terminal is gone."""

    def report(line: str) -> None:
        with suppress(OSError):
            console.print(line, markup=False, soft_wrap=True)

    return report


def chosen_server(url_option: str | None) -> str | None:
    """Return the URL of a server that a flag or a variable names; None for the embedded one.

    Raises:
        typer.BadParameter: It cannot be used. The text has no URL, which may hold a password.
    """
    try:
        settings = RedisSettings(redis_url=SecretStr(url_option)) if url_option else RedisSettings()
        if not url_option and settings.redis_url_file is None:
            return None
        url = settings.resolved_redis_url()
    except SettingsError as error:
        raise typer.BadParameter(str(error)) from None
    if not is_server_url(url):
        raise typer.BadParameter(
            "--redis-url must be a URL such as redis://localhost:6379/0 (or rediss://, unix://, "
            "redis+sentinel://)"
        )
    return url


def refuse_impossible_options(
    grpc_port: int,
    http_port: int,
    redis_memory: int | None,
    data_roots: list[Path],
) -> None:
    """Refuse options that no machine could serve.

    Raises:
        typer.BadParameter: An option has such a value.
    """
    if grpc_port and grpc_port == http_port:
        raise typer.BadParameter(
            f"--grpc-port and --http-port are both {grpc_port}; give each its own, or 0 for a free "
            "one"
        )
    usable = usable_memory_mib()
    if redis_memory is not None and not LEAST_MEMORY_MIB <= redis_memory <= usable:
        raise typer.BadParameter(
            f"--redis-memory is {redis_memory}; it must be {LEAST_MEMORY_MIB} to {usable} MiB, the "
            "memory of this machine; leave it out for a quarter of that"
        )
    for root in data_roots:
        if not root.is_dir():
            raise typer.BadParameter(
                f"--data-root {root} is not a folder; make it, or name another"
            )


def run(stack: Stack, report: Callable[[str], None], open_browser: bool) -> None:
    """Start the stack, keep it running until SIGINT, SIGTERM or SIGHUP, and stop it."""
    raise_on_signals()
    try:
        try:
            stack.start()
        except StackError:
            stack.supervisor.stop_all()
            raise
        print_addresses(stack)
        if open_browser and sys.stdout.isatty() and has_display():
            webbrowser.open(stack.url)
        while True:
            stack.supervisor.revive()
            time.sleep(CHECK_EVERY_SECONDS)
    except StackInterruptedError:
        stop(stack, report)


def stop(stack: Stack, report: Callable[[str], None]) -> None:
    """Stop the stack; a second signal kills it."""
    try:
        report("stopping: running jobs save a checkpoint (Ctrl-C again kills at once) …")
        stack.supervisor.stop_all()
        ignore_signals()
        report("stopped; jobs that were running continue at the next `up`")
    except StackInterruptedError:
        ignore_signals()
        stack.supervisor.kill_all()
        report("killed; jobs continue from their last checkpoint at the next `up`")


def print_addresses(stack: Stack) -> None:
    """Print that the stack is ready, and its addresses.

    The stack runs on where its output has no reader, or goes to a file on a full disk.
    """
    root = stack.options.artifact_root
    text = (
        "Training Engine is ready\n"
        f"  dashboard  {stack.url}/\n"
        f"  REST       {stack.url}/api/training   (reference: {stack.url}/docs)\n"
        f"  gRPC       {stack.address}\n"
        f"  data       {stack.folder.path}   (server: {describe_server(stack.options)})\n"
        + (f"  artifacts  {root}\n" if root else "")
        + "Ctrl-C stops it; running jobs save a checkpoint and continue at the next `up`."
    )
    try:
        print(text, flush=True)
    except OSError:  # what is left in the buffer must not fail again at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def has_display() -> bool:
    """Whether this looks like a desktop, so that a browser may be opened."""
    return sys.platform == "darwin" or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )


class StackInterruptedError(Exception):
    """SIGINT, SIGTERM or SIGHUP arrived."""


def raise_on_signals() -> None:
    """Let each signal from here on raise StackInterruptedError in the main thread."""
    last: float | None = None

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal last
        if last is None or time.monotonic() - last >= SAME_REQUEST_SECONDS:
            last = time.monotonic()
            raise StackInterruptedError

    for number in ENDING_SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, on_signal)


def ignore_signals() -> None:
    """Ignore SIGINT, SIGTERM and SIGHUP from here on."""
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
