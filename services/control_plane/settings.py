"""Settings of the control plane."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from artifact_store import ArtifactRoot
from service_runtime.settings import (
    ListenSettings,
    NameList,
    PathList,
    RedisSettings,
    ServiceSettings,
    setting,
)


class ControlPlaneSettings(ListenSettings, RedisSettings, ServiceSettings):
    """Serve the gRPC API of the training engine, and take care of jobs whose workers are lost."""

    port: int = setting(50051, "port to listen on; 0 for a free one", ge=0, le=65535)
    artifact_root: ArtifactRoot = setting(
        Path("./artifacts"),
        "folder of checkpoints and datasets, shared with the workers, or s3://BUCKET/PREFIX",
    )
    recover: bool = setting(
        False,
        "rebuild the records in an empty Redis from the artifact store, print what was found, end",
    )
    recovery_json: bool = setting(False, "print what --recover found as JSON")
    start_without_recovery: bool = setting(
        False,
        "use an artifact store that holds jobs with a Redis that knows none of them; the jobs stay "
        "in the store and are not shown",
    )
    series_folder: Path | None = setting(
        None,
        "folder of this process alone, for copies of metric histories by columns, up to 8 GiB, "
        "which curves of many jobs are drawn from; without it they are in a temporary folder",
    )
    data_root: PathList = setting([], "folder that jobs may read data and tokenizers from")
    roots_visible: bool = setting(
        True, "the data roots are the same files here and at the workers: refuse missing paths"
    )
    lease_seconds: float = setting(
        15.0, "a worker that renews nothing for so long is declared lost", unit="seconds", gt=0
    )
    reconcile_interval_seconds: float = setting(
        1.0, "time between two looks at running and waiting jobs", unit="seconds", gt=0
    )
    requeue_after_seconds: float = setting(
        10.0, "a waiting job whose message is seen in no queue for so long is queued again",
        unit="seconds", gt=0,
    )  # fmt: skip
    launched_nodes: bool = setting(
        False,
        "a job over several nodes waits for workers of its own, which a launcher starts for it "
        "(`python -P -m launcher`); off: any workers without a job train it",
    )
    stop_grace_seconds: float = setting(
        10.0,
        "past its stop or stall deadline a job is left to its worker for so long, then declared "
        "lost",
        unit="seconds",
        ge=0,
    )
    retry_pause_seconds: float = setting(
        30.0,
        "pause before an attempt that ended for a full or failing disk is tried again; it doubles "
        "with each failure in a row",
        unit="seconds",
        gt=0,
    )
    longest_retry_pause_seconds: float = setting(
        600.0, "longest of these pauses", unit="seconds", gt=0
    )
    sweep_after_seconds: float = setting(
        600.0,
        "files of deleted jobs, retired checkpoints and ended attempts are looked for after so "
        "long, should they still be there",
        unit="seconds",
        gt=0,
    )
    leader_ttl_seconds: float = setting(
        5.0, "how long the leading reconciler may be silent before another takes over",
        unit="seconds", gt=0,
    )  # fmt: skip
    max_message_bytes: int = setting(
        16 << 20, "largest message taken", unit="bytes", ge=2 << 20, le=1 << 30
    )
    max_dataset_bytes: int = setting(10 << 30, "largest dataset taken", unit="bytes", gt=0)
    presigned_seconds: float = setting(
        0.0,
        "where --artifact-root is a bucket, callers that can are sent there for a checkpoint's "
        "file, by an address that is valid for so long; 0: the service sends all bytes itself",
        unit="seconds",
        ge=0,
        le=604_800,
    )
    shutdown_grace_seconds: float = setting(
        5.0, "how long calls may go on after SIGTERM", unit="seconds", ge=0
    )
    watcher_patience_seconds: float = setting(
        60.0,
        "a stream of a job's events whose client leaves megabytes unread for so long is ended; the "
        "client continues from its last cursor",
        unit="seconds",
        gt=0,
    )
    generate_timeout_seconds: float = setting(
        30.0,
        "longest wait for a worker's first or next token, or its next sign of an evaluation",
        unit="seconds",
        gt=0,
    )
    evaluate_timeout_seconds: float = setting(
        3600.0, "longest evaluation of a checkpoint on data", unit="seconds", gt=0
    )
    webhook_url: SecretStr | None = setting(
        None,
        "http or https address that alerts are sent to, of all jobs that name none themselves",
    )
    webhook_host: NameList = setting(
        [],
        "HOST or HOST:PORT that a configuration's alert_webhook may name; the port is 443 where "
        "none is given; with none, no configuration may name any",
    )
    webhook_secrets: SecretStr | None = setting(
        None,
        "secrets that webhooks are signed with, separated by commas: whsec_ and 24 to 64 bytes in "
        "base64; several while receivers change from one to the next",
    )
    webhook_secrets_file: Path | None = setting(
        None, "file of such secrets, one on a line; added to --webhook-secrets"
    )
