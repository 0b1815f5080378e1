"""deploy/journal.py: lines of the log that hold up nobody, and that nobody else can write."""

import logging
import os
import pty
import re
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy import journal

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def fresh():
    """What the module knows of descriptor 2 is asked anew, before a test and after it."""

    def forget():
        journal.sender.cache_clear()
        journal.journal_reads.cache_clear()
        journal.lost = 0

    forget()
    yield
    forget()


@contextmanager
def stderr_is(descriptor: int):
    """Descriptor 2 is another one for a while."""
    before = os.dup(2)
    os.dup2(descriptor, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


def ends(function, seconds: float = 5) -> bool:
    """Whether a call returns at all."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


# ---- What a line looks like -----------------------------------------------------------------------------


def test_the_journal_gets_a_priority_and_people_get_a_time_and_a_word(monkeypatch):
    for priority, word in ((3, "ERROR"), (4, "WARNING"), (6, "INFO")):
        line = journal.formatted(priority, "one").decode()
        assert re.fullmatch(rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d {word} one\n", line)
    monkeypatch.setattr(journal, "journal_reads", lambda: True)
    assert journal.formatted(4, "one") == b"<4>one\n"


def test_the_journal_is_known_by_its_stream(monkeypatch):
    status = os.fstat(2)
    for stream, reads in (("", False), ("1:2", False), (f"{status.st_dev}:{status.st_ino}", True)):
        journal.journal_reads.cache_clear()
        monkeypatch.setenv("JOURNAL_STREAM", stream)
        assert journal.journal_reads() == reads


def test_every_line_of_a_record_has_its_priority(monkeypatch):
    written = []
    monkeypatch.setattr(journal, "write", lambda *line: written.append(line))
    for level, priority in (("DEBUG", 6), ("INFO", 6), ("WARNING", 4), ("ERROR", 3), ("CRITICAL", 3)):
        written.clear()
        record = logging.makeLogRecord({"levelno": getattr(logging, level), "msg": "one\ntwo"})
        journal.Handler().emit(record)
        assert written == [(priority, "one"), (priority, "two")]


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("a\x0bb\x0cc\x1cd\x1de\x1ef\x85g", r"a\x0bb\x0cc\x1cd\x1de\x1ef\x85g"),
        ("\x1b[2J\x1b]0;owned\x07\x9b31m", r"\x1b[2J\x1b]0;owned\x07\x9b31m"),
        ("a\nb\rc\0d\x7f\xa0", r"a\nb\rc\x00d\x7f\xa0"),
        ("\u202e\u2028\u2029", r"\u202e\u2028\u2029"),
        ("\ud800", r"\ud800"),
        ("schlüssel", r"schl\xfcssel"),
        ("a sentence – of ‘ours’ “here”… ✓✗", "a sentence – of ‘ours’ “here”… ✓✗"),
    ],
)
def test_what_a_client_wrote_disturbs_no_terminal_and_feigns_no_line(sent, shown):
    assert journal.formatted(6, sent).decode().partition(" INFO ")[2] == shown + "\n"


@given(st.text())
def test_any_text_is_one_line_of_at_most_1000_characters(text):
    line = journal.formatted(6, text * 30).decode()
    assert len(line) <= journal.LONGEST + 1
    assert line.splitlines(keepends=True) == [line] and line.endswith("\n")
    assert line[:-1].isprintable()


# ---- Where a line goes ----------------------------------------------------------------------------------


@pytest.fixture(params=["our own", "another user's"])
def owner(request, monkeypatch):
    """What may be opened once more, and what may not."""
    if request.param != "our own":
        monkeypatch.setattr(journal.os, "open", Mock(side_effect=PermissionError(13, "no")))


def test_a_pipe_that_nobody_reads_loses_lines_and_says_how_many(owner):
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering=0) as pipe, stderr_is(writer):
        os.close(writer)
        assert ends(lambda: [journal.write(6, f"line {number} " + "x" * 900) for number in range(200)])
        lost = journal.lost
        assert 0 < lost < 200
        got = pipe.read(2**20).decode().splitlines()
        assert len(got) == 200 - lost
        journal.write(4, "the next one")
        warning, line = pipe.read(2**20).decode().splitlines()
        assert re.search(f" WARNING {lost} lines of the log were lost", warning)
        assert line.endswith(" WARNING the next one")
        assert journal.lost == 0


def test_a_pipe_stays_blocking_for_others_who_share_it():
    reader, writer = os.pipe()
    with stderr_is(writer):
        journal.write(6, "a line")
        assert os.get_blocking(2) and os.get_blocking(writer)
    os.close(reader)
    os.close(writer)


def test_a_reader_that_left_is_no_error(owner):
    reader, writer = os.pipe()
    with stderr_is(writer):
        os.close(writer)
        journal.write(6, "is read")
        os.close(reader)
        journal.write(6, "is not")
        assert journal.lost == 1


def test_a_full_disk_is_no_error():
    full = os.open("/dev/full", os.O_WRONLY)
    with stderr_is(full):
        os.close(full)
        for _ in range(3):
            journal.write(6, "no space")
        assert journal.lost == 3


def test_a_journal_that_does_not_read_loses_lines():
    theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with theirs, stderr_is(ours.fileno()):
        ours.close()
        assert ends(lambda: [journal.write(6, "x" * 900) for _ in range(2000)])
        assert journal.lost > 0


def test_a_file_gets_every_line(tmp_path):
    with (tmp_path / "log").open("wb") as file, stderr_is(file.fileno()):
        for number in range(100):
            journal.write(6, f"line {number}")
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == [str(number) for number in range(100)]


def test_a_terminal_that_stands_still_holds_up_nobody(owner):
    """Ctrl-S stops a terminal, and then nothing that is written to it returns."""
    screen, terminal = pty.openpty()
    with stderr_is(terminal):
        journal.write(6, "hello")
        seen = b""
        while b"hello" not in seen:  # a terminal hands it over in pieces
            seen += os.read(screen, 1000)
        assert ends(lambda: [journal.write(6, "x" * 900) for _ in range(200)])
        assert journal.lost > 0
    os.close(terminal)
    os.close(screen)


@pytest.mark.parametrize("closed", ["0", "2", "0 1 2"])
def test_a_closed_stderr_is_nobody_elses_descriptor(closed):
    """Or the first socket would get number 2, and a line of the log would go to a client."""
    code = f"""if True:
        import os, socket
        for number in map(int, "{closed}".split()):
            os.close(number)
        from deploy import journal
        journal.start()
        assert socket.socket().fileno() > 2
        journal.write(6, "a line")"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, "")


def test_what_the_standard_library_logs_becomes_such_lines(capfd):
    code = """if True:
        import logging
        from deploy import journal
        journal.start()
        logging.getLogger("x").error("one\\ntwo")
        try:
            1 / 0
        except ZeroDivisionError:
            logging.getLogger("y").exception("three")"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = ran.stderr.splitlines()
    assert all(re.match(r"\S+ \S+ ERROR ", line) for line in lines)
    assert [line.partition(" ERROR ")[2] for line in lines][:4] == [
        "one",
        "two",
        "three",
        "Traceback (most recent call last):",
    ]
