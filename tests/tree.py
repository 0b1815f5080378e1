"""Copies of the kit as it is on this disk, committed or not."""

import shlex
import shutil
import subprocess
from importlib.util import cache_from_source
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def tracked() -> list[str]:
    """The files that git knows or does not ignore, relative to the root."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [name for name in names if name and (ROOT / name).is_file()]


def copy_to(folder: Path, without: tuple[str, ...] = ()) -> Path:
    """Copy them into a folder, which may be new, but those that start with one of `without`; returns it."""
    for name in tracked():
        if not name.startswith(without):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def copy_of_the_kit(folder: Path) -> Path:
    """Copy what a lab may need, and what git ignores of it and every start would make again, in a second:
    the prepared model, and bytecode, which holds for a file of the same time and size alone."""
    copy_to(folder, without=("tests/", "bench/"))
    for source in [path for path in folder.rglob("*.py") if path.is_file()]:
        made = Path(cache_from_source(ROOT / source.relative_to(folder)))
        if made.is_file():
            kept = Path(cache_from_source(source))
            kept.parent.mkdir(exist_ok=True)
            shutil.copy2(made, kept)
    prepared = ROOT / "models" / ".prepared"
    if prepared.is_dir():
        shutil.copytree(prepared, folder / "models" / ".prepared")
    return folder


def changed_kit(folder: Path, changes: list[tuple[str, str, str]]) -> Path:
    """The same with these changes: file, what stands there, what takes its place."""
    copy_of_the_kit(folder)
    for file, old, new in changes:
        text = (folder / file).read_text(encoding="utf-8")
        assert old in text, f"{file} no longer has {old!r}"
        (folder / file).write_text(text.replace(old, new), encoding="utf-8")
    return folder


def from_setup(function: str, *words, **variables) -> list[str]:
    """Call a function of setup-server.sh with these words and no variables but these; the lines it prints."""
    text = (ROOT / "setup-server.sh").read_text(encoding="utf-8")
    body = text.partition(f"\n{function}() {{\n")[2].partition("\n}\n")[0]
    variables = {"ROOT": ROOT, **variables}
    script = "\n".join(f'{name}="{value}"' for name, value in variables.items())
    script += f"\n{function}() {{\n{body}\n}}\n{shlex.join([function, *map(str, words)])}"
    done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()
