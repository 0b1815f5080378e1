"""The limits that README names are those of the code."""

import re
from pathlib import Path

import pytest

import server
from bench import worst
from deploy import connections, framing, journal, serving

README = " ".join((Path(server.ROOT) / "README.md").read_text().split())

LIMITS = [
    f"have {serving.PLACES // 4} of the {serving.PLACES} connections,",
    f"{connections.REQUEST_SECONDS} s to send a request ({connections.SCARCE_REQUEST} s) ",
    f"{connections.READ_SECONDS} s to read {connections.PROGRESS:,} bytes of an answer",
    f"of an answer ({connections.SCARCE_READ} s) ",
    f"nothing for {connections.IDLE_SECONDS} s between two requests ({connections.SCARCE_IDLE} s) ",
    f"{serving.LONGEST_HEAD // 1024} KiB of request line and headers, {framing.MOST_HEADERS} headers at most",
    f"a body of {server.MAX_BODY // 1024} KiB, in {framing.MOST_CHUNKS:,} chunks at most",
    f"after {serving.READ_ON * server.MAX_BODY // 1024:,} KiB the connection ends",
    f"nest {server.MAX_DEPTH} arrays and objects",
    f"more than {worst.LIMIT} ms of processor time",
    f"have {journal.LONGEST:,} characters at most",
]


@pytest.mark.parametrize("limit", LIMITS)
def test_readme_names_the_limit_that_holds(limit):
    assert limit in README


@pytest.mark.parametrize("status", ["408", "413", "422", "429", "431", "503"])
def test_readme_says_what_happens_beyond_a_limit(status):
    table = README.partition("| beyond it |")[2].partition("The seconds in brackets")[0]
    assert re.search(rf"\b{status}\b", table)
