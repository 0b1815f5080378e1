"""A production machine in a JSON file: one service under a small systemd, git, a journal, and faults.

Whoever writes the file decides what is wrong with the machine; CORRECT has nothing wrong. Time does not pass
by itself: `now` stands in the file, too. Started for every command, so it imports little.
"""

import json
import os

KEY = "a-key-that-nobody-guesses"
UNIT = """# /etc/systemd/system/pixelwise.service
[Service]
User=produser
EnvironmentFile=/opt/pixelwise/.env
"""

CORRECT = {
    "now": 1000.0,
    "ssh": None,  # what ssh says instead of connecting
    "systemd": True,
    "sudo": True,
    "group": True,  # the user may read the whole journal
    "show": {
        "LoadState": "loaded",
        "FragmentPath": "/etc/systemd/system/pixelwise.service",
        "UnitFileState": "enabled",
        "WorkingDirectory": "/opt/pixelwise",
        "ExecStart": "{ path=/opt/pixelwise/.venv/bin/uvicorn ; argv[]=uvicorn a:b ; ignore_errors=no }",
        "Restart": "always",
        "RestartUSec": "3s",
    },
    "unit": UNIT,
    "command": ["/opt/pixelwise/.venv/bin/python", "/opt/pixelwise/.venv/bin/uvicorn", "a:b"],
    "owner": "produser",
    "address": "0.0.0.0",
    "health": 200,
    "pid": 700,  # 0: it is down
    "back_at": None,  # when systemd starts it again
    "restarts": 0,
    "gave_up": False,  # systemd starts it again only after reset-failed
    "crashes": "",  # "quickly": always between two starts; "slowly": looks fine between two crashes
    "returns": {"kill": True, "stop": False, "boot": True, "start": True},  # whether it runs after that
    "health_after_kill": 200,
    "boots": 1,
    "env": {"mode": "600", "text": f"DEBUG=false\nSECRET_API_KEY={KEY}\n", "readable": True},
    "git": {"there": True, "tracked": "", "history": "", "broken": ""},
    "journal": ["Started pixelwise.service."],
    "logs": ["/health", "/no-such-page", "/classify"],  # what it logs about arrives in the journal
    "obeys": True,  # whether systemctl stop and reboot work
    "woken": False,  # whether a request, after 10 s without an answer, starts it
    "impostor": False,  # whether another server answers while the service is down
    "logs_key": False,
    "commands": [],  # all that was asked
    "unknown": [],  # what was asked and this machine cannot do
}


class Machine:
    """The machine in `path`; with every call it reads the file, does one thing, and writes it again."""

    def __init__(self, path: str):
        self.path = path

    def __enter__(self) -> dict:
        with open(self.path) as file:  # noqa: PTH123  pathlib would double the time of an ssh
            self.state = json.load(file)
        self._pass_time()
        return self.state

    def __exit__(self, *problem) -> None:
        with open(self.path + ".new", "w") as file:  # noqa: PTH123
            json.dump(self.state, file)
        os.replace(self.path + ".new", self.path)  # noqa: PTH105

    def _pass_time(self) -> None:
        it = self.state
        if it["pid"] == 0 and it["back_at"] is not None and it["now"] >= it["back_at"]:
            it["restarts"] += 1
            self._run(it["health_after_kill"])
        if it["crashes"]:
            it["restarts"] = int(it["now"] / 3)

    def _run(self, health: int = 200) -> None:
        self.state["pid"], self.state["health"] = 700 + len(self.state["commands"]), health
        self.state["back_at"] = None
        self.state["journal"].append("Started pixelwise.service.")

    # ---- over the network ----

    def http(self, path: str, key: str | None) -> int:
        """The status of an answer; 0 where none comes."""
        with self as it:
            if it["woken"] and not it["pid"]:
                it["now"] += 10
                self._run()
                return 0
            if not (it["pid"] or it["impostor"]) or it["address"].startswith("127."):
                return 0
            status = it["health"] if path == "/health" else 404
            if path in it["logs"]:
                it["journal"].append(f"{path} {status}" + (f" {key}" if it["logs_key"] else ""))
            return status

    def ssh(self, user: str, host: str, command: str) -> tuple[int, str, str]:
        """(status, stdout, stderr) of a command."""
        with self as it:
            it["commands"].append(command)
            if it["ssh"] is not None:
                return 255, "", it["ssh"]
            self.root = user == "root"
            if command.startswith("sudo -n "):
                if not it["sudo"]:
                    return 1, "", "sudo: a password is required\n"
                command, self.root = command.removeprefix("sudo -n "), True
            for start, method in self.COMMANDS.items():
                if command.startswith(start):
                    return method(self, command[len(start) :])
            return self._unknown(command)

    # ---- the commands ----

    def _show(self, names: str):
        it = self.state
        if not it["systemd"]:
            return 1, "", "System has not been booted with systemd as init system (PID 1). Can't operate.\n"
        up, between = it["pid"] != 0, it["back_at"] is not None or it["crashes"] == "quickly"
        told = it["show"] | {
            "ActiveState": "activating" if between else "active" if up else "inactive",
            "SubState": "auto-restart" if between else "running" if up else "dead",
            "Result": "exit-code" if between else "success",
            "MainPID": str(it["pid"]),
            "NRestarts": str(it["restarts"]),
        }
        return 0, "".join(f"{name}={told[name]}\n" for name in names.split(",") if name in told), ""

    def _cat_unit(self, _):
        return 0, self.state["unit"], ""

    def _unknown(self, command: str):
        self.state["unknown"].append(command)
        return 127, "", f"{command}: command not found\n"

    def _do(self, rest: str):
        it = self.state
        verb = rest.removesuffix(" pixelwise.service")
        if not self.root:
            return 1, "", "Failed: Interactive authentication required.\n"
        if not it["obeys"] and verb in ("stop", "reboot"):
            return 1, "", "Failed: Operation refused.\n"
        if verb == "stop":
            it["pid"], it["back_at"] = 0, it["now"] + 1 if it["returns"]["stop"] else None
        elif verb in ("start", "restart") and it["gave_up"]:
            return 1, "", "Failed to start pixelwise.service: Start request repeated too quickly.\n"
        elif verb == "restart" or (verb == "start" and not it["pid"] and it["returns"]["start"]):
            self._run()
        elif verb == "reset-failed":
            it["gave_up"] = False
        elif verb == "reboot":
            it["gave_up"] = False
            it["boots"] += 1
            it["pid"] = 0
            if it["show"]["UnitFileState"] == "enabled" and it["returns"]["boot"]:
                self._run()
            return 255, "", "Connection to 192.168.56.11 closed by remote host.\n"
        elif verb != "start":
            return self._unknown(rest)
        return 0, "", ""

    def _kill(self, pid: str):
        it = self.state
        if not self.root and it["owner"] != "produser":
            return 1, "", f"kill: ({pid}) - Operation not permitted\n"
        if int(pid) != it["pid"]:
            return 1, "", f"kill: ({pid}) - No such process\n"
        it["pid"] = 0
        if it["show"]["Restart"] == "always" and it["returns"]["kill"]:
            it["back_at"] = it["now"] + 3
        else:
            it["gave_up"] = True
        return 0, "", ""

    def _owner(self, pid: str):
        return (
            (0, self.state["owner"] + "\n", "")
            if int(pid) == self.state["pid"]
            else (1, "", "no such file\n")
        )

    def _command_line(self, pid: str):
        return 0, " ".join(self.state["command"]) + " ", ""

    def _listening(self, port: str):
        place = f"LISTEN 0 2048 {self.state['address']}:{port.strip(chr(39))} 0.0.0.0:*\n"
        return 0, place if self.state["pid"] else "", ""

    def _journal(self, options: str):
        it = self.state
        lines, hint = it["journal"], ""
        if not it["group"] and not self.root:
            lines, hint = [], "Hint: You are currently not seeing messages from other users and the system.\n"
        if "--show-cursor" not in options:
            return 0, "\n".join(lines) + "\n", hint
        own = [number for number, line in enumerate(lines) if not line.startswith("Started")]
        return 0, f"{lines[own[-1]]}\n-- cursor: s=1;i={own[-1]}\n" if own else "-- No entries --\n", hint

    def _mode(self, _):
        mode = self.state["env"]["mode"]
        return (
            (0, mode + "\n", "") if mode else (1, "", "stat: cannot statx '…': No such file or directory\n")
        )

    def _env(self, _):
        env = self.state["env"]
        return (
            (0, env["text"], "")
            if env["readable"] or self.root
            else (1, "", "cat: .env: Permission denied\n")
        )

    def _git(self, what: str):
        git = self.state["git"]
        if not git["there"]:
            return 128, "", "fatal: not a git repository (or any of the parent directories): .git\n"
        if git["broken"]:
            return 128, "", git["broken"]
        return 0, git["tracked" if what == "ls-files -- .env" else "history"], ""

    def _boot(self, _):
        return 0, f"0b1e0000-0000-4000-8000-{self.state['boots']:012}\n", ""

    COMMANDS = {  # the start of a command, and what takes the rest; without regular expressions it is quicker
        "systemctl show pixelwise.service --property=": _show,
        "systemctl cat pixelwise.service": _cat_unit,
        "systemctl ": _do,
        "kill -9 ": _kill,
        "stat -c %U /proc/": _owner,
        "tr '\\0' ' ' < /proc/": _command_line,
        "ss -Hltn 'sport = :": _listening,
        "journalctl ": _journal,
        "stat -L -c %a /opt/pixelwise/.env": _mode,
        "cat /opt/pixelwise/.env": _env,
        "git -c safe.directory=/opt/pixelwise -C /opt/pixelwise ": _git,
        "cat /proc/sys/kernel/random/boot_id": _boot,
    }
