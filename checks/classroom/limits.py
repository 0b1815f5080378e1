"""What one sandbox may use, and how that is said."""

from dataclasses import dataclass

APT = "apt-get install bubblewrap libseccomp2 iproute2 util-linux libarchive13"


class SandboxError(Exception):
    """Nothing can be run safely here; says why and what to do."""


@dataclass(frozen=True)
class Limits:
    """What one sandbox may use. memory counts what it wrote as well, as its files are in memory; disk is
    shared out: half of it to the folder, three eighths to /tmp, one to /dev/shm."""

    seconds: float = 300  # of wall time, each command
    memory: int = 1 << 30  # bytes
    processes: int = 128  # threads count
    disk: int = 256 << 20  # bytes
    output: int = 1 << 20  # bytes kept: the first half and the last
    files: int = 1024  # open at once, each process


def visible(text: str) -> str:
    r"""The text with every character that could steer a terminal, or fool an eye, written as \x1b or \u202e;
    line ends and tabs stay."""
    if text.isprintable():  # nearly always
        return text
    return "".join(
        character
        if character in "\n\t" or character.isprintable()
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def size(number: float) -> str:
    """1073741824 as "1 GiB"."""
    for unit in ("bytes", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.4g} {unit}"
        number /= 1024
    return f"{number:.4g} GiB"
