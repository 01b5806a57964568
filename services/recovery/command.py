"""The command: `python -P -m control_plane --recover`, which `training-engine recover` runs too."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from artifact_store import ArtifactError, open_store
from job_store.connection import Connection
from job_store.errors import JobStoreError
from recovery.journal import JournalVersionError
from recovery.recovery import NotEmptyError, RecoveryRefusedError, recover
from service_runtime.process import fail

NOT_EMPTY = 3
"""Exit code where Redis holds records, so that nothing was done."""

_PROGRAM = "recover"
_RETRIES = 3


def run(redis_url: str, artifact_root: Path | str, *, as_json: bool) -> int:
    """Recover, print the report to standard output, and return the exit code.

    0: recovered, now or before. 1: nothing was changed, or the recovery was cut short and may be
    called again. 3: Redis is not empty.
    """
    if isinstance(artifact_root, Path) and not artifact_root.is_dir():
        return fail(_PROGRAM, f"{artifact_root} is not a folder; name the artifact store's")
    connection = Connection.open(redis_url, retries=_RETRIES)
    try:
        with TemporaryDirectory() as scratch:
            report = recover(connection, open_store(artifact_root, Path(scratch)))
    except (RecoveryRefusedError, JournalVersionError) as error:
        fail(_PROGRAM, str(error))
        return NOT_EMPTY if isinstance(error, NotEmptyError) else 1
    except (JobStoreError, ArtifactError, OSError) as error:
        return fail(_PROGRAM, f"{error}; nothing is lost: recover again")
    finally:
        connection.close()
    print(report.as_json() if as_json else report.as_text())
    sys.stdout.flush()
    return 0
