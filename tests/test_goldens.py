"""The same request gets the same bytes on every processor, BLAS kernel and Python version.
 tests/goldens.json holds some 200 answers (status line, headers, body); `python tests/test_goldens.py` stores
them anew, to be read in the diff. What changes from answer to answer (Date, X-Request-ID, the seconds of a
window) is masked, and nothing else.
"""

import json
import os
import random
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import wire
from test_wire import LEGAL, NOT_JSON, REFUSED

STORED = Path(__file__).with_name("goldens.json")
KERNELS = {  # OPENBLAS_CORETYPE: what the processor must know for it
    "Prescott": {"pni"},
    "Nehalem": {"sse4_2"},
    "Sandybridge": {"avx"},
    "Haswell": {"avx2", "fma"},
    "Zen": {"avx2", "fma"},
    "SkylakeX": {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
}
ARCHITECTURES = {"Prescott": "Katmai", "Zen": "Haswell"}  # what threadpoolctl calls a kernel of another name
VOLATILE = [
    (r"(?mi)^(Date|X-Request-ID): .*$", r"\1: <volatile>"),
    (r";t=\d+", ";t=<seconds>"),
    (r"(?m)^Retry-After: \d+$", "Retry-After: <seconds>"),
    (r"try again in \d+ seconds", "try again in <seconds> seconds"),
]


def requests() -> dict[str, bytes]:
    """What is asked: the digits that ship, odd pictures, all bodies that the wire tests refuse, and plain
    paths."""
    with np.load(wire.ROOT / "models" / "samples.npz") as samples:
        pictures = {f"digit {number}": image.tolist() for number, image in enumerate(samples["images"][:60])}
    dice = random.Random(28)
    for number in range(20):
        ink = dice.random()
        pictures[f"noise {number}"] = [
            [dice.randrange(256) if dice.random() < ink else 0 for _ in range(28)] for _ in range(28)
        ]
    bodies = {name: wire.encoded({"pixels": rows}) for name, rows in pictures.items()}
    bodies |= LEGAL | NOT_JSON | {name: body for name, (body, *_) in REFUSED.items()}
    asked = {f"POST /classify: {name}": wire.classify_bytes(body) for name, body in bodies.items()}
    for method, path in (("GET", "/health"), ("HEAD", "/health"), ("GET", "/results"), ("GET", "/no")):
        asked[f"{method} {path}"] = wire.request_bytes(method, path)
    asked["DELETE /health"] = wire.request_bytes("DELETE", "/health")
    asked["no key"] = wire.classify_bytes(key=None)
    asked["a text"] = wire.classify_bytes(content_type="text/plain")
    asked["64 KiB and one byte"] = wire.classify_bytes(b" " * (64 * 1024 + 1))
    asked["no HTTP"] = b"what is this?\r\n\r\n"
    asked["another coding"] = wire.classify_bytes(headers=[("Content-Encoding", "gzip")])
    return asked


def answers(asked: dict[str, bytes], **settings) -> dict[str, list[str]]:
    """The lines of every answer of a server with these settings, with what is volatile masked."""
    server = wire.Process(**settings)
    try:
        return {name: exchange(server.address, data) for name, data in asked.items()}
    finally:
        server.stop()


def exchange(address, data: bytes) -> list[str]:
    """All bytes that come back for these, as lines."""
    with socket.create_connection(address, 10) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(65536), b"")).decode("latin-1")
    for pattern, mask in VOLATILE:
        answer = re.sub(pattern, mask, answer.replace("\r\n", "\n"))
    return answer.split("\n")


def all_answers(**settings) -> dict[str, list[str]]:
    limited = {f"limited {number}": wire.classify_bytes() for number in range(3)}
    return answers(requests(), **settings) | answers(limited, RATE_LIMIT="2/hour", **settings)


def kernels() -> list[str]:
    """Those that this processor can run; "" is its own choice."""
    known = set(re.search(r"(?m)^flags\s*: (.*)$", Path("/proc/cpuinfo").read_text())[1].split())
    return ["", *(kernel for kernel, needed in KERNELS.items() if needed <= known)]


@pytest.mark.parametrize("kernel", kernels())
def test_every_answer_is_the_stored_one(kernel):
    settings = {"OPENBLAS_CORETYPE": kernel, "command": [sys.executable]} if kernel else {}
    stored, found = json.loads(STORED.read_text(encoding="utf-8")), all_answers(**settings)
    assert len(stored) >= 200
    assert found.keys() == stored.keys()
    different = {name: (stored[name], found[name]) for name in stored if found[name] != stored[name]}
    assert not different


@pytest.mark.parametrize("kernel", kernels()[1:])
def test_the_kernel_is_the_one_that_was_asked_for(kernel):
    """Or the test above would compare a kernel with itself."""
    code = "import numpy, threadpoolctl; print(threadpoolctl.threadpool_info()[0]['architecture'])"
    environ = os.environ | {"OPENBLAS_CORETYPE": kernel}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == ARCHITECTURES.get(kernel, kernel)


if __name__ == "__main__":
    STORED.write_text(json.dumps(all_answers(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
