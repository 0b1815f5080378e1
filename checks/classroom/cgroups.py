"""The limits of a sandbox on memory and processes: by cgroups of version 1 or 2, else by adding up."""

import contextlib
import os
from pathlib import Path

from checks.classroom.limits import Limits, SandboxError


class Cgroups:
    """The cgroups of one sandbox, below those of this process: version 1 or 2, whichever may be written."""

    def __init__(self, name: str, limits: Limits):
        self.limits, self.limit_memory = limits, False
        self._v1 = {
            controller: mount / name
            for controller, mount in _v1_controllers().items()
            if controller in ("memory", "pids", "cpu") and os.access(mount, os.W_OK)
        }
        self._v2 = None if "memory" in self._v1 else _v2_parent(name)
        self.folders = list(dict.fromkeys([*self._v1.values(), *([self._v2] if self._v2 else [])]))
        self.joined_by = [folder / "cgroup.procs" for folder in self.folders]

    def make(self) -> None:
        """Make them, and set their limits. Raises SandboxError."""
        limits = self.limits
        settings = []
        if "memory" in self._v1:
            folder = self._v1["memory"]
            settings += [(folder / "memory.limit_in_bytes", limits.memory)]
            settings += [(folder / "memory.memsw.limit_in_bytes", limits.memory)]
        if "pids" in self._v1:
            settings += [(self._v1["pids"] / "pids.max", limits.processes + 8)]  # bwrap and its helpers
        if self._v2:
            settings += [(self._v2 / "memory.max", limits.memory), (self._v2 / "memory.swap.max", 0)]
            settings += [(self._v2 / "memory.oom.group", 1), (self._v2 / "pids.max", limits.processes + 8)]
        try:
            for folder in self.folders:
                with contextlib.suppress(FileNotFoundError):
                    folder.rmdir()  # left behind by a machine's sudden death of both grader and janitor
                folder.mkdir()
            for file, value in settings:
                if file.exists():
                    file.write_text(str(value))
        except OSError as problem:
            raise SandboxError(f"cannot set the limits of the sandbox: {problem}") from None
        self.limit_memory = "memory" in self._v1 or self._v2 is not None

    def kills(self) -> int:
        """How many of its processes were killed for the memory so far."""
        files = [self._v1["memory"] / "memory.oom_control"] if "memory" in self._v1 else []
        files += [self._v2 / "memory.events"] if self._v2 else []
        for file in files:
            with contextlib.suppress(OSError):
                counts = dict(line.split() for line in file.read_text().splitlines())
                return int(counts.get("oom_kill", 0))
        return 0


def _own_cgroups() -> dict[str, str]:
    """controller → this process's path in its hierarchy; "" is that of version 2."""
    found = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            found.update(dict.fromkeys(controllers.split(","), path))
    return found


def _v1_controllers() -> dict[str, Path]:
    """controller → the folder of this process's own cgroup."""
    own, found = _own_cgroups(), {}
    for _, _, place, kind, options in _mounts():
        if kind == "cgroup":
            for controller in options.split(","):
                if controller in own:
                    folder = Path(place + own[controller])
                    found[controller] = folder if folder.is_dir() else Path(place)
    return found


def _v2_parent(name: str) -> Path | None:
    """The folder for a cgroup of version 2 whose memory can be limited, or None."""
    own = _own_cgroups().get("")
    for _, _, place, kind, _ in _mounts():
        if kind == "cgroup2" and own is not None:
            for parent in (Path(place + own), Path(place + own).parent, Path(place)):
                with contextlib.suppress(OSError):
                    handed_down = (parent / "cgroup.subtree_control").read_text().split()
                    if {"memory", "pids"} <= set(handed_down) and os.access(parent, os.W_OK):
                        return parent / name
    return None


def _mounts():
    """source, options, place, type, options of the file system."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
            fields, _, rest = line.partition(" - ")
            kind, source, options = rest.split(" ", 2)
            yield source, fields.split()[5], fields.split()[4], kind, options


def memory_of(pid: int) -> int:
    """Bytes of resident memory of a process and all its descendants."""
    children, resident = {}, {}
    page = os.sysconf("SC_PAGE_SIZE")
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(folder.name))
                resident[int(folder.name)] = int(fields[21]) * page
    total, left = 0, [pid]
    while left:
        one = left.pop()
        total += resident.get(one, 0)
        left += children.pop(one, [])
    return total
