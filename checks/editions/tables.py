"""What the student edition is: which files, which functions are theirs to write, which words are left out."""


class ReleaseError(Exception):
    """Something is not as it has to be; the message says what, and what to do."""


STUBS = {  # function of server.py: its lab, and what stands there until it is written, an open gate
    "accepted_pixels": (
        "02_the_contract_and_the_server",
        "nothing is checked",
        'np.array(json.loads(body)["pixels"], np.uint8).reshape(1, 28, 28)',
    ),
    "answer": ("02_the_contract_and_the_server", "all leaves, as text/html", "json.dumps(body)"),
    "RateLimiter.hit": ("03_keys_and_limits", "nothing is counted", "(True, self.count, self.seconds)"),
    "authenticate": ("03_keys_and_limits", "everybody gets in", "None"),
}

MOMENTS = {  # function of server.py: its lab, and the cell before which a student has written it
    "answer": ("02", "yours-answer-restart"),
    "accepted_pixels": ("02", "yours-accepted-restart"),
    "authenticate": ("03", "yours-authenticate-restart"),
    "RateLimiter.hit": ("03", "yours-hit-restart"),
}

ASKED = {  # lab and cell: what its text asks a student to change there, though it is no exercise
    "06.take-over": ("really=False", "really=True"),
}

ON_PURPOSE = {  # lab and cell: why it does not end with ✓ when all is right
    "02.drift-check": "the promise is broken in a copy, and the check notices",
    "04.stop-curl": "the service was stopped: nobody answers",
    "06.promised": "the endpoint is promised, and not there yet",
    "06.broken": "the answer is made wrong, and the check notices",
}

NEEDS_PROD = (  # lab and cell of checks that only a production machine passes: tests/test_lab04.py has one
    *("04.deployed-check", "04.polite-check", "04.reason-check", "04.repair-check"),
)

UNIT = """\
# The service under systemd: yours to write. labs/04_from_dev_to_production.ipynb leads through it.
# setup-server.sh copies this file to /etc/systemd/system/ on the machine where the user `produser` exists.

[Unit]
# What is it, and what has to be there before it starts?

[Service]
# Who runs what, where, and with which settings? What happens when it ends? What must it never be able to do?

[Install]
# What starts it when the machine boots?
"""

STUDENTS = (  # what students get; a name that ends in / is a folder with all that is in it
    *("README.md", "CHANGELOG.md", "LICENSE", "server.py", "setup-server.sh", ".env.example"),
    *(".gitattributes", ".gitignore"),
    *("requirements.txt", "requirements-dev.txt", "pytest.ini", "ruff.toml"),
    *("schemas/", "models/", "deploy/"),
    *("labs/*.ipynb", "labs/conftest.py", "labs/labkit.py", "labs/running.py", "labs/judging.py"),
    *("labs/prodkit.py", "labs/practice.py"),
    *("labs/sanitize.cfg", "labs/README.md", "labs/pieces.py", "labs/hints.toml", "labs/answers.json"),
    *("labs/record.py", "labs/predictions.py", "labs/predictions.toml", "labs/pictures/*.svg"),
    *("labs/drawing.py", "labs/drawing.js", "labs/lost.py", "labs/jupyter/"),
    *("checks/README.md", "checks/__init__.py", "checks/conftest.py", "checks/test_m*.py"),
    *("checks/digits.py", "checks/grading.py", "checks/kit/", "checks/report/"),
)

NEVER = (".git", ".env", ".venv", "__pycache__", ".ipynb_checkpoints", ".prepared", ".*_cache", ".hypothesis")

NOTE = """
This is the student edition: some functions of `server.py`, and the unit file, are yours to write. Until then
the service runs with open gates, and its log says which. The labs lead through all of it:

| yours to write | lab |
|---|---|
{rows}
| `deploy/pixelwise.service` | [04_from_dev_to_production](labs/04_from_dev_to_production.ipynb) |
"""

GRADE_YOURSELF = """
## Grade yourself

```
bash setup-server.sh test      # starts your server.py on a free port, and runs all checks that need no prod
```

On GitHub, `.github/workflows/classroom.yml` does so after each push; the summary of its run is the report.
Each line is a promise of the contract; what is not kept is explained, with a `curl` line that shows it again.
What each milestone is worth, and how to grade prod: [checks/README.md](checks/README.md).
"""

EDITS = (  # file, what is replaced (it has to be there), by what
    ("README.md", r"\n## Two commands", lambda found: note() + found[0]),
    ("README.md", r"then passes all tests \(.*?\)", "then grades your server with checks/"),
    ("README.md", r"(?s)\n## For instructors\n.*?(?=\n## )", GRADE_YOURSELF),
    ("README.md", r"(?m)^(bench|tests)/ .*\n", ""),
    ("README.md", r"(?m)^- How fast is it\?.*\n", ""),
    ("README.md", r"labs, tests and benchmarks", "labs and checks"),
    ("labs/README.md", r"\nFor authors: .*", ""),
    ("CHANGELOG.md", r"(?m)^- `python -m checks\.(grade|likeness|read|release|term).*\n(  .*\n)*", ""),
    ("checks/README.md", r"(?s)\n## Grade a submission, or a class\n.*?(?=\n## )", ""),
    ("checks/README.md", r"(?s)\n<!-- instructors -->\n.*?<!-- /instructors -->\n", ""),
    ("checks/README.md", r"(?s)\n## Add a check, and its fault\n.*?(?=\n## |\Z)", ""),
    ("pytest.ini", r"testpaths = tests", "testpaths = checks"),
    (
        "setup-server.sh",
        r"(?m)^(#   bash setup-server\.sh test .*) then pass all tests$",
        r"\1 then grade server.py",
    ),
)

AT_WORK = (  # checks of what the kit brings: the service works from the first minute, with open gates
    "m1.405 names the verbs in allow",
    "m1.a slash at the end is another path",
    "m1.a wrong verb gets 405",
    "m1.an unknown path gets 404",
    "m1.answers carry an id and nosniff",
    "m1.answers come in time",
    "m1.errors are json",
    "m1.half a request holds up nobody",
    "m1.head answers like get",
    "m1.health answers",
    "m1.results answers",
    "m2.a digit is classified",
    "m2.a huge body is refused",
    "m2.another media type is refused",
    "m2.no undeclared field leaves",
    "m2.openapi describes the three routes",
    "m2.openapi documents the key and its errors",
    "m2.openapi tells the truth",
    "m2.real digits are recognised",
    "m2.scores has every class",
    "m2.the confidence is the score of the prediction",
    "m2.the documentation is hidden",
    "m2.the documentation pages are there",
    "m2.the prediction has the best score",
    "m2.the prediction is a string",
    "m2.the same picture gets the same answer",
    "m2.the scores sum to one",
    "m3.no answer holds the key",
    "m3.the server is still there",
)

GIFTS = dict.fromkeys(
    AT_WORK, "the service works from the first minute"
) | {  # checks that the kit passes with nothing written, and why: they are worth no exercise points
    "m4.the unit file can be read": "the kit brings the file",
    "m4.the unit file has three sections": "the kit brings the headings",
    "m4.the unit file holds no key": "it forbids a line, and there is none",
    "m4.the unit file leaves the log to the journal": "it forbids a line, and there is none",
    "m4.the unit file limits starts where it counts": "it forbids a line, and there is none",
    "m4.the unit file listens for other machines": "it forbids a line, and there is none",
}


def open_gate(name: str, lab: str, until: str, value: str) -> str:
    """The statement in place of a body that is yours to write: the service works, and its log says so."""
    said = f"{name.rpartition('.')[2]} is yours to write (labs/{lab}.ipynb): until then {until}"
    return f'return log.warning("{said}") or {value}'


def note() -> str:
    """What a student reads first: which functions are theirs."""
    rows = [f"| `{name}` in `server.py` | [{lab}](labs/{lab}.ipynb) |" for name, (lab, *_) in STUBS.items()]
    return NOTE.format(rows="\n".join(rows))
