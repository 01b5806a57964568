"""Opens the artifact store that a setting names: a folder, or a bucket."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from artifact_store.errors import ArtifactStoreAwayError, InvalidKeyError
from artifact_store.folder import FolderStore
from artifact_store.keys import check_key
from artifact_store.store import ArtifactStore

_SCHEME = "s3://"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)


def artifact_root(value: Any) -> Path | str:
    """Return what a setting names: an address as text, anything else as a path.

    Raises:
        ValueError: It is an address of another form.
    """
    text = str(value)
    if text.startswith(("s3:/", "S3:/")) or "://" in text:
        bucket_and_prefix(text)
        return text
    return value if isinstance(value, Path) else Path(text)


ArtifactRoot = Annotated[Path | str, BeforeValidator(artifact_root)]
"""A setting: the path of a folder, or an address of the form `s3://bucket/prefix`."""


def bucket_and_prefix(address: str) -> tuple[str, str]:
    """Return the two parts of `s3://bucket/prefix`; the prefix may be empty.

    Raises:
        ValueError: The address has another form.
    """
    bucket, _, prefix = address.removeprefix(_SCHEME).partition("/")
    if not address.startswith(_SCHEME) or not _BUCKET.fullmatch(bucket):
        raise ValueError(
            "an address has the form s3://bucket/prefix; the bucket's name has 3 to 63 lower-case "
            "letters, digits, dots and hyphens"
        )
    try:
        return bucket, check_key(prefix.strip("/")) if prefix.strip("/") else ""
    except InvalidKeyError as error:
        raise ValueError(str(error)) from None


def open_store(root: Path | str, scratch: Path | None = None) -> ArtifactStore:
    """Return the store at `root`; nothing connects to a bucket yet.

    A bucket needs the folder `scratch` where its artifacts are used as files.

    Raises:
        ArtifactStoreAwayError: It is a bucket, and the package for it is not installed.
    """
    if isinstance(root, Path):
        return FolderStore(root)
    try:
        from artifact_store.object_store import S3Store
    except ModuleNotFoundError as error:
        raise ArtifactStoreAwayError(
            f"{root} needs the package {error.name}; install training-engine[s3]"
        ) from None
    return S3Store(*bucket_and_prefix(root), scratch)
