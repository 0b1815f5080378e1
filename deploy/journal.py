"""Log lines on stderr that hold up nobody, for the journal of systemd and for people.

    start()                                      # what `logging` logs becomes such lines, too
    write(6, "192.0.2.7 GET /health 200")        # priorities as in syslog: 3 error, 4 warning, 6 info

A line has the priority that `journalctl -p` asks for when systemd's journal reads it, else the time and a
word. It is written with one system call that never waits. Where nobody reads (a full pipe, a full disk, a
closed descriptor) it is lost, and counted: the next line that gets through says how many were lost before it.
"""

import functools
import logging
import os
import re
import select
import socket
import stat
import threading
import time
from contextlib import suppress

LEVELS = {3: "ERROR", 4: "WARNING", 6: "INFO"}
LONGEST = 1000  # characters of a line

lost = 0  # lines since the last one that got through
lock = threading.Lock()


def start() -> None:
    """Send what is logged through this module, and make sure that descriptor 2 is nobody else's."""
    while (
        spare := os.open(os.devnull, os.O_RDWR)
    ) <= 2:  # or the first socket would get a closed stderr's number
        pass
    os.close(spare)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[Handler()], force=True)


class Handler(logging.Handler):
    """A record of `logging` is a line, or several with a traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        priority = 6 if record.levelno < logging.WARNING else 4 if record.levelno < logging.ERROR else 3
        for line in self.format(record).split("\n"):
            write(priority, line)


def write(priority: int, line: str) -> None:
    """Write a line of the log, or count it as lost."""
    global lost
    with lock:
        if lost and written(
            formatted(4, f"{lost} lines of the log were lost: nobody read them, or the disk was full")
        ):
            lost = 0
        if lost or not written(formatted(priority, line)):
            lost += 1


def formatted(priority: int, line: str) -> bytes:
    """The line with its priority for the journal, else with time and level; at most LONGEST characters.
    Whatever is not printable ASCII or plain text of ours is shown as \\xNN, as a client may have sent it."""
    prefix = f"<{priority}>" if journal_reads() else f"{clock_time(int(time.time()))} {LEVELS[priority]} "
    if not line.isprintable() or not line.isascii():
        line = visible(line)
    if len(line) > LONGEST - len(prefix):
        line = line[: LONGEST - len(prefix) - 1] + "…"
    return f"{prefix}{line}\n".encode()


def visible(text: str) -> str:
    """The text with what could disturb a terminal or feign a line (control characters, direction marks, and
    what an encoding cannot show) as \\xNN or \\uNNNN."""
    return re.sub(r"[^ -~…–‘’“”✓✗]", lambda found: found[0].encode("unicode_escape").decode(), text)


@functools.lru_cache(maxsize=1)
def clock_time(second: int) -> str:
    """Date and time of a second since the epoch, worked out once a second."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))


@functools.cache
def journal_reads() -> bool:
    """Whether our stderr goes to systemd's journal: then JOURNAL_STREAM names its device and inode."""
    status = os.fstat(2)
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def written(data: bytes) -> bool:
    """Write it to stderr in one call that does not wait; False where that is not possible."""
    try:
        return sender()(data) == len(data)
    except OSError:
        return False


@functools.cache
def sender():
    """How to write to descriptor 2 without waiting, and without making it non-blocking for others who share
    it.

    The journal is a socket. A pipe or a terminal is opened once more, for a description of our own; where
    that is not allowed (another user's), it is asked before each write, and what is written then fits: all of
    it in a pipe, a byte in a terminal. A file never waits long.
    """
    mode = os.fstat(2).st_mode
    if stat.S_ISSOCK(mode):
        stream = socket.socket(fileno=os.dup(2))
        return lambda data: stream.send(data, socket.MSG_DONTWAIT)
    if stat.S_ISREG(mode):
        return functools.partial(os.write, 2)
    with suppress(OSError):
        own = os.open("/proc/self/fd/2", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        return functools.partial(os.write, own)
    poll, step = select.poll(), 1 if os.isatty(2) else select.PIPE_BUF
    poll.register(2, select.POLLOUT)

    def ask_first(data: bytes) -> int:
        for start in range(0, len(data), step):
            if not poll.poll(0):
                return start
            os.write(2, data[start : start + step])
        return len(data)

    return ask_first
