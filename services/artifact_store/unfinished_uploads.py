"""Multipart uploads into a bucket that will never end: their parts take room until given up."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from artifact_store.bucket_errors import code_of
from artifact_store.errors import ArtifactError, ArtifactNotFoundError


class Bucket(Protocol):
    """What this module needs of `S3Store`."""

    def full(self, key: str) -> str:
        """Return the object's key in the bucket."""

    def short(self, full: str) -> str:
        """Return the key of an object of the bucket."""

    def ask(self, name: str, key: str, **parameters: Any) -> dict[str, Any]:
        """Make a call of the client about the bucket."""

    def call(self, name: str, key: str, **parameters: Any) -> dict[str, Any]:
        """Make a call of the client about one object."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A multipart upload that has not ended."""

    key: str
    id: str
    begun: datetime
    now: datetime
    """The service's own time when it was listed: this machine's clock may be wrong."""


def uploads_below(bucket: Bucket, prefix: str) -> Iterator[Upload]:
    """Yield the uploads whose key begins with `prefix`, which may be empty."""
    following: dict[str, str] = {}
    while True:
        try:
            page = bucket.ask(
                "list_multipart_uploads", prefix, Prefix=bucket.full(prefix), **following
            )
        except ArtifactError as error:
            if code_of(error.__cause__) != "NotImplemented":
                raise
            return  # a service that cannot list them has to give them up by itself
        now = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
        for each in page.get("Uploads", ()):
            yield Upload(bucket.short(each["Key"]), each["UploadId"], each["Initiated"], now)
        if not page.get("IsTruncated"):
            return
        following = {
            "KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]
        }  # fmt: skip


def give_up(
    bucket: Bucket, prefix: str, is_dead: Callable[[Upload], bool] = lambda upload: True
) -> int:
    """Abort the uploads below `prefix` that `is_dead` names; return how many."""
    dead = [upload for upload in uploads_below(bucket, prefix) if is_dead(upload)]
    for upload in dead:
        with contextlib.suppress(ArtifactNotFoundError):  # another process was faster
            bucket.call("abort_multipart_upload", upload.key, UploadId=upload.id)
    return len(dead)


def give_up_quiet(bucket: Bucket, seconds: float) -> int:
    """Abort the uploads that took no part for so long; return how many."""

    def is_dead(upload: Upload) -> bool:
        age = (upload.now - upload.begun).total_seconds()
        return age > seconds and _quiet_seconds(bucket, upload) > seconds

    return give_up(bucket, "", is_dead)


def _quiet_seconds(bucket: Bucket, upload: Upload) -> float:
    """Return how long ago the upload took its last part; infinite if it is over already."""
    with contextlib.suppress(ArtifactNotFoundError):
        parts = bucket.call("list_parts", upload.key, UploadId=upload.id).get("Parts", ())
        newest = max((part["LastModified"] for part in parts), default=upload.begun)
        return float((upload.now - newest).total_seconds())
    return math.inf
