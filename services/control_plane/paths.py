"""Checks paths that a client names: with links resolved they must be under an allowed root."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from control_plane.errors import invalid_argument

DATASET_SCHEME = "dataset://"


@dataclass(frozen=True)
class AllowedRoots:
    """The folders that jobs may read from."""

    roots: tuple[Path, ...]
    visible: bool
    """Whether this process sees the same files as the workers; then a missing path is refused."""

    @classmethod
    def of(cls, roots: Sequence[Path], visible: bool) -> AllowedRoots:
        """Return roots with their own links resolved, so that a resolved path can be compared."""
        return cls(tuple(root.expanduser().resolve() for root in roots), visible)

    def check(self, field: str, text: str) -> str:
        """Return the path with every link resolved.

        A path that is not absolute is taken from each root in turn where the roots are visible;
        elsewhere from the first one.

        Raises:
            RpcError: The path is not under an allowed root, or does not exist.
        """
        if "\0" in text or len(text) > 4096:
            shown = text[:80].replace("\0", "\\0")
            rule = "a path has at most 4096 characters and no NUL; give the path of a file"
            raise invalid_argument(field, f"`{field}` is {shown!r}; {rule}", "PATH_NOT_ALLOWED")
        try:
            path = self._resolve(Path(text).expanduser() if self.visible else Path(text))
            if not any(path.is_relative_to(root) for root in self.roots):
                raise self._not_allowed(field, text)
            missing = self.visible and not path.exists()
        except (OSError, RuntimeError):  # a name too long, a loop of links, no permission
            raise self._not_allowed(field, text) from None
        if missing:
            reason = f"`{field}` is {text!r}, which does not exist; check the spelling"
            raise invalid_argument(field, reason, "PATH_NOT_FOUND")
        return str(path)

    def _resolve(self, path: Path) -> Path:
        if path.is_absolute() or not self.roots:
            return path.resolve()
        candidates = [(root / path).resolve() for root in self.roots]
        if self.visible:
            for root, candidate in zip(self.roots, candidates, strict=True):
                if candidate.is_relative_to(root) and candidate.exists():
                    return candidate
        return candidates[0]

    def _not_allowed(self, field: str, text: str) -> Exception:
        roots = ", ".join(map(str, self.roots)) or "none (start with --data-root PATH)"
        remedy = f"move the data there, or upload it and name it as {DATASET_SCHEME}ID"
        if field == "initial_adapter":
            remedy = "move the adapter there"
        elif field == "initial_weights":
            remedy = "move the model there, or name a checkpoint as checkpoint://ID"
        message = (
            f"`{field}` is {text!r}, which is not under an allowed folder; allowed are {roots}; "
            f"{remedy}"
        )
        return invalid_argument(field, message, "PATH_NOT_ALLOWED")
