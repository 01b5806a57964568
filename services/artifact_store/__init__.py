"""Checkpoints and datasets as named, verified blobs.

In order of reading:

- `store`: what any artifact store can do.
- `keys`: the names of blobs: `jobs/{job_id}/attempts/{attempt}-{claim_id}/…`, `datasets/…`.
- `folder`: files in a folder.
- `object_store`, `object_writer`: objects in a bucket of S3, and an upload of one.
- `unfinished_uploads`: those that will never end.
- `bucket_errors`: what a bucket's refusals mean.
- `opening`: which of the two a setting names.
- `identity`: a store with an id, so that an empty mount point is not taken for it.
- `journal`: copies of the service's records, for the loss of Redis.
- `errors`: what can go wrong.
"""

from artifact_store.errors import (
    ArtifactDamagedError,
    ArtifactError,
    ArtifactNotFoundError,
    ArtifactStoreAwayError,
    ArtifactStoreFullError,
    ArtifactTooLargeError,
    InvalidKeyError,
    OffsetOutOfRangeError,
    RecordsLostError,
    naming,
)
from artifact_store.folder import FolderStore, make_folder
from artifact_store.identity import GuardedStore, IdentityRecords
from artifact_store.journal import FoundEntry, JournalFiles
from artifact_store.keys import (
    DATASETS_PREFIX,
    JOURNAL_PREFIX,
    attempt_prefix,
    check_key,
    checkpoint_keys,
    dataset_key,
    job_prefix,
    journal_prefix,
    safe_segment,
)
from artifact_store.opening import ArtifactRoot, artifact_root, open_store
from artifact_store.store import ArtifactInfo, ArtifactStat, ArtifactStore, ArtifactWriter

__all__ = [
    "DATASETS_PREFIX",
    "JOURNAL_PREFIX",
    "ArtifactDamagedError",
    "ArtifactError",
    "ArtifactInfo",
    "ArtifactNotFoundError",
    "ArtifactRoot",
    "ArtifactStat",
    "ArtifactStore",
    "ArtifactStoreAwayError",
    "ArtifactStoreFullError",
    "ArtifactTooLargeError",
    "ArtifactWriter",
    "FolderStore",
    "FoundEntry",
    "GuardedStore",
    "IdentityRecords",
    "InvalidKeyError",
    "JournalFiles",
    "OffsetOutOfRangeError",
    "RecordsLostError",
    "artifact_root",
    "attempt_prefix",
    "check_key",
    "checkpoint_keys",
    "dataset_key",
    "job_prefix",
    "journal_prefix",
    "make_folder",
    "naming",
    "open_store",
    "safe_segment",
]
