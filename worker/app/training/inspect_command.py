"""A look into data in a process of its own, for a service that must not import what reads it.

    python -P -m app.training.inspect_command < REQUEST

REQUEST is JSON: `config`, every field as `TrainingConfig.from_dict` takes it, with the paths of
this machine; `roots`, the folders that may be read; `seconds`, for how long to read. The answer on
the standard output is JSON, too.
"""

from __future__ import annotations

import json
import sys

from app.training.config import TrainingConfig
from app.training.reading import restrict_to


def main() -> None:
    """Read a request, look, and print what was found."""
    from app.training.data.looking import Bounds, inspect_data

    request = json.load(sys.stdin)
    restrict_to(request["roots"])
    config, bounds = TrainingConfig.from_dict(request["config"]), Bounds(seconds=request["seconds"])
    found = inspect_data(config, bounds)
    json.dump(found.to_dict(), sys.stdout)


if __name__ == "__main__":
    main()
