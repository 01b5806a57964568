"""The command line: `training-engine COMMAND --help` says what each command takes.

In order of reading:

- `__main__`, `app`: the tree of commands.
- `session`, `exit_codes`, `output`: what every command shares: its engine, its errors, how it
  prints.
- `job_commands`, `fork_command`, `sweep_commands`, `bulk_commands`, `comparison_commands`,
  `artifact_commands`, `generate_command`, `resource_commands`: the commands.
- `inspection`: what a look into data found, as lines.
- `watch`, `curve`: a job live, with the curve of its loss.
- `encoding`: characters that the output cannot show.
- `local_paths`: paths and options that are sent to another process.
- `extensions`: commands of other packages: `up`, `export`.
- `completion`: what Tab offers.
"""

from __future__ import annotations

from training_engine.cli.encoding import tolerate_encoding

__all__ = ["main"]


def main() -> None:
    """Run the command line; the entry point of the console script."""
    tolerate_encoding()
    try:
        from training_engine.cli.app import app

        app(prog_name="training-engine")
    except KeyboardInterrupt:  # while modules are imported; commands have their own ways
        raise SystemExit(130) from None
