"""Schemathesis asks whatever the OpenAPI document allows and forbids: every check on, no failure."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import wire

SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"
BOUNDS = ["--max-examples=50", "--seed=1", "--generation-deterministic", "--no-color"]


@pytest.mark.parametrize("key", [wire.KEY, None], ids=["with the key", "without a key"])
def test_schemathesis_finds_no_failure(start_server, tmp_path, key):
    assert SCHEMATHESIS.exists(), "pip install -r requirements-dev.txt"
    server = start_server(DEBUG="true")
    command = [SCHEMATHESIS, "run", f"{server.url}/openapi.json", "--checks=all", *BOUNDS]
    command += ["-H", f"X-API-Key: {key}"] if key else []
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=170)
    assert run.returncode == 0, (run.stdout + run.stderr)[-6000:]
    asked = Counter(re.findall(r" (GET|POST) (/\w+)\S* (\d{3}) ", server.log))
    assert asked["GET", "/health", "200"] >= 3 and asked["GET", "/results", "200"] >= 3, asked
    if key:  # what the schema allows was really accepted, and what it refuses was really refused
        assert asked["POST", "/classify", "200"] >= 3, asked
        assert asked["POST", "/classify", "422"] >= 10, asked
    else:
        assert asked["POST", "/classify", "401"] >= 10, asked
        assert asked["POST", "/classify", "200"] == 0, asked
    assert not re.search(r" 5\d\d \d", server.log)
