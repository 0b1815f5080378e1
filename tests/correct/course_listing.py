"""What a student has who followed the course's text to the letter: bench/peer.py, and nothing more.

It must get every required point of m1 to m3.
"""

import os

import serve
from contract import COUNT, KEY, SECONDS

os.environ |= {"SECRET_API_KEY": KEY, "RATE_LIMIT": f"{COUNT} per {SECONDS} second"}

from bench.peer import app  # noqa: E402 (it reads the environment)

if __name__ == "__main__":
    serve.forever(app)
