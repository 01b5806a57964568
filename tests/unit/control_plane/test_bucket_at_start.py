"""What the log says at the start of a bucket that cannot be used as it should."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from bucket_server import BUCKET, OLD_SERVICE, BucketServer
from structlog.testing import capture_logs

from control_plane.settings import ControlPlaneSettings
from control_plane.state import ServiceState


@pytest.fixture(scope="module")
def bucket() -> Iterator[BucketServer]:
    server = BucketServer().start()
    yield server
    server.stop()


@pytest.mark.parametrize(
    ("root", "said"),
    [
        (f"s3://{BUCKET}/sound", ""),
        ("s3://no-such-bucket", "there is no such bucket; create it, or correct --artifact-root"),
        (f"s3://{BUCKET}/refuses-ExpiredToken", "the credentials have expired; name valid ones by"),
        (f"s3://{BUCKET}/refuses-RequestTimeTooSkewed", "the clock of this machine is wrong; set"),
        (f"s3://{BUCKET}/{OLD_SERVICE}", "knows no conditional writes: of two processes that"),
    ],
)
async def test_the_log_names_the_fault_and_the_remedy(
    bucket: BucketServer,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    root: str,
    said: str,
) -> None:
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    state = ServiceState(ControlPlaneSettings(redis_url=redis_url, artifact_root=root))
    with capture_logs() as logged:
        await state.look_for_artifacts()
    usable = bool(state.artifacts.expected)
    await state.close()
    lines = [f"{line['event']} {line.get('why', '')}" for line in logged]
    assert [root in line and said in line for line in lines] == [True] * bool(said)
    assert usable is (said == "" or OLD_SERVICE in root)
    assert "hush" not in str(lines)
