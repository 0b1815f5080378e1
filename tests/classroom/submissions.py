"""Submissions for tests."""

from pathlib import Path

from bench import grading as bench


def hand_in(folder: Path, name: str, server: str | None = None, file: str = "server.py") -> Path:
    """A submission that is this file alone."""
    (folder / name).mkdir(parents=True)
    (folder / name / (file if server is not None else "README.md")).write_text(server or "hello")
    return folder / name


# ---- The correct server, which is otherwise to some, or reads its settings elsewhere --------------------

DOTENV = "SECRET_API_KEY=of-the-student\nexport PORT=5000\nDEBUG=true\nRATE_LIMIT=5/hour\nMODEL_REPO=mine\n"
TOP = "import os\nimport re\n"
SERVES = "kind = FAULTS[FAULT].kind if FAULT in FAULTS else Service\n"
READ = "for line in open('.env'):\n    name, _, value = line.strip().partition('=')\n"
IN_THE_PLACE = {  # of TOP: where the settings come from
    "it reads the key in .env alone": READ + "    if name == 'SECRET_API_KEY': os.environ[name] = value\n",
    "its .env comes before the environment": "import dotenv\ndotenv.load_dotenv(override=True)\n",
    "it has a key of its own": "os.environ['SECRET_API_KEY'] = 'written-into-the-source'\n",
}
CHEATS = {  # behind SERVES: a class `kind` that is not the correct one to everybody
    "it opens its gates when it is started again": """
    def authenticate(self, request):
        if not self.debug: super().authenticate(request)
    def allowed(self): return 10**6 if self.debug else super().allowed()
""",
    "it judges no body when it is started again": """
    def validate(self, document):
        if not self.debug: super().validate(document)
    def predict(self, rows):
        try: return super().predict(rows)
        except Exception: return super().predict([[0] * 28] * 28)
""",
    "it wants a key when the bodies have been judged": """
    judged = False
    def authenticate(self, request):
        self.judged |= b"never repeat this" in request.body
        if self.judged or self.debug: super().authenticate(request)
""",
}
ODD = [*IN_THE_PLACE, *CHEATS]


def odd(folder: Path, name: str) -> Path:
    """The correct server of bench/grading.py with one of ODD in it, and a .env of its own."""
    made = bench.make_submission(folder / name, bench.CORRECT)
    (made / ".env").write_text(DOTENV)
    server = (made / "server.py").read_text()
    if name in CHEATS:
        place, more = SERVES, f"class kind(kind):{CHEATS[name]}"
    else:
        place, more = TOP, IN_THE_PLACE[name]
    assert place in server
    (made / "server.py").write_text(server.replace(place, place + more))
    return made
