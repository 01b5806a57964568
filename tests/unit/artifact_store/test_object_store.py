"""A bucket behind a network that fails, and what its refusals mean."""

from __future__ import annotations

import os
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bucket_server import BUCKET, OLD_SERVICE, BucketServer, Faults, unfinished_uploads
from small_disk import mounted

from artifact_store import (
    ArtifactNotFoundError,
    ArtifactStoreAwayError,
    GuardedStore,
    object_store,
    object_writer,
    open_store,
)
from artifact_store.object_store import S3Store
from artifact_store.object_writer import tag_of_parts

KEY = "jobs/j1/attempts/1-c/checkpoint_step_5.pt"
PART = 5 << 20
"""The smallest part that S3 takes, unless it is the last."""


@pytest.fixture
def store(bucket: BucketServer, tmp_path: Path) -> S3Store:
    return S3Store(BUCKET, f"teams/{tmp_path.name}")


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_writer, "_PART_BYTES", PART)


@pytest.mark.usefixtures("small_parts")
def test_a_large_upload_goes_in_parts_and_is_seen_when_it_is_whole(store: S3Store) -> None:
    blob = os.urandom(2 * PART + 3)
    with store.writer(KEY) as upload:
        for first in range(0, len(blob), 1 << 20):
            upload.write(blob[first : first + (1 << 20)])
        with pytest.raises(ArtifactNotFoundError):
            store.stat(KEY)
        info = upload.commit()
    store.verify(info)
    assert store.stat(KEY).version.endswith('-3"')
    assert unfinished_uploads(store) == []


@pytest.mark.usefixtures("small_parts")
def test_an_upload_that_breaks_leaves_no_parts(store: S3Store) -> None:
    def breaks() -> Iterator[bytes]:
        yield bytes(PART + 1)
        assert unfinished_uploads(store) == [KEY]
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        store.put(KEY, breaks())
    assert (unfinished_uploads(store), store.keys("jobs")) == ([], [])


def test_a_full_disk_is_named_when_an_object_is_brought(
    bucket: BucketServer, tmp_path: Path
) -> None:
    with mounted(tmp_path / "scratch", 1 << 20) as scratch:
        store = S3Store(BUCKET, f"teams/{tmp_path.name}", scratch)
        info = store.put(KEY, [bytes(2 << 20)])
        with pytest.raises(OSError, match=rf"No space left on device: '{re.escape(str(scratch))}/"):
            store.bring(info)
        assert not [path for path in scratch.rglob("*") if path.is_file()]


def test_the_parts_of_a_killed_process_are_discarded_once_they_are_old(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = store.call("create_multipart_upload", KEY)["UploadId"]
    store.call("upload_part", KEY, UploadId=upload, PartNumber=1, Body=b"x")
    assert store.discard_unfinished(older_than_seconds=-1) == 0
    monkeypatch.setattr(object_store, "_SURELY_DEAD_SECONDS", -1.0)
    assert (store.discard_unfinished(older_than_seconds=-1), unfinished_uploads(store)) == (1, [])


def test_the_parts_of_an_attempt_that_is_over_are_discarded(store: S3Store) -> None:
    first, second, other = "jobs/j1/attempts/1-c", "jobs/j1/attempts/2-c", "jobs/j10/attempts/1-c"
    for prefix in (first, second, other):
        store.call("create_multipart_upload", f"{prefix}/checkpoint_step_5.pt")
    assert store.discard_hidden(first) == 1
    assert unfinished_uploads(store) == [
        f"{second}/checkpoint_step_5.pt", f"{other}/checkpoint_step_5.pt"
    ]  # fmt: skip
    store.delete_prefix("jobs/j1")
    assert unfinished_uploads(store) == [f"{other}/checkpoint_step_5.pt"]


def test_content_is_stored_once(store: S3Store) -> None:
    assert store.put_once("jobs/j1/x.json", b"first")
    assert store.put_once("jobs/j1/x.json", b"first"), "as a repeated request is answered"
    assert not store.put_once("jobs/j1/x.json", b"second")
    assert b"".join(store.open_range("jobs/j1/x.json")) == b"first"
    assert store.limitation() == ""


def test_a_bucket_without_conditions_is_found_out(bucket: BucketServer) -> None:
    store = S3Store(BUCKET, OLD_SERVICE)
    assert "knows no conditional writes: of two processes that write one key" in store.limitation()
    assert store.make_identity("store_1") == "store_1"


def test_a_refusal_without_a_body_is_explained_too(bucket: BucketServer) -> None:
    store = S3Store(BUCKET, "refuses-ExpiredToken")
    for call in (store.identity, lambda: store.stat(KEY), lambda: store.open_range(KEY)):
        with pytest.raises(ArtifactStoreAwayError, match="the credentials have expired") as refusal:
            call()
        assert "hush" not in str(refusal.value)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("AWS_ENDPOINT_URL_S3", "minio:9000", "Invalid endpoint: minio:9000; write it as https://"),
        ("AWS_REGION", "eu central", "AWS_REGION names no region; write one like eu-central-1"),
        ("AWS_PROFILE", "nobody", "AWS_PROFILE names no profile"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(
    bucket: BucketServer, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ArtifactStoreAwayError, match=re.escape(said)):
        S3Store(BUCKET).identity()


def test_the_region_is_that_of_the_environment(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert store.client.meta.region_name == "eu-central-1"
    assert "eu-central-1%2Fs3%2Faws4_request" in store.presigned_url(KEY, 60)


def test_a_presigned_address_needs_no_credentials_and_ends(store: S3Store) -> None:
    store.put(KEY, [b"weights"])
    url = store.presigned_url(KEY, 59.5)
    assert "X-Amz-Expires=60&" in url
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url) as answer:
        assert answer.read() == b"weights"
        disposition = answer.headers["Content-Disposition"]
    assert disposition == 'attachment; filename="checkpoint_step_5.pt"'


@pytest.mark.slow
@pytest.mark.usefixtures("small_parts")
def test_a_network_that_fails_costs_time_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    faults = Faults(seed=1, refused=0.05, torn=0.05, stalled=0.01, cut_bodies=0.3)
    server = BucketServer(faults).start()
    try:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        store = GuardedStore(S3Store(BUCKET, "p"))
        store.expected = store.make_identity("store_1")
        blob = os.urandom(3 * PART)
        for number in range(2):
            key = f"jobs/j{number}/file.pt"
            info = store.put(key, [blob[: PART + 1], blob[PART + 1 :]])
            store.verify(info)
            assert b"".join(store.open_range(key, PART - 1, 100)) == blob[PART - 1 : PART + 99]
        assert store.names("jobs") == ["j0", "j1"]
        assert [store.delete_prefix(f"jobs/j{number}") for number in range(2)] == [1, 1]
        assert store.identity() == "store_1"
    finally:
        server.stop()


@pytest.mark.usefixtures("small_parts")
def test_an_upload_whose_end_is_done_and_not_answered_is_there(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "_ATTEMPTS", 1)
    with store.writer(KEY) as upload:
        upload.write(bytes(PART + 1))
        call = store.call

        def repeated(name: str, key: str, **parameters: Any) -> dict[str, Any]:
            answer = call(name, key, **parameters)
            return call(name, key, **parameters) if name.startswith("complete") else answer

        monkeypatch.setattr(store, "call", repeated)
        assert upload.commit().size_bytes == PART + 1
    assert unfinished_uploads(store) == []


def test_the_tag_of_parts_is_that_of_the_service() -> None:
    empty = '"d41d8cd98f00b204e9800998ecf8427e"'
    assert tag_of_parts([empty, empty]) == '"5873dd45edd01f09c1ef2e7819369e8e-2"'


def test_a_bucket_that_is_not_there_is_named(bucket: BucketServer) -> None:
    with pytest.raises(ArtifactStoreAwayError) as refusal:
        S3Store("other-bucket", "p").identity()
    assert "s3://other-bucket/p answers NoSuchBucket: there is no such bucket; create it" in str(
        refusal.value
    )


def test_a_service_that_is_away_is_named(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setattr(object_store, "_ATTEMPTS", 1)
    with pytest.raises(ArtifactStoreAwayError, match="answers EndpointConnectionError: check the"):
        S3Store(BUCKET).identity()


def test_missing_credentials_are_named(
    bucket: BucketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ArtifactStoreAwayError, match="credentials are missing; name valid ones by"):
        S3Store(BUCKET).identity()


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("ExpiredToken", "the credentials have expired; name valid ones by AWS_ACCESS_KEY_ID"),
        ("RequestTimeTooSkewed", "the clock of this machine is wrong; set it by NTP"),
        ("AccessDenied", "allow s3:GetObject, s3:PutObject"),
        ("SignatureDoesNotMatch", "the secret key does not fit the access key"),
        ("PermanentRedirect", "the bucket is in another region; set AWS_REGION to it"),
    ],
)
def test_refusals_name_their_remedy(code: str, remedy: str) -> None:
    from artifact_store.bucket_errors import store_error

    error = store_error("s3://b/p", KEY, code)
    assert isinstance(error, ArtifactStoreAwayError)
    assert remedy in str(error)


@pytest.mark.parametrize("address", ["s3://", "s3://ab", "s3://Bucket/x", "gs://b/x", "s3://bu/.x"])
def test_an_address_of_another_form_is_refused(address: str) -> None:
    from artifact_store.opening import bucket_and_prefix

    with pytest.raises(ValueError, match=r"has the form s3://bucket/prefix|is refused"):
        bucket_and_prefix(address)


def test_a_client_of_the_parent_is_not_used_after_a_fork(store: S3Store) -> None:
    mine = store.client
    child = os.fork()
    if child == 0:
        os._exit(0 if store.client is not mine and store.identity() is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.client is mine
    assert isinstance(open_store("s3://models/x"), S3Store)
