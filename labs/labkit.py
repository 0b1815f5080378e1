"""What the labs need beside Python: a server to start and stop, shell cells, pictures, and checks.

    server = Server()                        # starts server.py on a free port, and sets $URL and $KEY
    echo = EchoService()                     # the same for httpbin, which answers what it was asked: $ECHO
    client.post(server.url + "/classify")    # client is a requests.Session
    show_answer(answer)                      # status line, chosen headers, body
    figure("gates")                          # a drawing, with a text for those who do not see it
    show(digit)                              # a picture;  chart(answer) draws its scores
    show_code("authenticate")                # a piece of server.py
    expect(answer, status=401)               # judges an answer of yours
    check("m3.a wrong key is refused")       # runs a check of checks/ on the running server
    progress("03")                           # what is done of a lab, and of all of them
    hint("03.wrong-key")                     # one more hint for an exercise; after its ✓, a model answer
    %%dev                                    # a cell of shell lines for this machine, with $URL and $KEY

running.py is the server and who asks it, judging.py the checks and hints. prodkit.py has the rest, for lab
04: the production machine, and %%prod. record.py keeps what you did, and predictions.py what you expected.

What differs from run to run is shown by its name: the address as $URL, the port as $PORT, the key as $KEY,
and in the log <time>, <ms> and <id>. Nothing here raises because a server is wrong or gone: it says so.
"""

import ast
import atexit
import difflib
import html
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import zlib
from pathlib import Path
from urllib.parse import urlsplit

import lost
import numpy as np
import requests
from IPython import get_ipython
from judging import Hints, Verdict, check, checks_for, expect, hint, seal
from record import Shown, progress, remember
from running import (
    NOBODY,
    REPO,
    ROOT,
    SERVER,
    SETTINGS,
    EchoService,
    Server,
    client,
    masked,
    past_proxies,
    plain_environment,
    what_to_do,
)

# what labs import from here, wherever it is made
# fmt: off
__all__ = [
    "NOBODY", "REPO", "ROOT", "SERVER", "SETTINGS", "EchoService", "Hints", "Server", "Shown", "Verdict",
    "by_hand", "chart", "check", "checks_for", "client", "copy_of_the_server", "dev", "expect", "field",
    "figure", "folder_of_this_kernel", "hint", "masked", "past_proxies", "plain_environment", "progress",
    "reflections", "remember", "replace_in", "run", "seal", "show", "show_answer", "show_code",
    "take_over",
]
# fmt: on

# ---- A copy of it ---------------------------------------------------------------------------------------


def copy_of_the_server() -> Path:
    """A folder with copies of server.py and all that it needs, to change at will; gone with the kernel."""
    folder = folder_of_this_kernel()
    shutil.copy(SERVER, folder)
    for name in ("schemas", "models", "deploy"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("box"))
    return folder


def folder_of_this_kernel() -> Path:
    """A new empty folder that goes with the kernel, or with the next one if this one is killed."""
    for old in Path(tempfile.gettempdir()).glob("pixelwise-lab-*-*"):
        number = old.name.split("-")[2]
        if number.isdigit() and not is_process(int(number)):
            shutil.rmtree(old, ignore_errors=True)  # its kernel was killed, and could not
    folder = Path(tempfile.mkdtemp(prefix=f"pixelwise-lab-{os.getpid()}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def is_process(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def replace_in(file: Path, old: str, new: str):
    """Replace `old` in a file of such a copy, and show the lines that changed."""
    before = file.read_text(encoding="utf-8")
    after = before.replace(old, new)
    if after == before:
        print(f"✗ {file.name} has no {old!r}: nothing changed")
    file.write_text(after, encoding="utf-8")
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    print("\n".join(line for line in lines if not re.match(r"---|\+\+\+|@@", line)))


def take_over(folder: Path, really: bool = False):
    """Copy server.py and the schemas of a copy over your own, where they differ; else it only says so."""
    names = [SERVER.name, *sorted(f"schemas/{file.name}" for file in (folder / "schemas").glob("*.json"))]
    for name in names:
        new, own = (folder / name).read_bytes(), ROOT / name
        if not own.exists() or own.read_bytes() != new:
            print(
                f"{name} {'is yours now' if really else 'would change' if own.exists() else 'would be new'}"
            )
            if really:
                own.write_bytes(new)


def show_code(name: str, first: int = 1, lines: int = 9):
    """Show the function, class or constant `name` of server.py from its `first` line on, numbered."""
    text = SERVER.read_text(encoding="utf-8")
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except SyntaxError as problem:
        print(f"✗ server.py is no Python any more, see its line {problem.lineno}: {problem.msg}")
        return
    for node in nodes:
        names = [getattr(node, "name", "")] + [getattr(one, "id", "") for one in getattr(node, "targets", [])]
        if name in names:
            start = min([node.lineno, *[one.lineno for one in getattr(node, "decorator_list", [])]])
            shown = list(enumerate(text.splitlines(), 1))[start + first - 2 : node.end_lineno]
            for number, line in shown[:lines]:
                print(f"{number:4} │ {line}")
            if len(shown) > lines:
                print(f"     │ … and {len(shown) - lines} more")
            return
    print(f"✗ server.py has no {name!r}")


# ---- Asking it ------------------------------------------------------------------------------------------


def by_hand(url: str, *lines: str) -> str:
    """Send these lines to a server just as they are, without an HTTP library; returns what comes back."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname, parts.port or 80), timeout=3) as connection:
            connection.sendall("".join(f"{line}\r\n" for line in lines).encode())
            received = b"".join(iter(lambda: connection.recv(65536), b""))
    except TimeoutError:
        return "✗ no answer: the server still waits. Does an empty line end your request?"
    except OSError:
        return f"✗ nothing answers at this address. {what_to_do(url)}"
    return masked(received.decode(errors="replace").replace("\r\n", "\n"))


def field(answer, name: str):
    """The field `name` of the JSON object in an answer, or None where there is no such thing."""
    try:
        return answer.json().get(name)
    except (AttributeError, ValueError):
        return None


def show_answer(answer, *headers: str):
    """Print an answer of `client`: its status line, the headers named, and its body, cut where it is long."""
    if not isinstance(answer, requests.Response):
        print("there is no answer yet")
        return
    print(f"HTTP/1.1 {answer.status_code} {answer.reason}")
    for name in headers:
        print(f"{name}: {masked(answer.headers.get(name, '(this header is not there)'))}")
    body = masked(answer.text)
    if title := re.search(r"<title>(.*?)</title>", body):
        body = f"(a page of HTML: {title[1]})"
    print(body if len(body) <= 400 else body[:400] + " …")
    if answer.status_code >= 500 and (trouble := trouble_of(answer.url)):
        print(f"  the log says: {trouble}")


def trouble_of(url: str) -> str:
    """What the log of the running server says of its last exception, if it is the one at this address."""
    server = Server.current
    return masked(server.trouble()) if server and server.url != NOBODY and url.startswith(server.url) else ""


def dev(line: str, cell: str):
    """%%dev: run the cell's lines in bash, in the repo's folder; `%%dev 60` allows 60 seconds."""
    run(
        [*(Server.current.way if Server.current else []), "bash", "-c", cell],
        cell,
        seconds=int(line or 20),
        cwd=ROOT,
        env={"URL": NOBODY, "ECHO": NOBODY} | plain_environment(),
    )


def run(command: list[str], cell: str, seconds: int, input: str = "", **options) -> int:
    """Run it and print what it prints, errors too; then its exit status, unless that is 0."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    options = {"text": True, "errors": "replace", "start_new_session": True, **pipes, **options}
    late = False
    try:
        process = subprocess.Popen(command, **options)
    except FileNotFoundError:
        print(f"✗ {command[0]} is not installed on this machine")
        return 127
    try:
        printed, _ = process.communicate(input, timeout=seconds)
    except subprocess.TimeoutExpired:
        late = True
        os.killpg(process.pid, signal.SIGKILL)  # and all that it started
        printed, _ = process.communicate()
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    print(masked(printed), end="" if printed.endswith("\n") or not printed else "\n")
    if late:
        print(f"✗ stopped after {seconds} s. Does a line wait for something, or does -f follow without end?")
    elif process.returncode == 7 and "curl" in cell:
        print(f"✗ curl: nothing answers at {'$ECHO' if '$ECHO' in cell else '$URL'}. {what_to_do(cell)}")
    elif process.returncode:
        print(f"(exit status {process.returncode})")
    return process.returncode


# ---- Pictures -------------------------------------------------------------------------------------------


def figure(name: str) -> Shown:
    """A drawing of labs/pictures, in the colours of the theme; for those who do not see it, what it says."""
    try:
        drawn = (REPO / "labs" / "pictures" / f"{name}.svg").read_text(encoding="utf-8")
    except OSError:
        return Shown(f"(there is no picture {name!r} here)")
    return Shown(re.search("(?s)<desc.*?>(.*?)</desc>", drawn)[1], text_html=drawn)


def show(digit) -> Shown:
    """A picture of a digit (28 x 28, 0 is paper), ink in black."""
    pixels = np.asarray(digit, dtype=np.uint8)
    big = np.kron(255 - pixels, np.ones((5, 5), dtype=np.uint8))
    rows = b"".join(b"\0" + row.tobytes() for row in big)  # each with the PNG filter "none"
    height, width = big.shape
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows, 9)),
    )
    png = b"\x89PNG\r\n\x1a\n"
    for kind, data in (*parts, (b"IEND", b"")):
        png += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    text = f"a picture of {len(pixels)} x {pixels.shape[1]} pixels: {np.count_nonzero(pixels)} have ink"
    return Shown(f"{text}, their sum is {pixels.sum()}", image_png=png)


def chart(answer) -> Shown:
    """The scores in an answer of /classify as bars; any other answer as it is."""
    try:
        scores = {name: float(score) for name, score in answer.json()["scores"].items()}
    except (AttributeError, ValueError, TypeError, KeyError):
        return show_answer(answer)
    lines, cells = [], []
    for name, score in scores.items():
        lines.append(f"{name} {score:.3f} {'█' * round(score * 20)}".rstrip())
        bar = f"width:{score:.1%};background:var(--jp-brand-color1)"
        cells.append(f'<b>{html.escape(name)}</b><i style="{bar}"></i><span>{score:.3f}</span>')
    grid = "display:grid;grid-template-columns:auto minmax(4em,20em) auto;gap:2px 1em;justify-content:start"
    return Shown("\n".join(lines), text_html=f'<div style="{grid}">{"".join(cells)}</div>')


# ---- Reflection -----------------------------------------------------------------------------------------


def reflections(notebook: str = "05_answer_for_it.ipynb"):
    """Print how many words the answers have that a grading will collect from the saved notebook."""
    try:
        cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError, TypeError):
        print(f"✗ {notebook} cannot be read: save this notebook under its first name, in the folder labs")
        return
    for cell in cells:
        if "reflection" in cell["metadata"].get("tags", []):
            answer = "".join(cell["source"]).partition("*Your answer:*")[2]
            print(f"{cell['id']}: {len(answer.split())} words")


# ---- Jupyter --------------------------------------------------------------------------------------------


if shell := get_ipython():
    shell.register_magic_function(dev, "cell")
    shell.set_custom_exc((NameError,), lost.explain)
    known = {"hint": hint, "progress": progress}
    shell.push(known, interactive=False)  # in every cell without an import
