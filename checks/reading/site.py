"""The page as a server on this machine: who has its address, with the token in it, may read and mark."""

import hashlib
import json
import secrets
from pathlib import Path

import bottle
from waitress import create_server

from checks.classroom.gradebook import students_of
from checks.classroom.marks import BadMark, Marks, answers_of, digest, questions
from checks.classroom.records import load, visible
from checks.reading.grouping import grouped
from checks.report.model import clean
from checks.report.pieces import LOADS_NOTHING, Markup, Pieces

HOST = "127.0.0.1"
PIECES = Pieces(Path(__file__).with_name("read.html"))


class NothingToRead(Exception):
    """There are no answers; the message says what to do."""


class Reading:
    """What is read: the collected answers of a folder of grades, as they are at the start, and its marks.
    Raises NothingToRead."""

    def __init__(self, grades: Path):
        records = [load(grades / name) for name in students_of(grades)]
        self.answers: dict[str, dict[str, str]] = {}  # question: {student: answer}
        self.asked = {name: told | {"question": ""} for name, told in questions().items()}
        for record in filter(None, records):
            for question, told in answers_of(record).items():
                if question in self.asked:
                    self.asked[question]["question"] = told["question"]
                    self.answers.setdefault(question, {})[clean(record["name"])] = told["answer"]
        self.asked = {name: told for name, told in self.asked.items() if name in self.answers}
        if not self.asked:
            raise NothingToRead(f"{grades} holds no answers: hand in lab 05, and grade without --milestone")
        self.marks = Marks(grades)
        self.marks.begin(self.asked)
        secret = secrets.token_bytes(16)
        students = {student for answers in self.answers.values() for student in answers}
        self.alias = {
            name: hashlib.blake2s(name.encode(), key=secret, digest_size=6).hexdigest() for name in students
        }
        self.student = {alias: name for name, alias in self.alias.items()}

    def groups(self) -> list[dict]:
        """The questions with their answers, as the page takes them; no student has a name in it."""
        return [
            {"id": name, "name": told["name"], "question": told["question"], "worth": told["points"]}
            | {"model": told["model"]}
            | {
                "groups": [
                    {
                        "text": visible(group.text),
                        "near": group.near,
                        "students": sorted(self.alias[student] for student in group.students),
                    }
                    for group in grouped(self.answers[name])
                ]
            }
            for name, told in self.asked.items()
        ]

    def rows(self, after: int) -> list[dict]:
        """The rows of the log after this one, for the page. old: the answer is another one by now."""
        found = []
        for row in self.marks.rows(after):
            answer = self.answers.get(row["question"], {}).get(row["student"])
            old = row["student"] is not None and (answer is None or digest(answer) != row["answer"])
            found.append(row | {"student": self.alias.get(row["student"]), "old": old})
        return found

    def add(self, sent) -> None:
        """Keep what the page sent: {"reader", "rows": [a row with "students" in place of "student"]}.
        Raises BadMark."""
        rows = []
        try:
            for row in sent["rows"]:
                if row["question"] not in self.answers:
                    raise BadMark("there is no such question")
                for student in (
                    [None] if row["kind"] == "item" else [self.student[one] for one in row["students"]]
                ):
                    answer = self.answers[row["question"]].get(student)
                    told = {"student": student, "answer": None if answer is None else digest(answer)}
                    rows.append(row | told)
            reader = sent["reader"]
        except (KeyError, TypeError):
            raise BadMark("this is no mark of this page: load it again") from None
        self.marks.add(reader, rows)


def site(reading: Reading, token: str) -> bottle.Bottle:
    """The application; every address begins with the token."""
    app = bottle.Bottle()
    groups = json.dumps(reading.groups())
    hosts: set[str] = set()
    app.config["hosts"] = hosts

    @app.hook("before_request")
    def guard():
        # a page elsewhere whose name was made to mean 127.0.0.1 sends its own name along
        if bottle.request.get_header("Host", "") not in hosts:
            raise bottle.HTTPResponse("ask with the address that was printed at the start\n", 421)
        first = bottle.request.path.split("/")[1]
        if not secrets.compare_digest(first.encode(), token.encode()):
            raise bottle.HTTPResponse("the address that was printed at the start has a token in it\n", 404)

    @app.hook("after_request")
    def never_kept():
        bottle.response.set_header("Cache-Control", "no-store")
        bottle.response.set_header("X-Content-Type-Options", "nosniff")
        bottle.response.set_header("Referrer-Policy", "no-referrer")

    def told(value) -> str:
        bottle.response.content_type = "application/json"
        return value if isinstance(value, str) else json.dumps(value)

    @app.get(f"/{token}/")
    def page():
        nonce = secrets.token_urlsafe(16)
        html = PIECES.page("Reading by hand", nonce=nonce, script=Markup(PIECES.fill("script")))
        # it also runs its script, and asks us
        allowed = f"{LOADS_NOTHING} script-src 'nonce-{nonce}'; connect-src 'self';"
        return html.replace(LOADS_NOTHING, allowed, 1)

    @app.get(f"/{token}/answers")
    def answers():
        return told(groups)

    @app.get(f"/{token}/names")
    def names():
        return told(reading.student)

    @app.get(f"/{token}/rows/<after:int>")
    def rows(after):
        return told(reading.rows(after))

    @app.post(f"/{token}/rows/<after:int>")
    def add(after):
        try:
            reading.add(bottle.request.json)
        except BadMark as problem:
            bottle.response.status = 422
            return told({"detail": str(problem)})
        return told(reading.rows(after))

    return app


def serve(grades: Path, port: int, tell) -> None:
    """Serve the page until Ctrl-C; tell(address) is called when it listens. Raises NothingToRead, OSError
    and sqlite3.Error."""
    token = secrets.token_urlsafe(24)
    reading = Reading(grades)
    app = site(reading, token)
    server = create_server(app, host=HOST, port=port, threads=4, ident="")
    app.config["hosts"] |= {f"{name}:{server.effective_port}" for name in (HOST, "localhost")}
    try:
        tell(f"http://{HOST}:{server.effective_port}/{token}/")
        server.run()
    except KeyboardInterrupt:  # before it ran
        pass
    finally:
        server.close()
        reading.marks.close()
