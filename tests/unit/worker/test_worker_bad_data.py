"""Data that no attempt can train on ends a job at once, with what is wrong and where."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tokenizers
from training_site import Site

from job_store.records import Execution, JobRecord, JobStatus, Phase

END = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED)


def archive(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "archive.npy", "w") as file:
        file.writestr("a", b"b")
    data = (folder / "archive.npy").read_bytes()
    (folder / "archive.npy").write_bytes(data[:20])
    return folder / "archive.npy"


def nested(folder: Path) -> Path:
    (folder / "nested.jsonl").write_text('{"text": "a"}\n' + "[" * 20_000)
    return folder / "nested.jsonl"


def null_id(folder: Path) -> Path:
    pq.write_table(pa.table({"input_ids": [[1, 2], [3, None]]}), folder / "null.parquet")
    return folder / "null.parquet"


def lone_surrogate(folder: Path) -> Path:
    (folder / "lone.jsonl").write_text(r'{"text": "a \udc00"}')
    return folder / "lone.jsonl"


def only_loops(folder: Path) -> Path:
    (folder / "loops").mkdir()
    os.symlink("a.txt", folder / "loops" / "a.txt")
    return folder / "loops"


def failed_at_once(site: Site, job_id: str, reason: str = "INVALID_DATA") -> str:
    record: JobRecord = site.wait(job_id, *END)
    assert (record.status, record.attempt) == (JobStatus.FAILED, 1), site.logs()
    assert record.error is not None
    assert record.error.reason == reason
    return record.error.message


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (archive, "cannot be read as .npy"),
        (nested, "line 2 of"),
        (null_id, "in row 2 of"),
        (lone_surrogate, "line 1 of"),
        (only_loops, "is a folder without usable files"),
    ],
)
def test_bad_data_is_not_tried_again(site: Site, tmp_path: Path, make: Any, said: str) -> None:
    site.worker()
    assert said in failed_at_once(site, site.submit(dataset_path=str(make(tmp_path))))


def test_a_tokenizer_that_does_not_come_to_an_end(site: Site, tmp_path: Path) -> None:
    """This one would: a thousand passes over the text take long, but not for ever.

    The timeout is longer than any other silence of a start on a busy machine.
    """
    site.worker()
    slow = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0, " ": 1}, []))
    slow.normalizer = tokenizers.normalizers.Sequence([tokenizers.normalizers.NFKD()] * 1000)
    slow.save(str(tmp_path / "tokenizer.json"))
    data = tmp_path / "long.jsonl"
    data.write_text('{"text": "a"}\n' + json.dumps({"text": "a " * 500_000}))
    job_id = site.submit(
        Execution(stall_timeout_seconds=4.0),
        dataset_path=str(data),
        tokenizer=str(tmp_path / "tokenizer.json"),
    )
    message = failed_at_once(site, job_id)
    assert message.startswith(f"the tokenizer worked for 4 s on line 2 of {str(data)!r} without")
    assert "`execution.stall_timeout_seconds`" in message
    shown = site.job(job_id)
    assert (shown.phase, shown.phase_progress.total) == (Phase.TOKENIZING, data.stat().st_size)


def test_data_that_became_a_link_to_the_outside_is_not_read(site: Site, tmp_path: Path) -> None:
    """The control plane looked when the job started; the worker looks when it opens the file."""
    site.worker()
    root, secret = tmp_path / "root", tmp_path / "secret.txt"
    root.mkdir()
    secret.write_text(site.text.read_text())
    (root / "sound.txt").write_text(site.text.read_text())
    (root / "text.txt").symlink_to(secret)
    roots = (str(root),)
    job_id = site.submit(dataset_path=str(root / "text.txt"), data_roots=roots)
    message = failed_at_once(site, job_id, "PATH_NOT_ALLOWED")
    assert f"leads to {str(secret)!r}, which is not under a folder" in message
    job_id = site.submit(dataset_path=str(root / "sound.txt"), data_roots=roots, max_steps=2)
    assert site.wait(job_id, *END).status is JobStatus.SUCCEEDED, site.logs()
