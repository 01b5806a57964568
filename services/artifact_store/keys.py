"""The names of artifacts: paths of letters and digits, valid on any disk and any object store."""

from __future__ import annotations

import re

from artifact_store.errors import InvalidKeyError

MAX_KEY = 1000
"""Characters in a key; object stores end at 1024 bytes."""

DATASETS_PREFIX = "datasets"
"""The prefix of every uploaded dataset's key."""

JOURNAL_PREFIX = "journal"
"""The prefix of every journal entry's key."""

MAX_SEGMENT = 200
"""Characters between two slashes; file systems end at 255 bytes, temporary suffixes included."""

_SEGMENT = re.compile(r"[A-Za-z0-9_=@+-][A-Za-z0-9_.=@+-]*")
_ODD = re.compile(r"[^A-Za-z0-9_.=@+-]+")


def check_key(key: str) -> str:
    """Return `key`.

    Raises:
        InvalidKeyError: It could lead out of the store, or name a hidden file.
    """
    if not key or len(key) > MAX_KEY:
        raise InvalidKeyError(key, f"a key has 1 to {MAX_KEY} characters")
    for segment in key.split("/"):
        if len(segment) > MAX_SEGMENT or not _SEGMENT.fullmatch(segment):
            rule = "each part between slashes has letters, digits and `_.=@+-`, no dot in front"
            raise InvalidKeyError(key, f"{rule}, and 1 to {MAX_SEGMENT} characters")
    return key


def safe_segment(name: str) -> str:
    """Return a user's file name as one part of a key.

    Odd characters become `_`; the ending stays.
    """
    return _ODD.sub("_", name).lstrip(".")[-MAX_SEGMENT:].lstrip(".") or "unnamed"


def job_prefix(job_id: str) -> str:
    """Return the prefix of everything that the job's attempts wrote."""
    return check_key(f"jobs/{job_id}")


def attempt_prefix(job_id: str, attempt: int, claim_id: str) -> str:
    """Return the one place where this claim of this attempt may write."""
    return check_key(f"jobs/{job_id}/attempts/{attempt}-{claim_id}")


def journal_prefix(kind: str, id: str) -> str:
    """Return the prefix of a record's journal entries; `kind` is job, config or dataset.

    Records of the same second share it, so that those which are stored together are synced together
    (the first 8 digits of an id count seconds of 1,024 ms); no prefix gets very many.
    """
    return check_key(f"{JOURNAL_PREFIX}/{kind}s/{id.rpartition('_')[2][:8]}")


def dataset_key(dataset_id: str, name: str) -> str:
    """Return the key of an uploaded dataset; `name` keeps its ending, which tells its format."""
    return check_key(f"{DATASETS_PREFIX}/{dataset_id}/{safe_segment(name)}")


def checkpoint_keys(checkpoint: str) -> tuple[str, str]:
    """Return the keys of a checkpoint in the order of deletion: its manifest, then its file.

    Without its manifest a checkpoint does not exist, so it is never half there.
    """
    return check_key(checkpoint.removesuffix(".pt") + ".json"), check_key(checkpoint)
