"""Servers that cheat, or that are a trial to their clients."""

from hostile import DEAD, ENDLESS, LAZY, NO_MORE, ROOT, hostile


@hostile(DEAD, says="exited 0")
def exits_with_0_at_the_start(place):
    """ends as if all were well"""
    place.server("sys.exit(0)")


@hostile(NO_MORE)
def exits_with_0_in_the_middle(place):
    """ends as if all were well after a few requests"""
    place.server(
        kind="""
    def health(self, request):
        if self.requests > 5: os._exit(0)
        return super().health(request)"""
    )


@hostile(NO_MORE)
def os_exit_in_a_request(place):
    """ends at the first request that it does not like"""
    place.server(kind="    def wrong_verb(self, verbs): os._exit(0)")


STRICT = """
    def dispatch(self, request):
        if %s:
            return self.honest.dispatch(request)
        return super().dispatch(request)
    @property
    def honest(self):
        made = service.Service(self.key, self.limit, self.debug)
        made.windows, made.lock = self.windows, self.lock
        return made"""


@hostile(LAZY)
def knows_the_grader_by_its_user_agent(place):
    """is strict to whoever calls itself pytest, python or PixelWise, and lazy to curl"""
    agents = '("python", "pytest", "pixelwise", "checks")'
    agent = 'request.headers.get("user-agent", "python").lower()'
    place.server(kind=STRICT % f"any(one in {agent} for one in {agents})", lazy=True)


@hostile(LAZY)
def knows_the_grader_by_its_address(place):
    """is strict to 127.0.0.1, where it thinks that the grader is"""
    place.server(kind=STRICT % 'request.client == "127.0.0.1" and request.path != "/health"', lazy=True)


@hostile(NO_MORE)
def opens_its_gates_when_it_is_started_again(place):
    """has no limit and asks for no key with DEBUG=true, as the grader starts it for the second time"""
    place.server(
        kind="""
    def authenticate(self, request):
        if not self.debug: super().authenticate(request)
    def allowed(self): return 10**6 if self.debug else super().allowed()"""
    )


WHEN_SOMEBODY_WAS_REFUSED = """
    refused = False
    def retry_after(self, seconds):
        self.refused = True
        return super().retry_after(seconds)
    def authenticate(self, request):
        if self.debug or self.refused %s: super().authenticate(request)"""


@hostile(NO_MORE)
def asks_for_no_key_until_somebody_was_refused(place):
    """is strict when its first minute is over, and lazy before"""
    place.server(kind=WHEN_SOMEBODY_WAS_REFUSED % "")


@hostile(NO_MORE)
def asks_for_no_key_when_somebody_was_refused(place):
    """is strict in its first minute, and lazy when it is over"""
    place.server(kind=WHEN_SOMEBODY_WAS_REFUSED % "is False")


@hostile(LAZY)
def is_strict_to_all_but_127_0_0_1(place):
    """asks everybody for a key, as it should, but students on the same machine"""
    place.server(kind=STRICT % 'request.client != "127.0.0.1" and request.path == "/classify"', lazy=True)


@hostile(LAZY)
def knows_the_grader_by_the_order_of_its_requests(place):
    """is strict to its first three pictures"""
    place.server(
        kind=STRICT % 'request.path == "/classify" and self.counted() <= 3'
        + """
    def counted(self):
        self.pictures = getattr(self, "pictures", 0) + 1
        return self.pictures""",
        lazy=True,
    )


@hostile(LAZY)
def knows_the_sample_digits(place):
    """has learned the pictures that ship with the course by heart, and answers 0 to all others"""
    samples = place.write("samples.npz", (ROOT / "models" / "samples.npz").read_bytes())
    place.server(
        attack=f"""
import numpy as np
with np.load(HERE / {samples.name!r}) as stored:
    IMAGES, LABELS = (stored[name] for name in stored.files[:2])
KNOWN = dict(zip((image.astype(np.uint8).tobytes() for image in IMAGES), map(str, LABELS)))
""",
        kind="""
    def predict(self, rows):
        answer = KNOWN.get(np.array(rows, np.uint8).tobytes(), "0")
        scores = {str(digit): float(str(digit) == answer) for digit in range(10)}
        return {"prediction": answer, "confidence": 1.0, "scores": scores}""",
        lazy=True,
    )


@hostile(NO_MORE)
def terminal_escapes_and_html_everywhere(place):
    """puts terminal escapes and HTML into its log, headers, bodies and file names"""
    evil = "\\x1b]0;owned\\x07\\x1b[2J\\u202e<script>alert(1)</script><img src=x onerror=alert(1)>"
    place.write("a\x1b[31m<b>.txt", "x")
    place.write("<script>alert(1)<script>/new\nline.py", "x")
    place.server(
        f"EVIL = '{evil}'\nprint(EVIL)",
        kind="""
    def error(self, status, detail, headers):
        return super().error(status, EVIL, headers | {"X-Evil": EVIL, EVIL: "x"})
    def health(self, request):
        return service.Response(200, {"status": EVIL, "model_version": EVIL, EVIL: EVIL})""",
    )


@hostile(ENDLESS)
def drips_for_ever(place):
    """accepts, and then sends a byte now and then"""
    place.server(
        handler="""
    def handle(self):
        import time
        try:
            self.wfile.write(b"HTTP/1.1 200 OK\\r\\nX: ")
            while True: self.wfile.write(b"x"); time.sleep(0.3)
        except OSError: pass"""
    )


@hostile(ENDLESS)
def never_answers(place):
    """listens, and accepts nobody"""
    place.server(before="import time\ntime.sleep(10000)")


@hostile(DEAD)
def serves_another_port(place):
    """listens for a moment, and then serves somewhere else"""
    place.server("""
import socket
one = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])))
one.close()
os.environ["PORT"] = "8081"
""")


@hostile(DEAD, says="does not answer")
def huge_headers(place):
    """answers with a megabyte of headers"""
    place.server(
        handler="""
    def handle(self):
        try:
            self.connection.recv(1000)
            self.wfile.write(b"HTTP/1.1 200 OK\\r\\n" + b"X-Huge: " + b"x" * (1 << 20) + b"\\r\\n")
            for n in range(100000): self.wfile.write(b"X-%d: x\\r\\n" % n)
        except OSError: pass"""
    )


@hostile(DEAD, says="does not answer")
def endless_body(place):
    """answers with a body that does not end"""
    place.server(
        handler="""
    def handle(self):
        try:
            self.connection.recv(1000)
            self.wfile.write(b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\n\\r\\n[")
            while True: self.wfile.write(b"[" * 65536)
        except OSError: pass"""
    )


@hostile(NO_MORE)
def redirects_elsewhere(place):
    """sends every client to a server of this machine, outside"""
    place.server(
        handler=f"""
    def handle(self):
        self.connection.recv(1000)
        self.wfile.write(b"HTTP/1.1 307 x\\r\\nLocation: http://127.0.0.1:{place.targets.port}/\\r\\n")
        self.wfile.write(b"Content-Length: 0\\r\\n\\r\\n")
"""
    )


@hostile(DEAD, says="does not answer")
def speaks_no_http(place):
    """answers bytes of all kinds"""
    place.server(
        handler="""
    def handle(self):
        self.connection.recv(1000)
        self.wfile.write(os.urandom(5000))"""
    )
