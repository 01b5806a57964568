"""What the services say of themselves is a command that can be typed."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("service", ["control_plane", "gateway", "training_worker"])
def test_usage_names_the_command(service: str) -> None:
    command = [sys.executable, "-P", "-m", service]
    helped = subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=60)
    assert helped.returncode == 0, helped.stderr
    assert helped.stdout.startswith(f"usage: python -P -m {service} [-h]")
    wrong = subprocess.run(
        [*command, "--metrics-port", "many"], capture_output=True, text=True, timeout=60
    )
    assert wrong.returncode == 2
    assert f"python -P -m {service}: error: --metrics-port: 'many' is not usable" in wrong.stderr
