"""What has to be there before the first step of a tracked run."""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path

from app.training.errors import TrainingError
from app.transformer.errors import ConfigError, FieldProblem


def require_package(field: str, value: str, package: str, extra: str) -> None:
    """Raise `ConfigError` where a package is not installed; it is not imported."""
    if find_spec(package) is None:
        raise ConfigError(
            [
                FieldProblem(
                    field,
                    f"`{field}` is {value!r}, which needs the package {package}, and that is not "
                    f"installed; install it with pip install 'training-engine[{extra}]', or leave "
                    "the tracker out",
                )
            ]
        )


def require_folder(folder: Path, tracker: str) -> None:
    """Make a folder and raise `TrainingError` where it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise TrainingError(
            f"{folder} cannot be written ({error.strerror}), and the tracker {tracker!r} has its "
            "files there; make it writable, or leave the tracker out"
        ) from error
