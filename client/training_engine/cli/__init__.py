"""The command line: `training-engine COMMAND --help` says what each command takes."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command line; the entry point of the console script."""
    try:
        from training_engine.cli.app import app

        app(prog_name="training-engine")
    except KeyboardInterrupt:  # while modules are imported; commands have their own ways
        raise SystemExit(130) from None
