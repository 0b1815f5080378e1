"""Runs sandboxes on request: a process of its own, because a sandbox wants to be where no network is.

    python tests/hostile/driver.py      in that namespace; a JSON object a line on stdin, and one on stdout

A request has folder and command, and may have env, limits, seconds, readable, without_cgroups, from_a_thread
and then: "stop" (the default) or "stay", which answers while the command still runs.
"""

import json
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from checks.classroom import cgroups, limits, sandbox

staying = []


def answer(request: dict) -> dict:
    cgroups._v1_controllers, cgroups._v2_parent = CGROUPS
    if request.get("without_cgroups"):
        cgroups._v1_controllers, cgroups._v2_parent = dict, lambda name: None
    box = sandbox.Sandbox(
        Path(request["folder"]),
        limits.Limits(**request.get("limits", {})),
        readable=list(map(Path, request.get("readable", []))),
    )
    began = time.monotonic()
    try:
        box.__enter__()
        started = []
        if request.get("from_a_thread"):
            thread = threading.Thread(target=lambda: started.append(box.start(request["command"], {})))
            thread.start()
            thread.join()
        else:
            started.append(box.start(request["command"], request.get("env", {})))
        running = started[0]
        running.wait(request.get("seconds", 10))
        seen = {"ended": running.ended, "pid": running.pid, "user": box.user}
        folders = [*box.cgroups.folders, box._settings]
        seen["folders"] = {str(folder): folder.stat().st_ino for folder in folders}
        if request.get("then") == "stay":
            staying.append((box, running))
        else:
            running.stop()
            box.__exit__()
        return seen | {
            "status": running.status,
            "output": running.output,
            "why": running.ended,
            "seconds": time.monotonic() - began,
        }
    except limits.SandboxError as problem:
        return {"error": str(problem)}


CGROUPS = cgroups._v1_controllers, cgroups._v2_parent
if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
