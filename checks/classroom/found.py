"""What a submission holds: the folder of its work, its server, its unit file, whatever it is called."""

import re
from pathlib import Path

HOST, PORT = "127.0.0.1", 8000
LOOKED_FOR = {"server.py": "server", "app/main.py": "app.main", "main.py": "main", "app.py": "app"}
KIT = {"deploy", "labs", "models", "notebooks", "schemas"}  # what stands beside a server, or around it
WITHOUT = {
    "bench",
    "checks",
    "docs",
    "labs",
    "notebooks",
    "test",
    "tests",
}  # a server in there is not the one
KEPT = KIT | {"app"}  # a single top folder with such a name is no wrapping
DEPTH = 4  # folders in folders in which a server is looked for
SHOWN = 5  # files that are named where there is no server


class CannotGrade(Exception):
    """Nothing could be found out about a submission's server. The message: why, and the remedy."""

    def __init__(self, message: str, detail: str = "", again: bool = False):
        super().__init__(message)
        self.detail = detail  # what was seen, and may differ from run to run
        self.again = again  # the cause lies with the grader's machine: the next run tries it again


def servers_in(root: Path) -> list[str]:
    """The files that may be the server, relative to root: those that are the least deep, of the first name
    of LOOKED_FOR that is there. Several, where it is not plain which one counts."""
    level = [root]
    for _ in range(DEPTH + 1):
        for file in LOOKED_FOR:
            if found := [one / file for one in level if is_plain(one / file)]:
                return [path.relative_to(root).as_posix() for path in found]
        level = [
            path
            for folder in level
            for path in sorted(folder.iterdir())
            if path.is_dir() and not path.is_symlink() and path.name not in WITHOUT
        ]
        level = [path for path in level if not path.name.startswith(".")]
    return []


def is_plain(path: Path) -> bool:
    """Whether it is a file, and no link to one."""
    return path.is_file() and not path.is_symlink()


def root_of(folder: Path) -> Path:
    """The folder of the work: where a part of the kit stands around the server, else where the server is."""
    found = servers_in(folder)
    if len(found) != 1:
        return _unwrapped(folder)
    home = folder / found[0].removesuffix("app/main.py")
    home = home if home.is_dir() else home.parent
    around = [home, *(one for one in home.parents if one.is_relative_to(folder))]
    with_more = [one for one in around if any((one / name).is_dir() for name in KIT)]
    return with_more[-1] if with_more else home


def _unwrapped(root: Path) -> Path:
    """Without the folder around it: whoever packs a folder packs it with its name."""
    while True:
        inside = list(root.iterdir())
        if len(inside) != 1 or not inside[0].is_dir() or inside[0].name in KEPT:
            return root
        root = inside[0]


def find_server(root: Path) -> list[str]:
    """The command that starts the submission's server, in its folder: `python FILE`, or uvicorn where the
    file has an `app` and starts nothing itself. Raises CannotGrade, which says what was looked for."""
    found = servers_in(root)
    if len(found) > 1:
        raise CannotGrade(f"there are {len(found)} servers ({named(found)}): hand in the one that counts")
    if not found:
        looked = ", ".join(LOOKED_FOR)
        raise CannotGrade(f"no server was found (looked for {looked}): {_instead(root)}")
    file = next(name for name in LOOKED_FOR if f"/{found[0]}".endswith(f"/{name}"))
    where = found[0].removesuffix(file).rstrip("/")
    # in its own folder, unless the model stands around it
    from_root = where and (root / "models").is_dir() and not (root / where / "models").is_dir()
    go = ["env", "-C", where] if where and not from_root else []
    with (root / found[0]).open("rb") as opened:
        text = opened.read(1 << 20).decode("utf-8", "replace")
    has_app = re.search(r"^app\b[^=\n]*=", text, re.MULTILINE)
    starts_itself = re.search(r"__main__|^[\w.]*\b(run|serve|serve_forever)\(", text, re.MULTILINE)
    if has_app and (file == "app/main.py" or not starts_itself):
        at = ["--host", HOST, "--port", str(PORT), *(["--app-dir", where] if from_root else [])]
        return [*go, "python", "-m", "uvicorn", f"{LOOKED_FOR[file]}:app", *at]
    return [*go, "python", found[0] if from_root else file]


def _instead(root: Path) -> str:
    """The remedy where no server was found: what is there that may be meant for it."""
    there = sorted(path.relative_to(root) for path in root.rglob("*") if is_plain(path))
    there = [path for path in there if not set(path.parts) & WITHOUT]
    for path in there:
        meant = re.sub(r" ?\(\d+\)|\.txt$|\s", "", path.name.lower())
        if meant in LOOKED_FOR:
            return f"call {path.as_posix()} {meant}, and hand it in again"
    programs = [path.as_posix() for path in there if path.suffix == ".py"]
    if programs:
        return f"there is {named(programs)}: call the file that starts the server server.py"
    if 0 < len(there) <= SHOWN:
        only = named([path.as_posix() for path in there])
        return f"there is only {only}: hand in the folder that holds the server"
    return "hand in the folder that holds the server"


def named(paths: list[str]) -> str:
    """Some of these names, for a sentence."""
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return ", ".join(path[:120] for path in paths[:SHOWN]) + more


def find_unit(root: Path) -> Path | None:
    """The unit file: deploy/pixelwise.service, else the only one of that name, else the only .service."""
    for pattern in ("deploy/pixelwise.service", "**/pixelwise.service", "**/*.service"):
        found = [path for path in root.glob(pattern) if is_plain(path)]
        if len(found) == 1:
            return found[0]
    return None
