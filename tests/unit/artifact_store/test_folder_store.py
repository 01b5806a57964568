"""Blobs in a folder: whole or absent, verified, and never outside it."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import signal
from pathlib import Path

import pytest

from artifact_store import (
    ArtifactDamagedError,
    ArtifactNotFoundError,
    ArtifactStore,
    ArtifactStoreFullError,
    FolderStore,
    InvalidKeyError,
    attempt_prefix,
    checkpoint_keys,
    dataset_key,
    safe_segment,
)

KEY = "datasets/d1/corpus.txt"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "artifacts")


def files(store: FolderStore) -> list[str]:
    return sorted(str(p.relative_to(store.root)) for p in store.root.rglob("*") if p.is_file())


def test_put_streams_and_reports_size_and_sha256(store: FolderStore) -> None:
    info = store.put(KEY, iter([b"hello ", b"", b"world"]))
    assert (info.key, info.size_bytes) == (KEY, 11)
    assert info.sha256 == hashlib.sha256(b"hello world").hexdigest()
    assert store.local_path(KEY).read_bytes() == b"hello world"
    assert store.stat(KEY).size_bytes == 11
    assert files(store) == [KEY]


def test_a_broken_upload_leaves_nothing_and_keeps_the_old_one(store: FolderStore) -> None:
    store.put(KEY, [b"old"])

    def breaks() -> object:
        yield b"new"
        raise ConnectionError("client went away")

    with pytest.raises(ConnectionError, match="client went away"):
        store.put(KEY, breaks())  # type: ignore[arg-type]
    assert b"".join(store.open_range(KEY)) == b"old"
    assert files(store) == [KEY]


def test_a_full_disk_is_named_and_leaves_nothing(store: FolderStore) -> None:
    # A file size limit makes write() fail as a full disk does, without needing one.
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            store.put(KEY, [b"x" * 600, b"x" * 600])
        except ArtifactStoreFullError as error:
            os._exit(0 if "no room left to store artifact 'datasets/d1" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert files(store) == []


def test_a_reader_survives_the_deletion(store: FolderStore) -> None:
    store.put(KEY, [b"still here"])
    chunks = store.open_range(KEY)
    assert store.delete(KEY) is True
    assert b"".join(chunks) == b"still here"
    assert store.delete(KEY) is False
    with pytest.raises(ArtifactNotFoundError, match="there is no artifact 'datasets/d1/corpus"):
        store.stat(KEY)


def test_verify_tells_damage(store: FolderStore) -> None:
    info = store.put(KEY, [b"abc"])
    store.verify(info)
    store.local_path(KEY).write_bytes(b"abd")
    with pytest.raises(ArtifactDamagedError, match=r"sha256 .* was recorded; its file was damaged"):
        store.verify(info)
    store.local_path(KEY).write_bytes(b"ab")
    with pytest.raises(ArtifactDamagedError, match="has 2 bytes where 3 bytes was recorded"):
        store.verify(info)


def test_a_folder_that_another_process_removes_meanwhile_is_removed(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("jobs/a/one.pt", [b"x"])
    rename = Path.rename

    def overtaken(folder: Path, target: Path) -> Path:
        rename(folder, target.with_name("other"))
        return rename(folder, target)

    monkeypatch.setattr(Path, "rename", overtaken)
    assert store.delete_prefix("jobs/a") == 0


@pytest.mark.parametrize(
    "key",
    ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/./b", ".incoming/x", "a/.hidden", "a\\b",
     "a\0b", "a b", "a\n", "x" * 201, "/".join(["x"] * 600)],
)  # fmt: skip
def test_keys_that_could_leave_or_hide_are_refused(store: FolderStore, key: str) -> None:
    with pytest.raises(InvalidKeyError, match="is refused"):
        store.local_path(key)


def test_a_link_out_of_the_store_is_refused(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (store.root / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(InvalidKeyError, match="leads out of the store's folder"):
        store.put("link/file", [b"x"])


def test_the_upload_of_a_killed_process_is_discarded_and_a_living_one_is_not(
    store: FolderStore,
) -> None:
    upload = store.writer(KEY)
    upload.write(b"x")
    child = os.fork()
    if child == 0:
        store.writer(KEY).write(b"y")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(files(store)) == 2
    assert store.discard_unfinished() == 0  # both are young
    assert store.discard_unfinished(older_than_seconds=-1) == 1
    assert upload.commit().size_bytes == 1
    assert files(store) == [KEY]


def test_bytes_that_change_have_another_version(store: FolderStore) -> None:
    store.put(KEY, [b"abc"])
    first = store.stat(KEY)
    assert store.stat(KEY) == first
    path = store.local_path(KEY)
    path.write_bytes(b"abd")
    assert store.stat(KEY).version != first.version


def test_new_folders_survive_a_power_cut_as_their_files_do(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, fsync = [], os.fsync

    def note(handle: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", note)
    store.put("jobs/a/b/x.bin", [b"x"])
    root = str(store.root)
    assert synced[1:] == [root, f"{root}/jobs", f"{root}/jobs/a", f"{root}/jobs/a/b"]
    assert "/.incoming/" in synced[0]  # the file, before it gets its name


TOGETHER = {"journal/jobs/s/a.1.json": b'{"a":1}', "journal/jobs/s/b.1.json": b'{"b":2}'}


def lines(store: FolderStore, key: str) -> list[bytes]:
    return b"".join(store.open_range(key)).split(b"\n")


def test_documents_that_are_stored_together_cost_one_sync_of_a_file_and_one_of_their_folder(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store.root / "journal" / "jobs" / "s").mkdir(parents=True)
    synced, fsync = [], os.fsync

    def note(handle: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", note)
    store.put_together(TOGETHER)
    assert "/.incoming/" in synced[0]  # before a name of the journal refers to it
    assert synced[1:] == [f"{store.root}/journal/jobs/s"]
    assert all(document in lines(store, key) for key, document in TOGETHER.items())
    assert list((store.root / ".incoming").iterdir()) == []


@pytest.mark.parametrize("error", [errno.EPERM, errno.EMLINK, errno.ENOTSUP])
def test_documents_have_files_of_their_own_where_there_are_no_hard_links(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "link", refuse)
    store.put_together(TOGETHER)
    assert {key: lines(store, key) for key in TOGETHER} == {
        key: [document] for key, document in TOGETHER.items()
    }


def test_keys_are_built_from_ids_and_odd_names() -> None:
    assert attempt_prefix("j-1", 2, "c0ffee") == "jobs/j-1/attempts/2-c0ffee"
    assert dataset_key("d1", "../my corpus (1).txt") == "datasets/d1/_my_corpus_1_.txt"
    assert safe_segment("...") == "unnamed"
    with pytest.raises(InvalidKeyError):
        attempt_prefix("../j", 1, "c")


def test_the_folder_store_is_an_artifact_store(store: FolderStore) -> None:
    typed: ArtifactStore = store
    assert typed.local_path(KEY) == store.root / KEY


def test_keys_name_all_artifacts_and_hidden_files_are_discarded(store: FolderStore) -> None:
    for key in ("jobs/a/2.pt", "jobs/a/1.pt", "jobs/b/1.pt", "jobs/a/deep/x.json"):
        store.put(key, [b"x"])
    hidden = store.root / "jobs" / "a" / ".3.pt.tmp"
    hidden.write_bytes(b"half")
    assert store.keys("jobs/a") == ["jobs/a/1.pt", "jobs/a/2.pt", "jobs/a/deep/x.json"]
    assert store.keys("jobs/none") == []
    assert (store.discard_hidden("jobs/b"), store.discard_hidden("jobs/a")) == (0, 1)
    assert not hidden.exists()
    assert len(store.keys("jobs")) == 4
    with pytest.raises(InvalidKeyError):
        store.keys("../outside")


def test_a_checkpoint_is_deleted_manifest_first() -> None:
    assert checkpoint_keys("a/step_5.pt") == ("a/step_5.json", "a/step_5.pt")
