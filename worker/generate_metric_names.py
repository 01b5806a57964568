"""Writes the names of the trainer's metrics for the library, from `MetricPoint` in metrics.proto.

python worker/generate_metric_names.py FILE

The library knows no protos, and has to keep a user's own metrics apart from its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

from control_plane.conversion import METRIC_FIELDS

HEAD = '''"""The names of the trainer's metrics, by `make protos` from `MetricPoint`."""

'''


def main() -> None:
    """Write the module to the path that the command line names."""
    names = "".join(f'        "{name}",\n' for name in METRIC_FIELDS)
    text = f"{HEAD}METRIC_NAMES = frozenset(\n    {{\n{names}    }}\n)\n"
    Path(sys.argv[1]).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
