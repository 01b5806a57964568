"""What holds for a folder and for a bucket alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from artifact_store import (
    ArtifactDamagedError,
    ArtifactNotFoundError,
    ArtifactStore,
    ArtifactTooLargeError,
    InvalidKeyError,
    OffsetOutOfRangeError,
    open_store,
)

KEY = "datasets/d1/corpus.txt"


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    if request.param == "folder":
        return open_store(tmp_path / "artifacts")
    request.getfixturevalue("bucket")
    return open_store(f"s3://models/{tmp_path.name}")


def test_an_upload_is_whole_and_reports_size_and_sha256(store: ArtifactStore) -> None:
    info = store.put(KEY, iter([b"hello ", b"", b"world"]))
    assert (info.key, info.size_bytes) == (KEY, 11)
    assert info.sha256 == hashlib.sha256(b"hello world").hexdigest()
    assert b"".join(store.open_range(KEY)) == b"hello world"
    assert (store.stat(KEY).size_bytes, store.keys("datasets")) == (11, [KEY])


def test_documents_that_are_stored_together_are_deleted_by_the_beginning_of_their_names(
    store: ArtifactStore,
) -> None:
    documents = {f"journal/jobs/s/{name}.json": name.encode() for name in ("a.1", "a.2", "b.1")}
    store.put_together(documents)
    for key, document in documents.items():
        assert document in b"".join(store.open_range(key)).split(b"\n")
    assert store.names("journal/jobs/s", "a.") == ["a.1.json", "a.2.json"]
    store.delete_names("journal/jobs/s", "a.")
    assert store.names("journal/jobs/s") == ["b.1.json"]
    store.delete_names("journal/jobs/s", "b.")
    store.delete_names("journal/jobs/s", "b.")  # again, after a crash
    assert store.names("journal/jobs") == []


def test_a_copy_stays_when_its_original_goes(store: ArtifactStore) -> None:
    store.put(KEY, [b"hello"])
    for _ in range(2):  # again, after a crash
        store.copy(KEY, "jobs/j1/fork/copy.txt")
    assert store.delete(KEY)
    assert b"".join(store.open_range("jobs/j1/fork/copy.txt")) == b"hello"
    with pytest.raises(ArtifactNotFoundError):
        store.copy(KEY, "jobs/j1/fork/other.txt")


def test_an_upload_that_breaks_keeps_the_older_one(store: ArtifactStore) -> None:
    store.put(KEY, [b"old"])

    def breaks() -> Iterator[bytes]:
        yield b"new"
        raise ConnectionError("client went away")

    with pytest.raises(ConnectionError, match="client went away"):
        store.put(KEY, breaks())
    assert b"".join(store.open_range(KEY)) == b"old"


def test_an_upload_past_its_limit_is_refused(store: ArtifactStore) -> None:
    with pytest.raises(ArtifactTooLargeError, match="larger than the limit of 4 bytes; split it"):
        store.put(KEY, [b"123", b"45"], limit=4)
    assert store.keys("datasets") == []
    assert store.put(KEY, [b"1234"], limit=4).size_bytes == 4


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, None, b"0123456789"),
        (4, None, b"456789"),
        (4, 3, b"456"),
        (10, None, b""),
        (8, 9, b"89"),
        (3, 0, b""),
    ],
)
def test_ranges(store: ArtifactStore, offset: int, length: int | None, expected: bytes) -> None:
    store.put(KEY, [b"0123456789"])
    assert b"".join(store.open_range(KEY, offset, length)) == expected


@pytest.mark.parametrize("offset", [-1, 11])
def test_an_offset_outside_is_refused_at_once(store: ArtifactStore, offset: int) -> None:
    store.put(KEY, [b"0123456789"])
    with pytest.raises(OffsetOutOfRangeError, match=f"offset {offset} is outside .* from 0 to 10"):
        store.open_range(KEY, offset)


def test_other_bytes_have_another_version_and_are_damage(store: ArtifactStore) -> None:
    info = store.put(KEY, [b"abc"])
    version = store.stat(KEY).version
    store.verify(info)
    store.put(KEY, [b"abd"])
    assert store.stat(KEY).version != version
    with pytest.raises(ArtifactDamagedError, match=r"sha256 .* was recorded; its file was damaged"):
        store.verify(info)
    with pytest.raises(ArtifactDamagedError, match="has 3 bytes where 4 bytes was recorded"):
        store.verify(replace(info, size_bytes=4))


def test_a_deleted_artifact_is_gone(store: ArtifactStore) -> None:
    store.put(KEY, [b"x"])
    assert (store.delete(KEY), store.delete(KEY)) == (True, False)
    for call in (lambda: store.stat(KEY), lambda: store.open_range(KEY)):
        with pytest.raises(ArtifactNotFoundError, match="there is no artifact 'datasets/d1/corpus"):
            call()


def test_a_prefix_is_deleted_without_its_neighbours(store: ArtifactStore) -> None:
    for key in ("jobs/a/attempts/1-x/one.pt", "jobs/a/attempts/2-y/two.pt", "jobs/ab/three.pt"):
        store.put(key, [b"x"])
    assert (store.delete_prefix("jobs/a"), store.delete_prefix("jobs/a")) == (2, 0)
    assert store.keys("jobs") == ["jobs/ab/three.pt"]


def test_keys_and_names_of_a_prefix(store: ArtifactStore) -> None:
    for key in ("jobs/a/2.pt", "jobs/a/1.pt", "jobs/b/1.pt", "jobs/a/deep/x.json"):
        store.put(key, [b"x"])
    assert store.keys("jobs/a") == ["jobs/a/1.pt", "jobs/a/2.pt", "jobs/a/deep/x.json"]
    assert store.names("jobs/a") == ["1.pt", "2.pt", "deep"]
    assert (store.names("jobs"), store.names("none"), store.keys("none")) == (["a", "b"], [], [])


def test_the_first_identity_stays(store: ArtifactStore) -> None:
    assert store.identity() is None
    assert store.make_identity("store_1") == "store_1"
    assert store.make_identity("store_2") == "store_1" == store.identity()
    assert (store.keys("jobs"), store.discard_unfinished(), store.discard_hidden("jobs")) == (
        [],
        0,
        0,
    )


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a//b", "a/.hidden", "a b", "a\0b"])
def test_keys_that_could_leave_or_hide_are_refused(store: ArtifactStore, key: str) -> None:
    calls = [store.stat, store.open_range, store.writer, store.delete, store.delete_prefix]
    for call in [*calls, store.keys, store.names, store.local_path]:
        with pytest.raises(InvalidKeyError, match="is refused"):
            call(key)
