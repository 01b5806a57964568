"""Names of the keys that Python reads; `scripts/prelude.lua` builds the same ones."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys of one store, below its prefix.

    job:ID                        hash, the record            job:ID:events      stream
    job:ID:config                 string                      job:ID:attempts    hash n → JSON
    job:ID:latest                 hash metric → step, value   job:ID:schemas     hash columns → n
    job:ID:metrics:N              stream of attempt N         job:ID:logs:N      stream
    job:ID:archive:N              zset segment → last step    job:ID:samples:N   stream
    job:ID:places                 hash place → taker, count:place → times renewed
    job:ID:system                 list, samples of the trainer's processes
    job:ID:summary:N[:LEVEL]      open buckets; full ones     job:ID:checkpoint* registry
    jobs:{all,unsent,STATUS}      ids in order of creation    request:DIGEST     memo, 24 h
    jobs:name:NAME                ids of the jobs of a name
    jobs:tag:TAG                  ids of the jobs that have a tag
    jobs:delayed                  ids of jobs whose next attempt is not to begin at once
    jobs:alerting                 ids of jobs with alerts that may have to be sent
    jobs:{sweep,sweeping}         ids of jobs whose files are to be looked through
    datasets:expected             ids whose files may be without a record → time
    notices                       stream, what the reconciler is to look at now
    token_key                     signs page tokens and cursors
    disk                          its writes are waited for, see `durability.py`
    artifact_store                id of the artifact store that the records belong to
    config:ID configs dataset:ID datasets worker:ID workers checkpoint:ID leader
    sweep:ID sweeps               a search, and its list      sweep:ID:children  hash n → job
    sweeps:open                   ids of those that the control planes drive
    """

    prefix: str

    def job(self, job_id: str, *parts: str | int) -> str:
        """Return a key of one job."""
        return f"{self.prefix}job:" + ":".join([job_id, *map(str, parts)])

    def index(self, status: str) -> str:
        """Return the key of the ids of jobs in a state, or in `all` or `unsent`."""
        return f"{self.prefix}jobs:{status}"

    def item(self, kind: str, id: str) -> str:
        """Return the key of a config, dataset, worker or checkpoint."""
        return f"{self.prefix}{kind}:{id}"

    @property
    def notices(self) -> str:
        """Return the key of the stream of notices to the reconciler."""
        return f"{self.prefix}notices"

    @property
    def token_key(self) -> str:
        """Return the key of the secret that signs page tokens and cursors."""
        return f"{self.prefix}token_key"

    def items(self, kind: str) -> str:
        """Return the key of the list of all items of a kind."""
        return f"{self.prefix}{kind}s"
