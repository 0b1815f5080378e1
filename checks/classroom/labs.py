"""The process that runs the labs of a submission: each in a kernel of its own, and their exercises judged.

`python -c "from checks.classroom import labs; labs.main()"` with a task on stdin, in JSON; it writes a line
of JSON for every exercise to the file that the task names, the moment it is known.
"""

import contextlib
import json
import socket
import sys
import time
from pathlib import Path

from checks.classroom import exercises, machine
from checks.classroom.exercises import LEFT_OUT, Exercise
from checks.classroom.judge import Judge, TooSlow, is_lines, new_key
from checks.classroom.kernel import Dead, Kernel
from checks.classroom.limits import Limits
from checks.classroom.needs import without
from checks.classroom.plain import NotPlain
from checks.classroom.sandbox import Sandbox, SandboxError

SLOW = 30  # seconds: whose cell takes longer and is wrong is judged once more, on a machine with less to do
CELL_SECONDS, SHELL_SECONDS = 180, 150  # for a cell, and for the shell lines in one, on a busy machine
START = """import labkit, running
running.KEY, labkit.run_for_less = {key!r}, labkit.run
labkit.run = lambda command, cell, seconds, **more: labkit.run_for_less(
    command, cell, max(seconds, {seconds}), **more
)
"""
STARTS = 4  # of a kernel, for one lab: an exercise that ends it takes no other with it
IN_ORDER = (
    "its cell ends with this error where the lab runs from its first cell to its last (Kernel, Restart "
)
IN_ORDER += "Kernel and Run All Cells shows it): what it uses has to stand above it"


class Lab:
    """One lab of one submission. tell: called with what becomes of each exercise."""

    def __init__(self, task: dict, lab: dict, scratch: Path, tell):
        self.task, self.tell, self.scratch = task, tell, scratch
        self.cells, self.done, self.number = lab["cells"], set(lab["done"]), lab["lab"][:2]
        self.key, self.seconds = new_key(), task.get("cell_seconds", CELL_SECONDS)
        self.limits = Limits(**task["limits"])
        kit, machine_kit = Path(task["instructor"]), Path(task["machine"])
        self.judge = Judge(kit, Path(lab["ours"]), self.key, self.shell, machine_kit, self.serve)
        self.error = ""  # with which the cells of an exercise ended
        self.later, self.states = [], {}  # what is judged on a machine; states of that
        self.open = {}  # exercises that are still to be judged
        for one in exercises.of_lab(self.number):
            if one.human:
                self.say(one, None, reason=one.human)
            elif one.name in self.done:
                self.open[one.name] = one
            else:
                self.say(one, False, received="nothing: the cell is as it was")

    def run(self) -> None:
        """Run it, and again from its beginning without what ended its kernel."""
        try:
            self.run_again()
            lines = {one.name: value for one, value in self.later if is_lines(value)}
            self.states = self.on_a_machine(lines) if len(lines) > 1 else {}
            for exercise, value in self.later:
                self.decide(exercise, value)
        finally:
            self.judge.close()

    def run_again(self) -> None:
        bad: set[str] = set()
        for _ in range(STARTS):
            if not self.open:
                return
            culprit = self.once(bad)
            if culprit is None:
                break
            bad.add(culprit)
        for one in list(self.open.values()):
            self.say(one, None, reason="the kernel of its lab ended before it")

    def once(self, bad: set[str]) -> str | None:
        """Run its cells in a kernel; returns the exercise in which that ended, if it did."""
        runtime = self.scratch / f"lab{self.number}-{len(bad)}" / "runtime"
        runtime.mkdir(parents=True)
        runtime.chmod(0o755)  # the kernel's user has to read in it; scratch keeps everybody else out
        self.at = ""
        with Sandbox(Path(self.task["kit"]), self.limits, readable=[runtime]) as sandbox:
            try:
                with Kernel(sandbox, runtime) as kernel:
                    self.run_in(kernel, bad)
            except Dead as problem:
                if self.at in self.open:
                    self.say(self.open[self.at], False, received=str(problem))
                return self.at
        return None

    def run_in(self, kernel: Kernel, bad: set[str]) -> None:
        """Run its cells, but those of the exercises in `bad`. Raises Dead."""
        kernel.run(START.format(key=self.key, seconds=SHELL_SECONDS), CELL_SECONDS)
        for cell in self.cells:
            if not self.open:
                break
            self.at = cell["of"]
            if self.at in bad:
                continue
            exercise = self.open.get(self.at)
            if exercise and cell["first"]:
                self.lend(kernel, exercise)
                self.error = ""
            began = time.monotonic()
            self.error = kernel.run(cell["source"], self.seconds if self.at else CELL_SECONDS) or self.error
            self.took = time.monotonic() - began
            if exercise and cell["last"]:
                self.take(kernel, exercise)

    def lend(self, kernel: Kernel, exercise: Exercise) -> None:
        for name, url in self.judge.lend(exercise).items():
            kernel.run(f"{name}.url, {name}.own_url = {url!r}, {name}.url; {name}.use()", CELL_SECONDS)

    def take(self, kernel: Kernel, exercise: Exercise) -> None:
        """Take the value of an exercise out of the kernel, and have it judged."""
        try:
            value = kernel.value(exercise.told or exercise.value)
        except NotPlain as problem:
            missing = self.error and str(problem).startswith("NameError")
            received, reason = (self.error, IN_ORDER) if missing else (str(problem), "")
            self.say(exercise, False, received=received, reason=reason)
            return
        for name in exercise.wire:
            kernel.run(f"{name}.url = {name}.own_url; {name}.use()", CELL_SECONDS)
        if exercise.way == "shell":
            self.later.append((exercise, value))  # on one machine, all together
            self.open.pop(exercise.name)
        else:
            self.decide(exercise, value, self.error)

    def decide(self, exercise: Exercise, value, error: str = "") -> None:
        try:
            right, wanted = self.judge.judge(exercise, value)
        except TooSlow:
            self.say(exercise, None, reason="the time for this exercise was used up")
        else:
            why = f"its cell took longer than {SLOW} s" if self.took > SLOW else error and IN_ORDER
            received = error if error and value is None else repr(value)[:200]
            self.say(exercise, right, received=received, expected=wanted, reason="" if right else why)

    def say(self, exercise: Exercise, right: bool | None, **more: str) -> None:
        self.open.pop(exercise.name, None)
        self.tell({"lab": exercise.lab, "exercise": exercise.name, "right": right, **more})

    @contextlib.contextmanager
    def serve(self, folder: Path, key: str):
        """The address of the server in a folder, which runs in a sandbox. Raises NotPlain."""
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        environ = {"SECRET_API_KEY": key, "HOST": "127.0.0.1", "PORT": str(port), "DEBUG": "true"}
        with Sandbox(folder, self.limits) as sandbox:
            running = sandbox.start([sys.executable, "server.py"], environ)
            deadline = time.monotonic() + CELL_SECONDS
            while "listening on" not in running.output:
                if running.wait(0.05) or time.monotonic() > deadline:
                    raise NotPlain("a route with which the server starts is wanted")
            yield f"http://127.0.0.1:{port}"

    def shell(self, exercise: str, lines: str) -> dict:
        """The state of the machine for practice after these lines. Raises NotPlain."""
        if exercise not in self.states:  # another one's lines ended the machine, or it is asked for alone
            self.states |= self.on_a_machine({exercise: lines})
        if exercise not in self.states:
            raise NotPlain("lines that leave the machine in order are wanted")
        return self.states.pop(exercise)

    def on_a_machine(self, asked: dict[str, str]) -> dict[str, dict]:
        with Sandbox(Path(self.task["machine"]), self.limits) as sandbox:
            return machine.run_in(sandbox, asked)


def main() -> int:
    """The process: a task on stdin."""
    task = json.load(sys.stdin)
    out = Path(task["found"]).open("a", encoding="utf-8")  # noqa: SIM115 (to the end)

    def tell(told: dict) -> None:
        out.write(json.dumps(told) + "\n")
        out.flush()

    for lab in task["labs"]:
        number = lab["lab"][:2]
        lab["cells"] = without(lab["cells"], LEFT_OUT.get(number, ()))
        began = time.monotonic()
        with contextlib.suppress(SandboxError):
            Lab(task, lab, Path(task["scratch"]), tell).run()
        tell({"lab": number, "seconds": time.monotonic() - began})
    return 0
