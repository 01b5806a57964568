"""The order of a recovery's steps, and when nothing may be done."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from app.transformer.errors import ConfigError
from artifact_store import ArtifactStore, GuardedStore, JournalFiles
from job_store.connection import Connection
from job_store.restoring import DONE, UNDER_WAY, Holdings, RestoreStore
from recovery import manifests
from recovery.journal import StoredRecord, read_journal
from recovery.report import Finding, Report
from recovery.restoration import JobRestorer


class RecoveryRefusedError(Exception):
    """Nothing was done; the text says why, and what to do."""


class NotEmptyError(RecoveryRefusedError):
    """Redis holds records."""


def recover(connection: Connection, store: ArtifactStore) -> Report:
    """Enter all records of the artifact store into an empty Redis, and say what came of each.

    Begins where an earlier call was cut short; after one that ended it does nothing.

    Raises:
        RecoveryRefusedError: Nothing was changed.
        JournalVersionError: Nothing was changed: the journal is of another release.
        StoreUnavailableError: Redis does not answer; call again.
    """
    store_id = _identity(store)
    records = RestoreStore(connection)
    held = records.holdings()
    if held.recovery_is(DONE, store_id) and held.artifact_store == store_id:
        return Report(store_id, store.place, already=True)
    if not held.recovery_is(UNDER_WAY, store_id):
        _refuse_records(held, store_id)
    journal = list(read_journal(store, store_id))  # all of it, before anything is written
    artifacts = GuardedStore(store, store_id)
    records.begin(store_id)
    restorer = JobRestorer(connection, artifacts)
    findings = [_restore(each, records, restorer, artifacts) for each in journal]
    findings += _restore_unjournaled(restorer, artifacts, {each.id for each in journal})
    records.end(store_id, JournalFiles(artifacts).mark())
    return Report(store_id, store.place, findings=tuple(findings))


def _identity(store: ArtifactStore) -> str:
    store_id = store.identity()
    if not store_id and store.names("jobs"):  # of a release that knew no ids
        return store.make_identity(f"store_{secrets.token_hex(8)}")
    if not store_id:
        raise RecoveryRefusedError(
            f"{store.place} is not the artifact store of a service, for it has neither a file "
            ".store-id nor jobs; name the right one"
        )
    return store_id


def _refuse_records(held: Holdings, store_id: str) -> None:
    if held.artifact_store not in ("", store_id):
        raise NotEmptyError(
            f"Redis belongs to the artifact store {held.artifact_store}, and this one is "
            f"{store_id}; name the store that belongs to it, or an empty Redis"
        )
    if not held.are_none:
        raise NotEmptyError(
            f"Redis is not empty: it holds {held}; a recovery needs an empty one, for it cannot "
            "know which of two records is newer; if Redis holds what you want, nothing is to be "
            "recovered; if it holds an older state (a restored backup), the journal is newer: keep "
            "a copy of its append-only file, empty it, and recover again"
        )


def _restore(
    record: StoredRecord, records: RestoreStore, restorer: JobRestorer, artifacts: GuardedStore
) -> Finding:
    if record.entry is None:
        return Finding(record.kind, record.id, state="left out", remarks=record.remarks)
    if record.kind == "job":
        return restorer.restore(record.entry, record.remarks)
    fields, remarks = record.fields, record.remarks
    if record.kind == "dataset" and not artifacts.holds(
        fields["artifact"], int(fields["size_bytes"])
    ):
        remarks = (*remarks, "its file is missing")
    records.restore_item(record.kind, record.id, fields)
    return Finding(record.kind, record.id, fields["name"], "recovered", remarks=remarks)


def _restore_unjournaled(
    restorer: JobRestorer, artifacts: GuardedStore, journaled: set[str]
) -> Iterator[Finding]:
    """Enter jobs that have files and no journal, unless the journal is known to be complete."""
    is_complete = JournalFiles(artifacts).is_complete()
    for job_id in artifacts.names("jobs"):
        if job_id in journaled:
            continue
        if is_complete:
            why = (
                "it has files and no journal: it was deleted, or its start was never "
                f"acknowledged; delete the folder {artifacts.place}/jobs/{job_id} yourself"
            )
            yield Finding("job", job_id, state="left out", remarks=(why,))
        else:
            yield _restore_from_files(restorer, artifacts, job_id)


def _restore_from_files(restorer: JobRestorer, artifacts: GuardedStore, job_id: str) -> Finding:
    try:
        entry = manifests.read_job(artifacts, job_id)
    except (ConfigError, ValueError) as error:
        return Finding("job", job_id, state="left out", remarks=(str(error),))
    if entry is None:
        why = "it has no journal, and no configuration among its files"
        return Finding("job", job_id, state="left out", remarks=(why,))
    return restorer.restore(entry, (manifests.REMARK,))
