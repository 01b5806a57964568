"""`training-engine recover` on the data folder of a stack."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from running_stack import clean_environment

from artifact_store import FolderStore, JournalFiles
from job_store.journal import JournalEntry


def recover(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "training_engine", "recover", f"--data-dir={folder}", *flags],
        # The embedded server must start also where the locale is one that the machine lacks.
        env=clean_environment() | {"LC_ALL": "xx_XX.UTF-8"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_records_come_back_into_the_embedded_server(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "artifacts")
    refused = recover(tmp_path)
    assert (refused.returncode, "is not the artifact store" in refused.stderr) == (1, True)
    store_id = store.make_identity("store_of_this_test")
    config_id = "cfg_01m8hpc70mn4r9byqe95eev7hw"
    fields = {"v": "1", "id": config_id, "name": "base", "document": "{}", "created_at": "1000"}
    entry = {"v": "1", "kind": "config", "id": config_id, "revision": "1", "fields": fields}
    document = json.dumps(entry | {"store": store_id}).encode()
    JournalFiles(store).write(JournalEntry("config", config_id, 1, document, is_first=True))

    done = recover(tmp_path, "--json")

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [(row["id"], row["name"]) for row in report["findings"]] == [(config_id, "base")]
    again = recover(tmp_path)
    assert (again.returncode, "before: nothing to do" in again.stdout) == (0, True)
