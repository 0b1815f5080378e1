"""What one request costs server.py at most: processor time over a corpus of nasty requests of up to 64 KiB.

    .venv/bin/python bench/worst.py [--number 2000] [--seed 0]

The corpus is made anew from the seed: JSON that is wide, deep, broken, or nearly right, and ways to send it
that are much work to read. Each request goes to a server process five times, and the median counts. Prints
the most expensive ones. Exit status: 0 none costs over 25 ms, 1 one does.
"""

import argparse
import json
import random
import re
import secrets
import socket
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 25  # ms: what the contract allows a request
LARGEST = 64 * 1024  # bytes of a body
KEY = secrets.token_hex(16)
ITEMS = ["0", "255", "1.0", "0.1", "1e300", "-1", "true", "null", '""', '"["', "[]", "{}", "[0]", '{"a":1}']
ITEMS += [
    '{"a":1,"a":2}',
    "0." + "3" * 40,
    '"\\u0041"',
    '"é"',
    "[[[[]]]]",
    "[" * 31 + "]" * 31,
    '{"a":{"b":{}}}',
]
DAMAGES = [b"", b"]", b"}", b",", b'"', b"\\", b"\xff", b"\0", b"\xf0\x9f\x98\x80", b"[" * 40]


def filled(item: str, head: str, tail: str, size: int) -> bytes:
    """A list of as many of these items as the size allows."""
    count = max(1, (size - len(head) - len(tail)) // (len(item.encode()) + 1))
    return (head + ",".join([item] * count) + tail).encode()


def body(chance: random.Random) -> bytes:
    """A nasty body."""
    size = chance.choice([LARGEST, LARGEST, chance.randrange(1, LARGEST)])
    match chance.randrange(10):
        case 0 | 1:
            text = filled(chance.choice(ITEMS), '{"pixels":[[', "]]}", size)
        case 2:
            text = filled(chance.choice(ITEMS), '{"pixels":[', "]}", size)
        case 3:
            text = filled(chance.choice(ITEMS), *chance.choice([("[", "]"), ('{"x":[', "]}")]), size)
        case 4:  # names, all different or not
            names = (chance.choice([f"{n:x}", f"\\u{256 + n % 9000:04x}", "a"]) for n in range(size // 9))
            text = ("{" + ",".join(f'"{name}":{chance.choice(ITEMS[:6])}' for name in names) + "}").encode()
        case 5:
            text = bytes(chance.choice(b'[]{}",:\\0 ') for _ in range(size))
        case 6:
            text = chance.choice([b"[", b"{", b'"', b'{"a":', b"[]", b"1", b" ", b'"\\', b"\\"]) * size
        case 7:  # 28 rows of 28 things that are no pixels
            thing = filled(chance.choice(ITEMS), "[", "]", size // 784).decode()
            text = json.dumps({"pixels": [[thing] * 28] * 28}).replace('"[', "[").replace(']"', "]").encode()
        case 8:  # a picture, and something beside it
            picture = json.dumps({"pixels": [[chance.randrange(300)] * 28] * 28})[1:].encode()
            text = filled(chance.choice(ITEMS), '{"x":[', "],", max(1, size - len(picture))) + picture
        case 9:
            text = ('{"pixels":"' + chance.choice(["[", "\\\\", "\\u0041", "é", "😀", "a"]) * size).encode()
            text = text[: size - 2] + b'"}'
    if chance.random() < 0.2:
        place = chance.randrange(len(text) + 1)
        text = text[:place] + chance.choice(DAMAGES) + text[place:]
    return text[:LARGEST]


def request(chance: random.Random) -> bytes:
    """A nasty body in one of the ways in which a body can be sent."""
    sent, headers = body(chance), f"X-API-Key: {KEY}\r\nContent-Type: application/json\r\n".encode()
    match chance.randrange(12):
        case 0:
            size = chance.choice([16, 64, 1024])
            pieces = [sent[at : at + size] for at in range(0, len(sent), size)]
            sent = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
            headers += b"Transfer-Encoding: chunked\r\n"
        case 1:
            headers += b"".join(b"a%d:\r\n" % number for number in range(chance.randrange(96)))
            headers += b"Content-Length: %d\r\n" % len(sent)
        case _:
            headers += b"Content-Length: %d\r\n" % len(sent)
    return b"POST /classify HTTP/1.1\r\n" + headers + b"Connection: close\r\n\r\n" + sent


def corpus(number: int, seed: int = 0) -> list[bytes]:
    chance = random.Random(seed)
    return [request(chance) for _ in range(number)]


def usual() -> bytes:
    """The request of a client that means well."""
    sent = (ROOT / "models" / "sample.json").read_bytes()
    head = f"X-API-Key: {KEY}\r\nContent-Type: application/json\r\nContent-Length: {len(sent)}\r\n"
    return b"POST /classify HTTP/1.1\r\n" + head.encode() + b"Connection: close\r\n\r\n" + sent


class Server:
    """server.py as a process of its own, whose time on a processor can be read."""

    def __init__(self):
        environ = {
            "SECRET_API_KEY": KEY,
            "PORT": "0",
            "HOST": "127.0.0.1",
            "RATE_LIMIT": "off",
            "DEBUG": "false",
        }
        self.process = subprocess.Popen(
            [sys.executable, ROOT / "server.py"], env=environ, stderr=subprocess.PIPE, text=True
        )
        self.port = int(re.search(r":(\d+) with", self.process.stderr.readline())[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate()

    def milliseconds(self) -> float:
        """Of the main thread, which does all the work (proc(5), schedstat: nanoseconds)."""
        return int(Path(f"/proc/{self.process.pid}/schedstat").read_text().split()[0]) / 1e6

    def cost(self, data: bytes, times: int = 5) -> tuple[float, int]:
        """What a request costs, in ms, and the status of its answer."""
        costs = []
        for _ in range(times):
            before = self.milliseconds()
            with socket.create_connection(("127.0.0.1", self.port), 30) as client:
                client.sendall(data)
                answer = client.makefile("rb").read()
            costs.append(self.milliseconds() - before)
        return statistics.median(costs), int(answer.split()[1])


def main() -> int:
    parser = argparse.ArgumentParser(description="What one request costs server.py at most.")
    parser.add_argument("--number", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with Server() as server:
        plain = statistics.median(server.cost(usual())[0] for _ in range(20))
        costs = [(*server.cost(data), data) for data in corpus(options.number, options.seed)]
    costs.sort(key=lambda row: row[0], reverse=True)
    print(f"{options.number} requests, seed {options.seed}; a usual one costs {plain:.2f} ms\n")
    for cost, status, data in costs[:10]:
        head, _, sent = data.partition(b"\r\n\r\n")
        print(f"{cost:7.2f} ms  {status}  {len(head)} + {len(sent)} bytes  {sent[:40]!r}")
    print(
        f"\nmedian {statistics.median(cost for cost, *_ in costs):.2f} ms, most {costs[0][0]:.2f} ms, "
        f"allowed {LIMIT} ms"
    )
    return int(costs[0][0] > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
