"""Schemathesis asks whatever the OpenAPI document allows and forbids: every check on, no failure."""

import os
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
import wire
from forked import Forks

FORKS = Forks("schemathesis.cli", "schemathesis.graphql", "schemathesis.specs.openapi.schemas")
SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"
BOUNDS = ["--max-examples=50", "--seed=1", "--generation-deterministic", "--no-color"]


@pytest.mark.parametrize("key", [wire.KEY, None], ids=["with the key", "without a key"])
def test_schemathesis_finds_no_failure(start_server, tmp_path, key):
    assert SCHEMATHESIS.exists(), "pip install -r requirements-dev.txt"
    server = start_server(DEBUG="true")
    command = [SCHEMATHESIS, "run", f"{server.url}/openapi.json", "--checks=all", *BOUNDS]
    command += ["-H", f"X-API-Key: {key}"] if key else []
    # what hypothesis knows of Unicode takes a second to find out, and lies in the repo already
    environ = os.environ | {"HYPOTHESIS_STORAGE_DIRECTORY": str(wire.ROOT / ".hypothesis")}
    run = FORKS.run(*command, env=environ, cwd=tmp_path, timeout=170)
    assert run.returncode == 0, (run.stdout + run.stderr).decode()[-6000:]
    asked = Counter(re.findall(r" (GET|POST) (/\w+)\S* (\d{3}) ", server.log))
    assert asked["GET", "/health", "200"] >= 3 and asked["GET", "/results", "200"] >= 3, asked
    if key:  # what the schema allows was really accepted, and what it refuses was really refused
        assert asked["POST", "/classify", "200"] >= 3, asked
        assert asked["POST", "/classify", "422"] >= 10, asked
    else:
        assert asked["POST", "/classify", "401"] >= 10, asked
        assert asked["POST", "/classify", "200"] == 0, asked
    assert not re.search(r" 5\d\d \d", server.log)
