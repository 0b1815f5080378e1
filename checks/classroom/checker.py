"""What `check` of judging.py asks where a lab runs in a sandbox: there is no checks/ in there."""

import contextlib
import dataclasses
import http.server
import json
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from checks.classroom.limits import SandboxError
from checks.kit import grading

SECONDS = 3600  # longer than any labs take; who grades ends it
START_SECONDS = 60

LARGEST = 100_000  # bytes of a question
MOST_AT_ONCE = 64  # threads, those of the grader included


class Checker:
    """Runs checks for the kernels, and answers with their results as JSON; at 127.0.0.1, while `with` lasts.

    POST {"names": [...], "url", "key", "options": {"seeds": [...], "limit", "debug"}} gets a list: for every
    name a result, or what is wrong with it. POST {"milestone", "url", "key"} gets the names of the checks
    that make sense. What it asks is a server on this machine; it reads no file that anybody names.
    """

    most = 2000  # checks, all in all

    def __init__(self):
        self.lock, self.asked = threading.Lock(), 0  # one at a time: a check seeds the random module
        checker = self

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = 10

            def do_POST(self):
                try:
                    length = int(self.headers.get("Content-Length") or 0)
                    if not 0 <= length <= LARGEST:  # read(-1) would read all that there is
                        raise ValueError(f"a body of {length} bytes; {LARGEST} are the most")
                    answer = checker.answer(json.loads(self.rfile.read(length)))
                except (ValueError, TypeError, KeyError, LookupError, RecursionError) as problem:
                    answer = f"the checker does not understand this: {problem!r:.200}"
                body = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False  # a check of a server that hangs may last longer than we do

            def process_request(self, request, client_address):
                if threading.active_count() > MOST_AT_ONCE:  # each of them is a thread out here
                    return self.shutdown_request(request)
                return super().process_request(request, client_address)

            def handle_error(self, request, client_address):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *problem):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, asked: dict) -> list:
        url, key = asked["url"], asked["key"]
        if not re.fullmatch(r"http://127\.0\.0\.1:\d{1,5}", url) or not isinstance(key, str):
            raise ValueError("url has to be http://127.0.0.1:PORT, and key a text")
        if "milestone" in asked:
            given = grading.given_for(url=url, key=key)
            with self.lock:
                return [
                    check.name
                    for check in grading.planned(grading.all_checks(), given, (str(asked["milestone"]),))
                ]
        options = {name: asked["options"][name] for name in ("limit", "debug") if name in asked["options"]}
        results = []
        for name, seed in zip(map(str, asked["names"]), map(int, asked["options"]["seeds"])):
            with self.lock:
                self.asked += 1
                if self.asked > self.most:
                    raise ValueError("too many checks")
                try:
                    result = grading.run(name, url, key, seed=seed, **options)
                    results.append(dataclasses.asdict(result))
                except (LookupError, ValueError) as problem:
                    results.append(str(problem.args[0]))
        return results


@contextlib.contextmanager
def checking(make_sandbox, instructor: Path) -> Iterator[str]:
    """The address of a Checker in a sandbox of its own: what talks to kernels is no root, and has its limits.

    instructor: the whole kit. make_sandbox: as `rerun` of notebooks.py takes it. Raises SandboxError.
    """
    with tempfile.TemporaryDirectory(prefix="pixelwise-checker-") as nothing:
        Path(nothing).chmod(0o755)  # its user has to read in it
        kit = [instructor / "checks", instructor / "schemas"]
        with make_sandbox(Path(nothing), readable=kit, seconds=SECONDS) as sandbox:
            env = {"PYTHONPATH": str(instructor), "PYTHONDONTWRITEBYTECODE": "1"}
            running = sandbox.start([sys.executable, "-m", __name__], env)
            for _ in range(START_SECONDS * 20):
                if running.wait(0.05) or "\n" in running.output:
                    break
            if running.ended or "\n" not in running.output:
                raise SandboxError(f"the checker does not start: {running.output[-200:]!r}")
            yield running.output.splitlines()[0]


if __name__ == "__main__":
    with Checker() as started:
        print(started.url, flush=True)
        threading.Event().wait()
