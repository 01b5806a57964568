"""An upload into a bucket: one request, or a multipart upload of which some parts are under way."""

from __future__ import annotations

import contextlib
import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO, Protocol

from artifact_store.errors import ArtifactError
from artifact_store.store import ArtifactInfo, ArtifactStat, ArtifactWriter

_PART_BYTES = 8 << 20
_SMALL_PARTS = 1000
"""Parts of `_PART_BYTES`; those after them are eight times as large, for S3 takes 10,000 a file."""
UPLOADS_AT_ONCE = 10
"""Parts of one upload that are under way at a time."""


class Bucket(Protocol):
    """What an upload needs of `S3Store`."""

    def call(self, name: str, key: str, **parameters: Any) -> dict[str, Any]:
        """Make a call of the client about one object."""

    def stat(self, key: str) -> ArtifactStat:
        """Return what the bucket knows of an object."""


class S3Writer(ArtifactWriter):
    """An upload into a bucket; use it as a context manager.

    Less than a part is one request. More is a multipart upload, of which some parts are under way
    while the next is filled.
    """

    def __init__(self, store: Bucket, key: str, limit: int | None) -> None:
        super().__init__(key, limit)
        self._store = store
        self._part = bytearray()
        self._upload_id = ""
        self._parts: list[Future[str]] = []
        self._pool: ThreadPoolExecutor | None = None
        self._is_over = False

    def _append(self, chunk: bytes) -> None:
        self._part += chunk
        while len(self._part) > (size := self._part_bytes()):
            with memoryview(self._part) as part:  # each byte is copied once
                self._send(bytes(part[:size]))
            del self._part[:size]

    def read_from(self, file: BinaryIO) -> None:
        """Append the rest of a file, without the digest that `commit` returns: see `finish`."""
        part = file.read(self._part_bytes())
        while following := file.read(self._part_bytes()):
            self._send(part)
            part = following
        self._part += part

    def commit(self) -> ArtifactInfo:
        """Make the object visible, replacing an older one of the same key."""
        self.finish()
        return self._info()

    def finish(self) -> None:
        """Do what `commit` does, and return nothing."""
        if self._upload_id:
            self._send(bytes(self._part))
            self._complete([part.result() for part in self._parts])
        else:
            self._store.call("put_object", self._key, Body=bytes(self._part))
        self._close()

    def abort(self) -> None:
        if self._is_over:
            return
        self._close()
        if self._upload_id:
            with contextlib.suppress(ArtifactError):  # `discard_unfinished` finds it later
                self._store.call("abort_multipart_upload", self._key, UploadId=self._upload_id)

    def _part_bytes(self) -> int:
        return _PART_BYTES if len(self._parts) < _SMALL_PARTS else 8 * _PART_BYTES

    def _send(self, part: bytes) -> None:
        """Upload a part beside others; wait first while as many as are allowed are under way."""
        if self._pool is None:
            self._upload_id = self._store.call("create_multipart_upload", self._key)["UploadId"]
            self._pool = ThreadPoolExecutor(UPLOADS_AT_ONCE, "upload")
        if len(self._parts) >= UPLOADS_AT_ONCE:
            self._parts[-UPLOADS_AT_ONCE].result()
        number = len(self._parts) + 1
        self._parts.append(self._pool.submit(self._send_part, number, part))

    def _send_part(self, number: int, part: bytes) -> str:
        answer = self._store.call(
            "upload_part", self._key, UploadId=self._upload_id, PartNumber=number, Body=part
        )
        return str(answer["ETag"])

    def _complete(self, tags: list[str]) -> None:
        parts = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
        try:
            self._store.call(
                "complete_multipart_upload",
                self._key,
                UploadId=self._upload_id,
                MultipartUpload={"Parts": parts},
            )
        except ArtifactError:  # perhaps only the answer was lost, and repeated requests are refused
            if not self._is_there(tag_of_parts(tags)):
                raise

    def _is_there(self, version: str) -> bool:
        with contextlib.suppress(ArtifactError):
            return self._store.stat(self._key).version == version
        return False

    def _close(self) -> None:
        self._is_over = True
        self._part.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


def tag_of_parts(tags: list[str]) -> str:
    """Return the ETag of an object whose parts have these: the MD5 of their MD5s, and their number.

    As S3 computes it for objects that are not encrypted with a key of KMS.
    """
    digests = b"".join(bytes.fromhex(tag.strip('"')) for tag in tags)
    return f'"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(tags)}"'
