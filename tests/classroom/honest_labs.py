"""The process of test_honest.py: runs its labs in one kernel, and prints what becomes of each variant.

A task is on stdin, in JSON; the argument is a folder for all that is written.
"""

import contextlib
import dataclasses
import importlib.util
import json
import logging
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

from waitress import wasyncore
from waitress.server import create_server

from checks.classroom import exercises, labs, machine
from checks.classroom.judge import labkit_of
from checks.classroom.kernel import Kernel
from checks.classroom.limits import Limits
from checks.classroom.sandbox import Sandbox

ONCE = ("unit", "route", "start")  # what costs most to judge: once for all that have the same value
BEGIN = """
import labkit
shell, kept, second_cells = get_ipython(), {}, {"go_on()"}

def keep():
    kept.update(shell.user_ns)
    shell.events.register("pre_run_cell", back)

def back(told):
    names = shell.user_ns
    if told.raw_cell not in second_cells:
        for name in set(names) - set(kept):
            del names[name]
        names.update(kept)

def go_on():
    shell.events.unregister("pre_run_cell", back)
"""
NO_STARTS = "labkit.Server.start = labkit.Server.restart = lambda self: self.use()"


class Thread:
    """A server.py that runs in this process, in the place of one that is started; log: its lines."""

    models = []  # loaded once

    def __init__(self, folder: Path, environ: dict[str, str]):
        spec = importlib.util.spec_from_file_location("server_of_a_thread", folder / "server.py")
        server = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(server)
        self.log, self.sockets, self.ended = [], {}, None
        server.journal = SimpleNamespace(write=lambda priority, line: self.log.append(f"{line}\n"))
        settings = server.read_settings(environ)
        if not self.models:
            path = folder / settings.model_path
            self.models.append(server.load(path, server.listed_digest(path)))
        app = server.build_app(settings, self.models[0])
        options = {"threads": 2, "clear_untrusted_proxy_headers": False}
        self.server = create_server(app, host="127.0.0.1", port=0, map=self.sockets, **options)
        self.url = f"http://127.0.0.1:{self.server.effective_port}"
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()

    def poll(self) -> int | None:
        return self.ended

    def terminate(self) -> None:
        self.ended = 0
        self.server.trigger.pull_trigger(lambda: wasyncore.close_all(self.sockets, ignore_all=True))

    def wait(self, seconds: float) -> None:
        self.thread.join(seconds)


def start(server) -> None:
    """In the place of running.Server.start."""
    server.stop()
    environ = server.environ()
    if environ["RATE_LIMIT"] == "30/minute":  # which is for one of each exercise
        environ["RATE_LIMIT"] = "off"
    server.process = Thread(server.folder, environ)
    server.url = server.process.url
    server.use()


class Lab(labs.Lab):
    """A lab whose exercises have variants, in a kernel that others have had before."""

    def __init__(self, task: dict, lab: dict, scratch: Path, tell, kernel: Kernel):
        super().__init__(task, lab | {"done": list(lab["variants"])}, scratch, tell)
        self.kernel, self.judge_anew, self.known = kernel, self.judge.judge, {}
        self.judge.judge = self.judge_once

    def run_again(self) -> None:
        self.run_in(self.kernel, set())
        self.kernel.run("go_on(); labkit.run = labkit.run_for_less", labs.CELL_SECONDS)

    def judge_once(self, exercise, value) -> tuple[bool, str]:
        if exercise.way not in ONCE:
            return self.judge_anew(exercise, value)
        known = exercise.value, repr(value)
        if known not in self.known:
            self.known[known] = self.judge_anew(exercise, value)
        return self.known[known]

    def on_a_machine(self, asked: dict[str, str]) -> dict[str, dict]:
        like = {name: (machine.BEFORE[name], lines) for name, lines in asked.items()}
        one = {lines: name for name, lines in like.items()}
        states = super().on_a_machine({name: asked[name] for name in one.values()})
        return {name: states[one[lines]] for name, lines in like.items() if one[lines] in states}

    @contextlib.contextmanager
    def serve(self, folder: Path, key: str):
        server = Thread(folder, {"SECRET_API_KEY": key, "DEBUG": "true"})
        yield server.url
        server.terminate()


def ready(lab: dict) -> list[dict]:
    """The cells of a lab, with those between them that make each variant begin where the first one did."""

    def ours(source: str) -> dict:
        return {"source": source, "of": "", "first": True, "last": True}

    second = [cell["source"] for cell in lab["cells"] if cell["of"] and not cell["first"]]
    begin = f"{lab['imports']}\n{BEGIN}\nsecond_cells.update({second!r})\n"
    made, before = [ours(begin + NO_STARTS if lab["lab"] >= "05" else begin)], ""
    for cell in lab["cells"]:
        exercise = cell["of"].rpartition(" ")[0]
        if exercise != before:
            made += [ours("go_on()")] * bool(before) + [ours("keep()")] * bool(exercise)
        made.append(cell)
        before = exercise
    return made


def main() -> None:
    task, scratch = json.load(sys.stdin), Path(sys.argv[1])
    made = []
    for lab in task["labs"]:
        for name in lab["variants"]:
            exercise = exercises.BY_NAME[f"lab{lab['lab'][:2]}.{name.rpartition(' ')[0]}"]
            made.append(dataclasses.replace(exercise, name=name, cells=exercise.judged_by))
            machine.BEFORE[name] = machine.BEFORE.get(exercise.name)
    exercises.EXERCISES = tuple(made)
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    running = labkit_of(Path(task["instructor"]), "")
    running.EchoService.start, running.EchoService.raw_log = running.Server.start, running.Server.raw_log
    running.Server.start = running.Server.restart = start
    running.Server.raw_log = lambda server: "".join(getattr(server.process, "log", ()))
    runtime = scratch / "kernel" / "runtime"
    runtime.mkdir(parents=True)
    with (
        Sandbox(Path(task["kit"]), Limits(**task["limits"]), readable=[runtime]) as sandbox,
        Kernel(sandbox, runtime) as kernel,
    ):
        for lab in task["labs"]:
            Lab(
                task,
                lab | {"cells": ready(lab)},
                scratch,
                lambda told: print("\n" + json.dumps(told), flush=True),
                kernel,
            ).run()


if __name__ == "__main__":
    main()
