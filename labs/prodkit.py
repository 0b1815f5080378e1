"""What lab 04 needs for the production machine, be it a real one or the box of deploy/box.

    prod = Prod()                       # finds the machine; sets $PROD (for ssh) and $URL (of its service)
    %%prod                              # a cell of shell lines for it:  ssh $PROD
    %%dev                               # as ever; where prod is the box, on the dev side of the box
    drill("sudo systemctl kill -s KILL pixelwise", within=(3, 8))  # run it, and show what a client saw
    check("m4.the service is running")  # from labkit, as ever

PROD_HOST alone says which machine it is. `user@address` is reached by ssh. `box` or `box:NAME` is the box:
only its dev side sees its network, so each line goes through `deploy/box/box shell`, as if typed there.
Without PROD_HOST it is the box, if there is one on this machine, else produser@192.168.56.11. What differs
from run to run is shown by its name: <time>, <pid>, <client>. Nothing here raises because prod is down: it
says so.
"""

import contextlib
import html
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path

import labkit
from IPython import get_ipython
from judging import GRADER
from labkit import REPO, ROOT, Shown

BOX = REPO / "deploy" / "box" / "box"
COURSE = "produser@192.168.56.11"
OPTIONS = [f"-o{option}" for option in ("BatchMode=yes", "ConnectTimeout=5", "LogLevel=ERROR")]
OPTIONS.append("-oStrictHostKeyChecking=accept-new")  # a new machine is trusted, one that has changed is not
# one login serves the cells that follow each other: another one takes longer than most of them
OPTIONS += ["-oControlMaster=auto", "-oControlPersist=30", "-oServerAliveInterval=5"]

MASKS = (  # what systemd and the service print about this moment, this process, this client
    (r"(?m)^\w{3} [ \d]\d \d\d:\d\d:\d\d \S+ (\S+?)\[\d+\]:", r"<time> prod \1[<pid>]:"),
    (r"\w{3} \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+; .*? ago", "<time>; <some time> ago"),
    (r"\b(PID|Process): \d+", r"\1: <pid>"),
    (r"└─\d+", "└─<pid>"),
    (r"\bprocess \d+ ", "process <pid> "),
    # what it counts, which every version of systemd counts and words in another way
    (r"(?m)^ +(Tasks|Memory|Mem peak|CPU|IO|IP|Duration|Invocation): .*\n", ""),
    (r"(?m)^.*: Consumed .*\n", ""),
    (r"(?m)(?<![^ \n])(?!127\.)\d+(\.\d+){3}(?= (GET|HEAD|POST) )", "<client>"),
    (r" \d+\.\d+ms [0-9a-f]{16}\b", " <ms> <id>"),
    (r"\b[0-9a-f]{32}\b", "<id>"),
)
LOOK = """
echo there; sudo -n true 2>&- || echo no sudo; journalctl -n 1 2>&1 >&-
command -v git >&- || echo no git; [ -w /opt/pixelwise ] || echo no folder
"""
WANTING = {  # what LOOK may print, and what to do about it on prod
    "no sudo": "sudo asks for a password: echo 'produser ALL=(ALL) NOPASSWD:ALL' | sudo tee /etc/sudoers.d/p",
    "permissions|not seeing": "the journal is hidden: sudo usermod -aG systemd-journal produser",
    "no git": "git is missing: sudo apt-get install git curl python3-venv",
    "no folder": "produser has no /opt/pixelwise: sudo install -d -o produser /opt/pixelwise",
}

# ---- The machine ----------------------------------------------------------------------------------------


class Prod:
    """The production machine, in the place of labkit's Server: for %%dev, `check` and $URL.

    host: what PROD_HOST would say. Prints whether it can be reached, and what the lab would miss there.
    """

    current = None
    key = ""  # it stays there
    settings = {"RATE_LIMIT": "30/minute"}
    remedy = "`systemctl status pixelwise` on prod says more."
    grader = None  # a process where prod can be reached, from the first check on

    def __init__(self, host: str = ""):
        host = host or os.environ.get("PROD_HOST", "")
        if not host:
            host = "box" if there_is_a_box() else COURSE
        self.box = (host.partition(":")[2] or "prod") if re.match(r"box(:|$)", host) else ""
        self.destination = COURSE if self.box else host if "@" in host else f"produser@{host}"
        self.url = f"http://{self.destination.rpartition('@')[2]}:8000"
        self.login = f"-oControlPath={labkit.folder_of_this_kernel()}/login"
        self.way = [] if not self.box else [str(BOX), "--name", self.box, "shell", "--"]
        self.way += ["env", f"PROD={self.destination}"] if self.box else []  # box has a PROD of its own
        Prod.current = labkit.Server.current = self
        os.environ |= {"PROD": self.destination, "URL": self.url}
        labkit.past_proxies(self.destination.rpartition("@")[2])
        self.look()

    def look(self):
        """Print whether it can be reached, and what the lab would miss there."""
        status, told = self.ask(LOOK)
        if status == 255 or "there" not in told:
            print(self.out_of_reach(told))
            return
        found = [f"✗ on prod, {advice}" for sign, advice in WANTING.items() if re.search(sign, told)]
        print("\n".join(found) or "prod answers: ssh $PROD works, and there sudo and the journal")

    def out_of_reach(self, told: str) -> str:
        """Why nothing came back from there, and what to do."""
        why = told.strip().splitlines()[-1] if told.strip() else "nothing came back"
        if self.box:
            name = "" if self.box == "prod" else f"--name {self.box} "
            return f"✗ prod is out of reach: {why}\n  Is the box on? In a terminal: deploy/box/box {name}up"
        return (
            f"✗ prod is out of reach: {why}\n"
            f"  Is it on, and does `ssh {self.destination}` work in a terminal?\n"
            "  PROD_HOST names another machine. If you have none: deploy/box/box up"
        )

    def down(self) -> str:
        """Nothing is known of it before it is asked; `grade` says what is wrong."""
        return ""

    def trouble(self) -> str:
        """Its log is its journal: %%prod reads it."""
        return ""

    def ssh(self, lines: str) -> list[str]:
        """The command that runs shell lines there."""
        return [*self.way, "ssh", *OPTIONS, self.login, self.destination, f"bash -c {shlex.quote(lines)}"]

    def ask(self, lines: str) -> tuple[int, str]:
        """Run shell lines there; the exit status, 255 where it is out of reach, and all that was printed."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        try:
            done = subprocess.run(
                self.ssh(lines), **pipes, text=True, errors="replace", timeout=60, check=False
            )
        except subprocess.TimeoutExpired:
            return 255, "no end within 60 s"
        except OSError as problem:
            return 255, f"{problem.filename}: {problem.strerror}"
        return 255 if self.box and done.returncode in (
            1,
            125,
        ) and "box: " in done.stdout else done.returncode, done.stdout

    def run(self, lines: str | None, seconds: int = 60):
        """Run shell lines there, and show what they print: what a %%prod cell does."""
        if lines is None:
            print("there is nothing to run yet")
        elif labkit.run(self.ssh(lines), "", seconds) in (125, 255):
            print(self.out_of_reach("see above"))

    def state(self) -> str:
        """What systemd calls the service: active, inactive, failed … ("" where prod is out of reach)."""
        status, told = self.ask("systemctl show pixelwise -P ActiveState")
        return told.strip() if status == 0 else ""

    def masked(self, text: str) -> str:
        text = text.replace(self.url, "$URL").replace(self.destination, "$PROD")
        for pattern, name in MASKS:
            text = re.sub(pattern, name, text)
        return text

    def grade(self, names, seeds, options: dict) -> list:
        """Run checks where prod can be reached: for each name a Result, or why there is none; and where one
        could not be checked, what failed first."""
        from checks.kit import core

        given = {"url": self.url, "prod": f"ssh://{self.destination}", "limit": options["limit"]}
        if "unit" in options:  # the file alone
            given = {"unit": str(options["unit"])}
        line, trouble = self.graded(json.dumps({"names": names, "given": given, "seed": next(seeds)}))
        if not line:
            return [self.out_of_reach(trouble).replace("✗ ", "")] * len(names)
        told = json.loads(line)
        return [core.Result(**one) if isinstance(one, dict) else one for one in told]

    def graded(self, order: str) -> tuple[str, str]:
        """The line with which the grader answers an order; "" and what it said where it does not.

        One grader serves all checks of a lab, for it starts longer than it grades; it ends with the kernel.
        """
        if not self.grader or self.grader.poll() is not None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            command = [*self.way, sys.executable, "-c", GRADER]
            self.grader = subprocess.Popen(command, **pipes, text=True, cwd=REPO)
        line = ""
        try:
            with contextlib.suppress(BrokenPipeError):  # it has ended: why is what it said
                print(order, file=self.grader.stdin, flush=True)
            line = self.grader.stdout.readline()
            return line, "" if line else self.grader.communicate()[1]
        finally:
            if not line:  # interrupted, for one: what it would say is no answer to the next order
                self.grader.kill()
                self.grader = None


def there_is_a_box() -> bool:
    """Whether this machine has the box `prod`, on or off, that is not entered yet."""
    if "PIXELWISE_BOX_HOST" in os.environ:
        return False  # this notebook runs on the dev side: from here, ssh is enough
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.run([BOX, "status"], **quiet, check=False).returncode in (0, 3)


def prod_cell(line: str, cell: str):
    """%%prod: run the cell's lines on the production machine; `%%prod 90` allows 90 seconds."""
    if not Prod.current:
        print("there is no prod yet: run the cell with Prod() first")
        return
    Prod.current.run(cell, int(line or 60))


def unit_file(*parts: str | None) -> Path:
    """Write the parts of a unit file (those that are there) to a file in a folder of its own, which $UNIT
    names; gone with the kernel."""
    file = labkit.folder_of_this_kernel() / "pixelwise.service"
    file.write_text("\n\n".join(part.strip() for part in parts if part) + "\n", encoding="utf-8")
    os.environ["UNIT"] = str(file)
    return file


def keep_unit(mine: Path):
    """Put a unit file of yours into the kit, as deploy/pixelwise.service; a finished one that is there stays
    as it is."""
    place, text = ROOT / "deploy" / "pixelwise.service", mine.read_text(encoding="utf-8")
    starts = re.compile(r"(?m)^ExecStart=.")
    if starts.search(place.read_text(encoding="utf-8")):
        print("deploy/pixelwise.service is finished already, and stays as it is")
    elif starts.search(text):
        place.write_text(text, encoding="utf-8")
        print("deploy/pixelwise.service is your unit now")
    else:
        print("✗ your unit starts nothing yet: write `who` first, and run its cells again")


# ---- What it is given: a commit of this folder ----------------------------------------------------------


def lab_repository():
    """Let `git` in shell cells write to a repository of this lab's own: your files, but not your history.

    Its branch main begins where prod's repository ends, so that a push always fits. It goes with the kernel.
    """
    os.environ |= {"GIT_DIR": str(labkit.folder_of_this_kernel()), "GIT_WORK_TREE": str(ROOT)}
    lines = """
    git init -q -b main; git config user.name dev; git config user.email dev@example.org
    git remote add prod "ssh://$PROD/srv/git/pixelwise.git"; git config push.default current
    git config core.sshCommand "ssh -o BatchMode=yes -o ConnectTimeout=5 -o StrictHostKeyChecking=accept-new"
    git fetch -q prod 2>&1 || exit; ! git rev-parse -q --verify prod/main >&- || git update-ref HEAD prod/main
    """
    pipes = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "text": True,
    }
    done = subprocess.run([*Prod.current.way, "bash", "-c", lines], **pipes, check=False)
    print(
        f"✗ {done.stdout.strip()}\n  {NO_REPOSITORY}"
        if done.returncode
        else "git is ready: prod is a remote of it"
    )


NO_REPOSITORY = """There is no /srv/git/pixelwise.git on prod. Either make one there:
  sudo install -d -o produser /srv/git/pixelwise.git && git init --bare -b main /srv/git/pixelwise.git
  git clone /srv/git/pixelwise.git /opt/pixelwise
or push your own repository in a terminal, to the remote that prod pulls from, and go on with `git pull`."""

# ---- What a client sees ---------------------------------------------------------------------------------

WATCHER = """
import http.client, json, sys, threading, time
threading.Thread(target=lambda: (sys.stdin.read(), __import__("os")._exit(0)), daemon=True).start()
state = None

def ask():
    connection = http.client.HTTPConnection(sys.argv[1], 8000, timeout=float(sys.argv[2]))
    connection.request("GET", "/health")
    status = connection.getresponse().status
    connection.close()
    return status

while True:
    began = time.monotonic()
    try:
        # a process that is about to leave says 503 to those whom it had let in: they ask the next one
        now = "up" if ask() == 200 or ask() == 200 else "down"
    except (OSError, http.client.HTTPException):
        now = "down"
    if now != state:
        state = now
        print(json.dumps([began if now == "down" else time.monotonic(), state]), flush=True)
    time.sleep(max(0, began + 0.05 - time.monotonic()))
"""


class Outage(Shown):
    """What a client saw of /health while something was done to prod: a sentence, and a picture of it.

    seen: [(seconds since the command, "up" or "down"), …]; end: when the watch ended. seconds: how long it
    was down, in all. within: how long it should have been.
    """

    def __init__(self, seen: list[tuple[float, str]], end: float, within: tuple[float, float]):
        spans = [
            (max(start, -1), stop, what)
            for (start, what), stop in zip(seen, [t for t, _ in seen[1:]] + [end])
        ]
        downs = [stop - start for start, stop, what in spans if what == "down"]
        self.seconds = sum(downs)
        self.is_up = bool(spans) and spans[-1][2] == "up"
        self.as_expected = self.is_up and within[0] <= self.seconds <= within[1]
        self.path = path = " → ".join(what for _, _, what in spans)
        allowed = f"{within[0]:g} to {within[1]:g} s" if within[1] else "0 s"
        if not end:
            text = f"✗ the service did not answer before, so nothing was done. {Prod.remedy}"
        elif self.as_expected:
            text = f"{path}: down for {allowed}, as expected"
        elif self.is_up or not spans:
            text = f"✗ {path or 'nothing was seen'}: down for {self.seconds:.1f} s, not {allowed}"
        else:
            text = f"✗ {path}: still down {end:.0f} s after the command. {Prod.remedy}"
        picture = timeline(spans, end) if end else ""
        super().__init__(text, text_html=f"{picture}<p>{html.escape(text)}</p>")


def timeline(spans: list[tuple[float, float, str]], end: float) -> str:
    """The picture: green while it answered, red while it did not; 0 is the moment of the command."""
    scale = 640 / (end + 1)
    every = next((step for step in (1, 2, 5, 10, 20) if end / step < 8), 60)
    bars, labels = "", ""
    for start, stop, what in spans:
        x, width = round((start + 1) * scale), round((stop - start) * scale)
        colour = "var(--jp-success-color1,green)" if what == "up" else "var(--jp-error-color1,red)"
        bars += f'<rect x="{x}" y="4" width="{width}" height="22" fill="{colour}"/>'
        label = f"{stop - start:.1f} s down" if what == "down" else "up"
        if width > 9 * len(label):
            labels += f'<text x="{x + width // 2}" y="20" fill="#fff">{label}</text>'
    ticks = [(round((second + 1) * scale), second) for second in range(0, int(end) + 1, every)]
    labels += "".join(f'<text x="{x}" y="45">{second}{" s" * (second == 0)}</text>' for x, second in ticks)
    path = "".join(f"M{x} 26v6" for x, _ in ticks)
    labels = f'<g text-anchor="middle" fill="currentColor">{labels}</g>'
    return (
        '<svg width="660" height="50" role="img" aria-label="when it answered"'
        ' style="max-width:100%;font:13px sans-serif;color:var(--jp-content-font-color1)">'
        f'{bars}{labels}<path d="{path}" stroke="currentColor"/></svg>'
    )


def drill(lines: str, within: tuple[float, float] = (0, 0), seconds: float = 20) -> Outage:
    """Run shell lines on prod, and ask GET /health from dev 20 times a second until it is back.

    within: how many seconds it should be down; (0, 0): not at all. seconds: how long to wait for it.
    """
    prod, seen = Prod.current, []
    # a request that is lost on the way must not be waited for: the outage would be over by then
    patience = "0.5" if within[1] else "10"
    address = prod.destination.rpartition("@")[2]
    command = [*prod.way, sys.executable, "-c", WATCHER, address, patience]
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    threading.Thread(target=lambda: seen.extend(map(json.loads, watcher.stdout)), daemon=True).start()
    try:
        wait_until(lambda: (seen and seen[-1][1] == "up") or watcher.poll() is not None, 5)
        if not seen or seen[-1][1] != "up":
            return Outage([], 0, within)
        time.sleep(0.4)  # so that the picture begins with what was before
        began = time.monotonic()
        status, told = prod.ask(lines)
        asked = time.monotonic()
        print(labkit.masked(told) if status != 255 else "", end="")  # a reboot may cut the line: no news

        def over() -> bool:
            was_down = any(what == "down" for _, what in seen[1:])
            patient = asked + (seconds if within[1] else 1) < time.monotonic()
            return bool(seen) and seen[-1][1] == "up" and (was_down or patient)

        wait_until(over, seconds)
        time.sleep(0.4)
        return Outage([(when - began, what) for when, what in seen], time.monotonic() - began, within)
    finally:
        watcher.stdin.close()
        watcher.wait(10)


def wait_until(fact, seconds: float):
    end = time.monotonic() + seconds
    while not fact() and time.monotonic() < end:
        time.sleep(0.02)


if shell := get_ipython():
    shell.register_magic_function(prod_cell, "cell", "prod")
