"""An application that says in JSON which request it got, on deploy/serving.py as server.py is; no test of its
own. AT_ONCE=true answers in the event loop."""

import gc
import json
import os
import sys

from deploy import journal, serving, systemd


def application(environ, start_response):
    marks = sorted(value for name, value in environ.items() if name.startswith("HTTP_X_MARK"))
    said = {
        "path": environ["PATH_INFO"],
        "marks": marks,
        "body": environ["wsgi.input"].read().decode("latin-1"),
        "length": int(environ.get("CONTENT_LENGTH") or 0),
        "collector": [gc.get_freeze_count(), gc.get_threshold()[0]],
    }
    body = json.dumps(said).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


if __name__ == "__main__":
    journal.start()
    serving.serve(application, systemd.listen("127.0.0.1", 0), at_once=os.environ["AT_ONCE"] == "true")
    sys.exit(0)
