"""checks/kit/unit.py reads a unit file as systemd reads it."""

import re
import subprocess
import time
from contextlib import suppress

import pytest
from grading_m4 import OFFLINE, VERIFY, grade, the
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from checks.kit import unit
from checks.kit.core import CannotCheck, Failed
from checks.kit.unit import Unit, parse, time_span


def test_the_syntax_is_systemds():
    text = """\ufeff; a comment
[Service]
  A = 1
A=\t2
B=one \\
  # a comment within
  ; another
  two\\\\
B=\\
[X-Y]
A==3
[Service]
C="quo\\"ted" word
"""
    sections, problems = parse(text)
    assert problems == []
    assert sections == {
        "Service": [
            ("A", "1"),
            ("A", "2"),
            ("B", "one  two\\\\"),
            ("B", "[X-Y]"),
            ("A", "=3"),
            ("C", '"quo\\"ted" word'),
        ]
    }


def test_lines_end_as_they_do_for_systemd():
    assert parse("[S]\r\nA=1\0B=2\rC=3\n\rD=4") == (
        {"S": [("A", "1"), ("B", "2"), ("C", "3"), ("D", "4")]},
        [],
    )


def test_after_a_broken_section_nothing_more_is_read():
    assert parse("[A]\nB=1\n[C\nD\nE=2") == (
        {"A": [("B", "1")]},
        ["line 3 starts a section but does not end with ]"],
    )


def test_values_are_looked_up_as_systemd_does(tmp_path):
    file = tmp_path / "u"
    file.write_text("[Service]\nA=1\nA=\nA=2 'x y'\nA=3\nB=1\nB=\n[Unit]\nAfter=a\nAfter=\nAfter=b\n")
    unit = Unit(file)
    assert unit.all("Service", "A") == ["2 'x y'", "3"] and unit.words("Service", "A") == ["2", "x y", "3"]
    assert unit.get("Service", "A") == "3" and unit.get("Service", "B") is None is unit.get("No", "C")
    assert unit.words("Unit", "After") == ["a", "b"], "a dependency is never forgotten"


NAME = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)
VALUE = st.text(st.characters(codec="utf-8", exclude_characters="\\\0\r\n"), max_size=20).map(
    lambda v: v.strip(" \t")
)
SPACE = st.sampled_from(["", " ", "\t", "  "])
NOISE = st.sampled_from(["", "\n", "# note\n", "  ; [x]\n", "\r\n"])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_what_was_written_is_read(data):
    wanted = data.draw(st.dictionaries(NAME, st.lists(st.tuples(NAME, VALUE), max_size=4), max_size=4))
    text = ""
    for section, lines in wanted.items():
        text += data.draw(NOISE) + f"[{section}]\n"
        for key, value in lines:
            a, b = data.draw(SPACE), data.draw(SPACE)
            continued = value.replace(" ", "\\\n", 1) if data.draw(st.booleans()) else value
            if not re.search(r"\\\n[ \t#;]", continued):  # what starts a line there is lost, or a comment
                value_as_written = continued
            else:
                value_as_written = value
            text += data.draw(NOISE) + f"{a}{key}{b}={a}{value_as_written}{b}\n"
    assert parse(text) == (wanted, [])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=200), st.text("[]=\\#;\n\r\0 aU'\"", max_size=200).map(str.encode)))
@example(b"[Service]\nRestartSec=" + b"1" * 400)
@example(b"[Service]\nExecStart='")
def test_no_content_breaks_the_reader_or_a_check(tmp_path, content):
    file = tmp_path / "u"
    quick = [check for check in OFFLINE if check.name[3:] not in (VERIFY, the("is hardened"))]
    for whole in (content, b"[Unit]\n[Install]\n[Service]\nExecStart=" + content):
        file.write_bytes(whole)
        unit = Unit(file)
        for check in quick:  # not in a Session: it would tame an exception
            with suppress(CannotCheck, Failed):
                check.function(unit)


@pytest.mark.parametrize(
    "text", ["garbage\n[Unit]", "[Unit\n", "[Service]\nRestart always", "[Service]\n=x", b"[Unit]\nA=\xff\n"]
)
def test_what_the_reader_objects_to_systemd_objects_to(tmp_path, text):
    file = tmp_path / "pixelwise.service"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert Unit(file).problems
    told = subprocess.run(
        ["systemd-analyze", "verify", file], capture_output=True, text=True, timeout=600
    ).stderr
    words = "outside of section|Invalid section header|Missing '='|Missing key name|UTF-8"
    assert re.search(words, told), told


def test_what_is_long_is_read_in_little_time(tmp_path):
    for piece in (b"\n", b" ", b"1", b"\\\n", b"#\n", b"'a ", b"a=" * 2):
        file = tmp_path / "pixelwise.service"
        file.write_bytes((b"[Service]\nRestartSec=" + piece * unit.MAX_UNIT)[: unit.MAX_UNIT])
        began = time.process_time()
        grade(OFFLINE[:-2], unit=Unit(file))
        assert time.process_time() - began < 5, piece


SPANS = [
    "3",
    "3s",
    "500ms",
    "1min 2s",
    "5 3",
    "2.5s",
    "5s500ms",
    "3 sec",
    "1 h",
    "1M",
    "1m",
    "0",
    ".5",
    "+3",
    " 7 us",
]
SPANS += ["1y 2w 3d", "4 µs", "4μs", "infinity", "2minutes 1 hr", "0.000001s"]
NO_SPANS = ["3x", "", " ", "1.5.5", "3 s s", "3,5", "3.", "s", "always", "3 # three", "1S", "٣"]


def test_time_spans_are_systemds():
    told = subprocess.run(
        ["systemd-analyze", "timespan", *SPANS], capture_output=True, text=True, timeout=600, check=True
    ).stdout
    microseconds = [int(number) for number in re.findall(r"[μu]s: (\d+)", told)]
    assert len(microseconds) == len(SPANS)
    for text, number in zip(SPANS, microseconds):
        wanted = float("inf") if text == "infinity" else number / 1e6
        assert time_span(text) == pytest.approx(wanted), text


@pytest.mark.parametrize("text", NO_SPANS)
def test_what_is_no_time_span_for_systemd_is_none_here(text):
    command = ["systemd-analyze", "timespan", text]
    assert subprocess.run(command, capture_output=True, timeout=600).returncode != 0
    assert time_span(text) is None
