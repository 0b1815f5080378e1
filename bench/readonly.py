"""The limit of the stack: Bottle on waitress as it comes, and a /classify that does nothing.

It reads the body and returns what stands in the environment's ANSWER: no key, no limiter, no check, no model,
no log. `python bench/readonly.py PORT` serves on 127.0.0.1.
"""

import logging
import os
import sys

import waitress
from bottle import Bottle, request, response

ANSWER = os.environ["ANSWER"]
THREADS = 1  # more of them take the GIL from each other: fewer answers at 16 connections
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
