"""Real processes, killed at random moments: a handful by `make test-slow`, hundreds by `benchmarks/killing.py`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

KILLING = Path(__file__).parents[2] / "benchmarks" / "killing.py"


@pytest.mark.skipif("RUBRIKA_SLOW" not in os.environ, reason="takes a minute: `make test-slow`")
def test_kills_lose_nothing_double_nothing_and_repeat_a_batch_at_most() -> None:
    command = [sys.executable, KILLING, "--kills", "3", "--products", "300", "--seed", "0"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr + done.stdout
    found = json.loads(done.stdout)
    assert found["kills"] == 3
    harm = ("lost", "surplus", "doubled", "payloads", "vectors", "results", "checks", "repeated_beyond")
    assert not any(found[name] for name in harm)
