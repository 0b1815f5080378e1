"""The limit of the stack: Bottle on waitress, set up as in server.py, and a /classify that does nothing.

It reads the body and returns what stands in the environment's ANSWER: no key, no limiter, no check, no model,
no log. No classifier on this stack can be faster. `python bench/readonly.py PORT` serves on 127.0.0.1.
"""

import logging
import os
import re
import sys
from pathlib import Path

import waitress
from bottle import Bottle, request, response

ANSWER = os.environ["ANSWER"]
SERVER = (Path(__file__).resolve().parent.parent / "server.py").read_text(encoding="utf-8")
THREADS = int(re.search(r"\bthreads *= *(\d+)", SERVER, re.IGNORECASE)[1])  # so that both have as many
app = Bottle()


@app.post("/classify")
def classify():
    request.environ["wsgi.input"].read()
    response.content_type = "application/json"
    return ANSWER


if __name__ == "__main__":
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # as server.py does: no line a queued request
    options = {"threads": THREADS, "connection_limit": 256, "ident": None}
    waitress.serve(app, host="127.0.0.1", port=int(sys.argv[1]), **options)
