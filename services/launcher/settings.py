"""Settings of the launcher."""

from __future__ import annotations

from pathlib import Path

from service_runtime.settings import ServiceSettings, read_secret_lines, setting


class LauncherSettings(ServiceSettings):
    """Start workers in Kubernetes for jobs over several nodes: a JobSet for each such job."""

    control_plane_address: str = setting("127.0.0.1:50051", "address of the control plane")
    token_file: Path | None = setting(
        None,
        "file whose first line is a token that the control plane lets in; read again in each round",
    )
    template: str = setting(
        "node-workers",
        "name of the JobSet that copies are made of; also what marks a copy as this launcher's",
    )
    kueue_queue: str = setting(
        "",
        "LocalQueue of Kueue in which each JobSet waits until there is room for all of its pods; "
        "empty where Kueue does not run: then one job after the other gets its pods",
    )
    kubernetes_url: str = setting(
        "", "address of the API server; empty takes that of the cluster this process runs in"
    )
    account_folder: Path = setting(
        Path("/var/run/secrets/kubernetes.io/serviceaccount"),
        "folder with token, ca.crt and namespace of the service account; read in each round",
    )
    round_seconds: float = setting(
        2.0, "time between two looks at jobs and JobSets", unit="seconds", gt=0
    )
    timeout_seconds: float = setting(10.0, "longest wait for one answer", unit="seconds", gt=0)

    def token(self) -> str | None:
        """Return the token for the control plane; None where none is configured.

        Raises:
            SettingsError: The file cannot be read, or is empty.
        """
        if self.token_file is None:
            return None
        return read_secret_lines(self.token_file, "token_file")[0]
