"""Callbacks of the operator's own: what `--callbacks` names is called with each trainer."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from service_runtime.settings import SettingsError

if TYPE_CHECKING:
    from app.training.trainer import Trainer

MakeCallback = Callable[["Trainer"], Any]
"""Takes a trainer and returns a callback of it."""


def own_callbacks(names: str) -> list[MakeCallback]:
    """Return what makes the callbacks, from `MODULE:NAME` and commas.

    Raises:
        SettingsError: A setting that cannot be used; the text names the flag, the rule and the
            remedy.
    """
    return [_import(name.strip()) for name in names.split(",") if name.strip()]


def _import(name: str) -> MakeCallback:
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise SettingsError(
            f"--callbacks: {name!r} must be MODULE:NAME, for example mine:WeightNorm"
        )
    try:
        callback = getattr(importlib.import_module(module), attribute, None)
    except Exception as error:  # an import runs the module
        raise SettingsError(
            f"--callbacks: {module} cannot be imported ({type(error).__name__}: {error}); "
            "install it in the worker's environment, or put its folder on PYTHONPATH"
        ) from error
    if not callable(callback):
        raise SettingsError(
            f"--callbacks: {module} has no {attribute!r} that can be called; name a class or "
            "function that takes a trainer and returns a callback"
        )
    return cast("MakeCallback", callback)
