"""Artifacts as objects of a bucket: Amazon S3, or a service that speaks its protocol.

Each upload is complete or absent: an object appears when its last request succeeds, as one `PUT`
or as the end of a multipart upload. Requests that fail for a reason that may pass are repeated;
where the answer to a repeated request says only that the first was carried out, the object itself
is looked at.

Credentials, region and endpoint are found as by any tool of AWS: `AWS_ACCESS_KEY_ID` and
`AWS_SECRET_ACCESS_KEY`, `AWS_PROFILE`, a web identity, an instance's role; `AWS_REGION`;
`AWS_ENDPOINT_URL_S3` for another service.
"""

from __future__ import annotations

import hashlib
import math
import os
import threading
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, IncompleteReadError
from urllib3.exceptions import HTTPError

from artifact_store.bucket_errors import code_of, store_error
from artifact_store.errors import (
    ArtifactError,
    ArtifactNotFoundError,
    ArtifactStoreAwayError,
    OffsetOutOfRangeError,
    naming,
)
from artifact_store.keys import check_key
from artifact_store.object_writer import S3Writer
from artifact_store.store import (
    CHUNK,
    ArtifactInfo,
    ArtifactStat,
    ArtifactStore,
    ArtifactWriter,
    OnRead,
    check_content,
)
from artifact_store.unfinished_uploads import give_up, give_up_quiet

_IDENTITY = ".store-id"
_PROBE = ".conditional-write"
_DOCUMENTS_AT_ONCE = 16
_ATTEMPTS = 6
_CONNECT_SECONDS, _READ_SECONDS = 5.0, 20.0
_SURELY_DEAD_SECONDS = 3600.0
"""An upload that took no part for so long counts as given up: a bucket knows no locks."""
_LISTED_AT_ONCE = 1000
_TAKEN = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}


class S3Store(ArtifactStore):
    """An `ArtifactStore` whose keys are those of a bucket's objects below `prefix`.

    Nothing connects before the first call. It may be used after a fork, and by several threads.

    Args:
        bucket: that exists already.
        prefix: of all keys, without slashes at its ends; empty for the whole bucket.
        scratch: a folder of this machine for `folder`, `bring` and `send`, which need it.
    """

    def __init__(self, bucket: str, prefix: str = "", scratch: Path | None = None) -> None:
        self.bucket, self.prefix = bucket, prefix
        self._scratch = scratch
        self._client: Any = None
        self._client_of = 0
        self._lock = threading.Lock()

    @property
    def place(self) -> str:
        """The address, as `s3://bucket/prefix`."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def client(self) -> Any:
        """A client of this process: connections that a fork copied would be used by two."""
        with self._lock:
            if self._client_of != os.getpid():
                self._client, self._client_of = _connect(), os.getpid()
            return self._client

    def identity(self) -> str | None:
        """Return the content of the object `.store-id`.

        Raises:
            ArtifactStoreAwayError: The bucket does not answer, or refuses.
        """
        try:
            return self._whole(_IDENTITY).decode(errors="replace").strip() or None
        except ArtifactNotFoundError:
            return None

    def make_identity(self, identity: str) -> str:
        """Write the object `.store-id` unless it is there, and return what it holds then."""
        self.put_once(_IDENTITY, f"{identity}\n".encode())
        return self.identity() or ""

    def put_once(self, key: str, content: bytes) -> bool:
        """Store `content` unless the key is taken; False if it holds something else.

        Where the bucket knows no conditions, the newest of several writers wins.
        """
        try:
            self.call("put_object", key, Body=content, IfNoneMatch="*")
        except ArtifactError as error:
            code = code_of(error.__cause__)
            if code in _TAKEN:  # perhaps by this very call, if its first answer was lost
                return self._whole(key) == content
            if code != "NotImplemented":
                raise
            self.call("put_object", key, Body=content)
        return True

    def limitation(self) -> str:
        """Say where the bucket knows no conditional writes (`If-None-Match`).

        Writes a small object to find out.
        """
        self.put_once(_PROBE, b"first\n")
        if not self.put_once(_PROBE, b"second\n"):
            return ""
        self.call("delete_object", _PROBE)
        return (
            f"{self.place} knows no conditional writes: of two processes that write one key, the "
            "last wins; checkpoints are safe all the same, since each attempt has keys of its own"
        )

    def writer(self, key: str, *, limit: int | None = None) -> ArtifactWriter:
        return S3Writer(self, check_key(key), limit)

    def put_together(self, documents: Mapping[str, bytes]) -> None:
        """Store each document as an object, several at once, since each request takes a while."""
        with ThreadPoolExecutor(_DOCUMENTS_AT_ONCE, "documents") as pool:
            list(pool.map(lambda key: self.put(key, [documents[key]]), documents))

    def copy(self, key: str, to: str) -> None:
        """Let the bucket copy the object; one beyond 5 GiB, in parts."""
        source = {"Bucket": self.bucket, "Key": self.full(check_key(key))}
        try:
            self.client.copy(source, self.bucket, self.full(check_key(to)))
        except (BotoCoreError, ClientError) as error:
            raise store_error(self.place, key, code_of(error)) from error

    def stat(self, key: str) -> ArtifactStat:
        """Return the size and the time of the last change.

        Raises:
            ArtifactNotFoundError: No object has the key.
        """
        return self._stat(check_key(key))

    def _stat(self, key: str) -> ArtifactStat:
        try:
            head = self.call("head_object", key)
        except ArtifactStoreAwayError as error:
            if code_of(error.__cause__) in ("400", "403"):
                self.identity()  # a refusal of HEAD has no body; the one of GET names its reason
            raise
        changed: datetime = head["LastModified"]
        return ArtifactStat(key, head["ContentLength"], changed.timestamp(), head["ETag"])

    def open_range(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from `offset` on, at most `length` of them, in chunks.

        A connection that breaks is replaced by one that goes on at the next byte.
        """
        return self._range(check_key(key), offset, length)

    def _range(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        stat = self._stat(key)
        if not 0 <= offset <= stat.size_bytes:
            raise OffsetOutOfRangeError(key, offset, stat.size_bytes)
        end = stat.size_bytes if length is None else min(stat.size_bytes, offset + length)
        if offset >= end:
            return iter(())
        return self._chunks(self._open(stat, offset, end), stat, offset, end)

    def presigned_url(self, key: str, seconds: float) -> str:
        """Sign an address, without asking the bucket; it ends earlier if the credentials do."""
        name = check_key(key).rpartition("/")[2]
        parameters = {
            "Bucket": self.bucket,
            "Key": self.full(key),
            "ResponseContentDisposition": f'attachment; filename="{name}"',
            "ResponseContentType": "application/octet-stream",
        }
        try:
            url: str = self.client.generate_presigned_url(
                "get_object", Params=parameters, ExpiresIn=math.ceil(seconds)
            )
        except BotoCoreError as error:
            raise store_error(self.place, key, code_of(error)) from error
        return url

    def delete(self, key: str) -> bool:
        """Remove an object; False if there was none."""
        try:
            self.stat(key)
        except ArtifactNotFoundError:
            return False
        self.call("delete_object", key)
        return True

    def delete_prefix(self, prefix: str) -> int:
        """Remove everything under `prefix` + "/", and return the number of objects.

        Unfinished uploads are given up first: one that ended later would leave an object.
        """
        self.discard_hidden(prefix)
        below = [self.full(key) for key in self._list(check_key(prefix))]
        for first in range(0, len(below), _LISTED_AT_ONCE):
            batch = [{"Key": key} for key in below[first : first + _LISTED_AT_ONCE]]
            answer = self.ask("delete_objects", prefix, Delete={"Objects": batch, "Quiet": True})
            for failed in answer.get("Errors", ()):
                raise store_error(self.place, failed["Key"], failed.get("Code", ""))
        return len(below)

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of all objects under `prefix` + "/", sorted."""
        return sorted(key for key in self._list(check_key(prefix)) if "/." not in key)

    def names(self, prefix: str, start: str = "") -> list[str]:
        folder = self.full(check_key(prefix)) + "/"
        found = set()
        for page in self._pages(prefix, Prefix=folder + start, Delimiter="/"):
            found |= {each["Prefix"] for each in page.get("CommonPrefixes", ())}
            found |= {each["Key"] for each in page.get("Contents", ())}
        names = {name.removeprefix(folder).rstrip("/") for name in found}
        return sorted(name for name in names if name and not name.startswith("."))

    def discard_hidden(self, prefix: str) -> int:
        """Give up the multipart uploads under `prefix` + "/", and return their number."""
        return give_up(self, f"{check_key(prefix)}/")

    def discard_unfinished(self, older_than_seconds: float = 600.0) -> int:
        """Give up multipart uploads that took no part for so long, or an hour; return how many."""
        return give_up_quiet(self, max(older_than_seconds, _SURELY_DEAD_SECONDS))

    def local_path(self, key: str) -> Path | None:
        """Return None, since a bucket has no files."""
        check_key(key)
        return None

    def folder(self, prefix: str) -> Path:
        """Return the folder in `scratch`.

        Raises:
            RuntimeError: The store was opened without one.
        """
        if self._scratch is None:
            raise RuntimeError(f"{self.place} was opened without a scratch folder")
        return self._scratch / check_key(prefix)

    def bring(self, stored: ArtifactInfo, on_read: OnRead | None = None) -> Path:
        """Download the object unless its verified file is there, and return that."""
        path = self.folder(stored.key)
        if not path.is_file() or path.stat().st_size != stored.size_bytes:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
            try:
                self._download(stored, unfinished, on_read)
                unfinished.replace(path)
            finally:
                unfinished.unlink(missing_ok=True)
        return path

    def send(self, key: str, *, once: bool = False) -> None:
        """Upload the file of this key from the scratch folder."""
        path = self.folder(key)
        if once:
            self.put_once(key, path.read_bytes())
            return
        with path.open("rb") as file, S3Writer(self, check_key(key), None) as upload:
            upload.read_from(file)
            upload.finish()

    def full(self, key: str) -> str:
        """Return the object's key in the bucket."""
        return f"{self.prefix}/{key}" if self.prefix else key

    def call(self, name: str, key: str, **parameters: Any) -> dict[str, Any]:
        """Make a call of the client about one object.

        Raises:
            ArtifactNotFoundError: No object has the key.
            ArtifactStoreAwayError: The bucket does not answer, or refuses.
            ArtifactStoreFullError: It has no room.
        """
        return self.ask(name, key, Key=self.full(key), **parameters)

    def ask(self, name: str, key: str, **parameters: Any) -> dict[str, Any]:
        """Make a call of the client about the bucket; errors as of `call`, which name `key`."""
        try:
            answer: dict[str, Any] = getattr(self.client, name)(Bucket=self.bucket, **parameters)
        except (BotoCoreError, ClientError) as error:
            raise store_error(self.place, key, code_of(error)) from error
        return answer

    def short(self, full: str) -> str:
        """Return the key of an object of the bucket."""
        return full.removeprefix(f"{self.prefix}/") if self.prefix else full

    def _list(self, prefix: str) -> Iterator[str]:
        """Yield the keys below `prefix` + "/"."""
        for page in self._pages(prefix, Prefix=f"{self.full(prefix)}/"):
            yield from (self.short(each["Key"]) for each in page.get("Contents", ()))

    def _pages(self, prefix: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        following: dict[str, str] = {}
        while True:
            page = self.ask("list_objects_v2", prefix, **parameters, **following)
            yield page
            if not page.get("IsTruncated"):
                return
            following = {"ContinuationToken": page["NextContinuationToken"]}

    def _whole(self, key: str) -> bytes:
        """Return the content of a small object, by one request."""
        for _ in range(_ATTEMPTS):
            try:
                return bytes(self.call("get_object", key)["Body"].read())
            except (BotoCoreError, HTTPError) as error:
                failure = error
        raise store_error(self.place, key, code_of(failure)) from failure

    def _open(self, stat: ArtifactStat, offset: int, end: int) -> Any:
        bounds = f"bytes={offset}-{end - 1}"
        answer = self.call("get_object", stat.key, Range=bounds, IfMatch=stat.version)
        return answer["Body"]

    def _chunks(self, body: Any, stat: ArtifactStat, offset: int, end: int) -> Iterator[bytes]:
        failures = 0
        while offset < end:
            try:
                chunk = body.read(min(CHUNK, end - offset))
                if not chunk:
                    raise IncompleteReadError(actual_bytes=offset, expected_bytes=end)
            except (BotoCoreError, HTTPError) as error:
                failures += 1
                if failures >= _ATTEMPTS:
                    raise store_error(self.place, stat.key, code_of(error)) from error
                body = self._open(stat, offset, end)
                continue
            failures = 0
            offset += len(chunk)
            yield chunk

    def _download(self, stored: ArtifactInfo, path: Path, on_read: OnRead | None) -> None:
        digest, size = hashlib.sha256(), 0
        with naming(path), path.open("xb") as file:
            for chunk in self.open_range(stored.key):
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
                if on_read:
                    on_read(len(chunk))
        check_content(stored, size, digest.hexdigest())


def _connect() -> Any:
    import boto3
    from botocore.config import Config

    session = boto3.session.Session()
    config = Config(
        signature_version="s3v4",  # else addresses are signed in a way that newer regions refuse
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        max_pool_connections=_DOCUMENTS_AT_ONCE,
    )
    # boto3 itself reads AWS_DEFAULT_REGION alone; the other tools of AWS read this one first.
    region = os.environ.get("AWS_REGION") or session.region_name or "us-east-1"
    try:
        return session.client("s3", region_name=region, config=config)
    except BotoCoreError:
        raise
    except ValueError as error:
        raise ArtifactStoreAwayError(
            f"AWS_ENDPOINT_URL_S3 cannot be used: {error}; write it as https://HOST:PORT"
        ) from None
