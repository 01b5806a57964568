"""Train from the command line.

    python train.py --config config.yaml [--dataset PATH] [--resume] [--set key=value ...]

Shows a progress bar, writes training.log in the current folder, and on Ctrl-C saves a checkpoint
and says how to go on. Starts as many processes as the configuration's `distributed` asks for;
`torchrun train.py ...` does as well.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Any

from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape

from app.training.config import TrainingConfig
from app.training.document import parse_document, read_document_file
from app.transformer.errors import ConfigError, FieldProblem

LOG_FILE = "training.log"
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it, and after SIGTERM or SIGHUP."""
SAME_WISH_SECONDS = 1.0
"""A signal so soon after another one is the same request, sent to the process and to its group.
GNU's `timeout` and torchrun do so."""

logger = logging.getLogger("train")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = _parser().parse_args(arguments)
    console = Console(stderr=True)
    return _guarded(lambda: _run(options, console), console)


def _guarded(run: Callable[[], int], console: Console) -> int:
    """Return the exit status of `run`; print its error in one line."""
    try:
        return run()
    except KeyboardInterrupt:
        console.print("interrupted; checkpoints that were saved before, if any, are good")
        return INTERRUPTED
    except (ValueError, RuntimeError, OSError) as error:
        logger.debug("the run failed", exc_info=True)  # the traceback is for the file alone
        if _is_own(error) or _speaks_for_node():
            who = f"rank {_rank()}: " if _rank() else ""
            text = f"{who}[red]error:[/red] {escape(_text_of(error))}"
            console.print(text, soft_wrap=True, highlight=False)
        if _is_own(error) and _is_one_of_several_nodes():
            from app.training.nodes import report_failure

            report_failure(_text_of(error))
        return 1


def _is_own(error: Exception) -> bool:
    """Whether the error is this process's own; else another one of the run tells why."""
    return type(error).__name__ != "LostPeerError"


def _is_one_of_several_nodes() -> bool:
    return int(os.environ.get("GROUP_WORLD_SIZE", "1")) > 1


def _speaks_for_node() -> bool:
    """Whether this process says that one is lost: that one may be on another node."""
    return _is_one_of_several_nodes() and os.environ.get("LOCAL_RANK") == "0"


def _run(options: argparse.Namespace, console: Console) -> int:
    _log_to(console)
    config = read_config(options.config, options.set, options.dataset, options.resume)
    if options.inspect:
        return _inspect_data(config)
    if config.distributed is not None:
        from app.training.distributed import expected_processes, is_launched

        if not is_launched() and (processes := expected_processes(config)) > 1:
            return _train_in_processes(config, options, console, processes)
    return _train(config, options, console)


def _inspect_data(config: TrainingConfig) -> int:
    """Print what the data hold; 1 where they cannot be trained on."""
    from app.training.data.inspection import report
    from app.training.data.looking import inspect_data

    found = inspect_data(config)
    for line in report(found):
        print(line)
    return 1 if found.problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="train.py", description="Train a GPT-style model from a YAML configuration."
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="YAML or JSON file")
    parser.add_argument("--dataset", metavar="PATH", help="wins over the file's dataset_path")
    parser.add_argument(
        "--resume",
        nargs="?",
        const=True,
        metavar="CHECKPOINT",
        help="continue from the newest checkpoint in checkpoint_dir, or from a file or folder",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change one field, such as max_steps=100 or model_config.num_layers=2; repeatable",
    )
    parser.add_argument(
        "--inspect", action="store_true", help="say what the data hold, and train nothing"
    )
    return parser


def read_config(
    path: str, changes: Sequence[str], dataset: str | None, resume: bool | str | None
) -> TrainingConfig:
    """Return the configuration in a file with the command line's changes.

    Raises:
        ConfigError: It lists every problem of both, and of the data's files as far as a look at
            them tells.
    """
    values, problems = parse_document(read_document_file(path))
    for change in changes:
        problems += _apply_change(values, change)
    if dataset is not None:
        values["dataset_path"] = dataset
        if any(change.partition("=")[0] == "dataset_path" for change in changes):
            message = "--dataset and --set dataset_path both name the data; leave one of them out"
            problems.append(FieldProblem("dataset_path", message))
    if resume is not None:
        values["resume_from_checkpoint"] = resume
    config, of_values = TrainingConfig.read(values)
    problems += of_values
    if config.dataset_path is None and not config.data.sources:
        message = "`dataset_path` is not set; give --dataset PATH, or set it in the file"
        problems.append(FieldProblem("dataset_path", message))
    if not problems:
        problems = _inspect(config)
    if problems:
        raise ConfigError(problems)
    return config


def _inspect(config: TrainingConfig) -> list[FieldProblem]:
    """Return the problems of files and folders; the warnings come when the data are loaded."""
    from app.training.home import expanded
    from app.training.preflight import VisibleData, inspect_run
    from app.training.writable import unwritable

    problems = inspect_run(config, VisibleData.here(config)).problems
    if message := unwritable(expanded(config.checkpoint_dir)):
        problems.append(FieldProblem("checkpoint_dir", message))
    return problems


def _apply_change(values: dict[str, Any], change: str) -> list[FieldProblem]:
    """Set `a.b=value` in a nested mapping; the value is read as YAML."""
    key, equals, text = change.partition("=")
    parsed, problems = parse_document(f"value: {text}")
    if not equals or not key or problems:
        message = f"`--set {change}` must be KEY=VALUE; write for example --set max_steps=100"
        return [FieldProblem("--set", message)]
    *parents, last = key.split(".")
    target: Any = values
    for parent in parents:
        target = target.setdefault(parent, {})
        if not isinstance(target, dict):
            return [
                FieldProblem(key, f"`--set {change}` names a field of {parent}, which has none")
            ]
    target[last] = parsed["value"]
    return []


def _log_to(console: Console) -> None:
    """Log everything to training.log, and warnings to the terminal as well.

    Of several processes the first logs for all, the others only what went wrong.
    """
    file = logging.FileHandler(LOG_FILE, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    terminal: logging.Handler = logging.StreamHandler()
    terminal.setLevel(logging.INFO)
    if console.is_terminal:  # the bar shows the metrics there, and must not be torn
        terminal = RichHandler(console=console, show_time=False, show_path=False, markup=False)
        terminal.setLevel(logging.WARNING)
    for name in ("train", "app"):
        own = logging.getLogger(name)
        own.handlers = [file, terminal]
        own.setLevel(logging.DEBUG if _rank() == 0 else logging.ERROR)
        own.propagate = False


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


def _train_in_processes(
    config: TrainingConfig, options: argparse.Namespace, console: Console, processes: int
) -> int:
    """Start the processes of the run and pass a request to stop on to rank 0."""
    from app.training.distributed_launch import launch
    from app.training.parent_signals import ignore_signals_except_from_parent

    stop_pipe, results = os.pipe(), os.pipe()

    def run() -> None:
        ignore_signals_except_from_parent()  # Ctrl-C reaches the launcher
        _log_to(console)
        status = _guarded(lambda: _train(config, options, console, stop_pipe[0]), console)
        if status not in (0, INTERRUPTED):
            sys.exit(status)
        if _rank() == 0:
            os.write(results[1], bytes([status]))

    with _stop_on_signal(lambda: os.write(stop_pipe[1], b"s")):
        launch(run, processes)
    return os.read(results[0], 1)[0]


def _train(
    config: TrainingConfig,
    options: argparse.Namespace,
    console: Console,
    stop_pipe: int | None = None,
) -> int:
    """Train in this process; a byte in `stop_pipe` is the launcher's request to stop."""
    # Imported here, so that a mistake in the configuration shows before two seconds of import.
    from app.training.cores import share_cores
    from app.training.data import load_dataset
    from app.training.distributed import join
    from app.training.terminal import RunDisplay, preparation_shown, run_progress
    from app.training.trainer import Trainer

    if stop_pipe is None:  # else the launcher has shared the cores out
        share_cores()
    ranks = join(config)
    with ranks.first_of_node_first(), preparation_shown(console, shown=ranks.is_main):
        train_dataset, val_dataset = load_dataset(config.dataset_path, config)
    with run_progress(console, shown=ranks.is_main) as progress:
        trainer = Trainer(config, train_dataset, val_dataset)
        trainer.callbacks.append(RunDisplay(progress, trainer))
        with _stop_on_signal(trainer.request_stop) if stop_pipe is None else nullcontext():
            if stop_pipe is not None and ranks.is_main:
                _stop_on_byte(trainer.request_stop, stop_pipe)
            trainer.train()
    if not ranks.is_main:
        return INTERRUPTED if trainer.stopped else 0
    resume = ["python", "train.py", "--config", options.config]
    resume += ["--dataset", options.dataset] if options.dataset else []
    resume += [part for change in options.set for part in ("--set", change)]
    if trainer.stopped:
        console.print(f"stopped at step {trainer.step}, saved in {config.checkpoint_dir}")
        console.print(f"go on with: {shlex.join(resume)} --resume", soft_wrap=True, highlight=False)
        return INTERRUPTED
    if trainer.ended_early:
        console.print(trainer.ended_early)
    console.print(f"done: {trainer.step} steps, checkpoints in {config.checkpoint_dir}")
    return 0


@contextmanager
def _stop_on_signal(request: Callable[[], object]) -> Iterator[None]:
    """Let the first Ctrl-C, SIGTERM or SIGHUP save and end the run, a later one end it at once."""
    since: float | None = None

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal since
        if since is None:
            since = time.monotonic()
            logger.warning("stopping after this step and saving; once more ends it at once")
            request()
        elif time.monotonic() - since >= SAME_WISH_SECONDS:
            raise KeyboardInterrupt

    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup
        numbers.remove(signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop_on_byte(request: Callable[[], object], stop_pipe: int) -> None:
    """Request a stop when a byte comes through the pipe."""

    def wait() -> None:
        if os.read(stop_pipe, 1):
            request()

    threading.Thread(target=wait, daemon=True).start()


def _text_of(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename} cannot be used ({error.strerror}); check the path"
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
