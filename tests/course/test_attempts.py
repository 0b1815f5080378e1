"""Every attempt is kept with its time: nothing takes one away, and no repository runs anything here."""

import os
import subprocess
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from checks.course.attempts import (
    COMMIT,
    FILE,
    GIVEN,
    MTIME,
    Received,
    committed,
    given,
    keep,
    kept,
    received,
)
from checks.course.tables import Unclear

NOON = datetime(2026, 11, 3, 12, tzinfo=UTC)
LATER = datetime(2026, 11, 4, 12, tzinfo=UTC)


def grade(submission="a", earned=1) -> dict:
    return {"submission": submission, "earned": earned, "checks": {}}


def test_another_attempt_takes_nothing_from_the_one_before(tmp_path):
    keep(tmp_path, grade("b"), Received(LATER, MTIME))
    keep(tmp_path, grade("a"), Received(NOON, MTIME))
    assert [(one["at"], one["grade"]["submission"]) for one in kept(tmp_path)] == [
        ("2026-11-03T12:00:00+00:00", "a"),
        ("2026-11-04T12:00:00+00:00", "b"),
    ]


def test_what_came_at_an_unknown_time_stands_first_and_in_its_order(tmp_path):
    keep(tmp_path, grade("c"), Received(NOON, MTIME))
    for submission in ("b", "a"):
        keep(tmp_path, grade(submission), None)
    assert [one["grade"]["submission"] for one in kept(tmp_path)] == ["b", "a", "c"]


def test_an_attempt_that_is_graded_again_keeps_its_time_and_what_it_had_before(tmp_path):
    keep(tmp_path, grade(), Received(NOON, MTIME))
    keep(tmp_path, grade(earned=2), Received(LATER, MTIME))  # downloaded again
    keep(tmp_path, grade(earned=2), Received(LATER, MTIME))
    told = kept(tmp_path)
    assert [(one["at"], one["grade"]["earned"]) for one in told] == [("2026-11-03T12:00:00+00:00", 2)]
    assert (tmp_path / FILE).read_text().count("\n") == 2


@pytest.mark.parametrize(
    ("first", "then", "holds"),
    [
        (Received(NOON, MTIME), Received(LATER, COMMIT), LATER),
        (Received(NOON, COMMIT), Received(LATER, MTIME), NOON),
        (Received(NOON, GIVEN), Received(LATER, MTIME), NOON),
        (Received(NOON, GIVEN), Received(LATER, GIVEN), LATER),  # who gives another one means it
        (Received(LATER, MTIME), None, LATER),
        (None, Received(LATER, MTIME), LATER),
    ],
)
def test_the_better_source_of_a_time_holds(tmp_path, first, then, holds):
    keep(tmp_path, grade(), first)
    keep(tmp_path, grade(), then)
    assert [one["at"] for one in kept(tmp_path)] == [holds.isoformat()]


def test_a_line_that_a_crash_cut_off_is_none_and_spoils_none(tmp_path):
    keep(tmp_path, grade("a"), Received(NOON, MTIME))
    with (tmp_path / FILE).open("a") as file:
        file.write('{"at": "2026')
    keep(tmp_path, grade("b"), Received(LATER, MTIME))
    assert [one["grade"]["submission"] for one in kept(tmp_path)] == ["a", "b"]
    assert kept(tmp_path / "nobody") == []


def test_a_file_was_handed_in_when_it_changed_last(tmp_path):
    (tmp_path / "work").mkdir()
    for name, at in (("work/a", NOON), ("work/b", LATER), ("c.zip", NOON)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (at.timestamp(), at.timestamp()))
    assert received([tmp_path / "c.zip"]) == Received(NOON, MTIME)
    assert received([tmp_path / "work", tmp_path / "c.zip"]) == Received(LATER, MTIME)
    assert received([tmp_path / "c.zip"], LATER) == Received(LATER, GIVEN)
    assert received([tmp_path / "missing"]) is None
    assert received([tmp_path / "c.zip"], dated=False) is None
    assert received([tmp_path / "c.zip"], LATER, dated=False) == Received(LATER, GIVEN)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A repository with one commit of a known time, that would run a program for whoever asks git in it."""
    folder = tmp_path_factory.mktemp("repository")

    def git(*arguments, told=""):
        command = ["git", "-C", folder, *arguments]
        return subprocess.run(command, input=told, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q", "-b", "main")
    tree = git("write-tree")
    who = f"a <a@b.c> {int(NOON.timestamp())} +0100"
    signature = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n -----END PGP SIGNATURE-----"  # to be verified
    commit = f"tree {tree}\nauthor {who}\ncommitter {who}\n{signature}\n\nx\n"
    git("update-ref", "refs/heads/main", git("hash-object", "-t", "commit", "-w", "--stdin", told=commit))
    (folder / "trap").write_text(f"#!/bin/sh\ntouch {folder}/ran\n")
    (folder / "trap").chmod(0o755)
    for key in ("core.fsmonitor", "gpg.program", "core.pager"):
        git("config", key, folder / "trap")
    git("config", "log.showSignature", "true")
    return folder


def test_a_repository_was_handed_in_with_its_last_commit(repository):
    assert received([repository]) == received([repository], dated=False) == Received(NOON, COMMIT)
    subprocess.run(["git", "-C", repository, "pack-refs", "--all"], check=True)
    assert committed(repository) == NOON
    assert not (repository / "ran").exists()
    subprocess.run(["git", "-C", repository, "log", "-1"], check=True, stdout=subprocess.DEVNULL)
    assert (repository / "ran").exists()  # it is a trap


@pytest.mark.parametrize(
    "head", ["ref: refs/../../../etc/passwd", "--exec=touch", "ref: refs/heads/none", "x" * 40]
)
def test_a_head_that_is_none_says_nothing(repository, tmp_path, head):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/HEAD").write_text(head)
    (tmp_path / ".git/packed-refs").write_text("")
    assert committed(tmp_path) is None


def test_a_repository_of_files_that_never_end_says_nothing(tmp_path):
    (tmp_path / ".git").mkdir()
    os.mkfifo(tmp_path / ".git/HEAD")
    assert committed(tmp_path) is None
    (tmp_path / ".git/HEAD").unlink()
    with (tmp_path / ".git/HEAD").open("wb") as file:
        file.truncate(1 << 40)
    assert committed(tmp_path) is None


def test_a_time_is_given_for_all_or_in_a_file(tmp_path):
    assert given("2026-11-03T13:00+01:00")("anybody") == NOON
    file = tmp_path / "times.csv"
    file.write_text("submission;received\nAda_1;2026-11-03T13:00:00+01:00\n")
    assert (given(str(file))("Ada_1"), given(str(file))("Ben_2")) == (NOON, None)
    for wrong in ("2026-11-03T13:00", "tomorrow"):
        with pytest.raises(Unclear, match="no time with its offset"):
            given(wrong)
        file.write_text(f"submission,received\nAda_1,{wrong}\n")
        with pytest.raises(Unclear, match="'Ada_1' was received .*: write a time with its offset"):
            given(str(file))


def test_a_worksheet_of_moodle_says_when_everybody_handed_in(tmp_path):
    file = tmp_path / "sheet.csv"
    head = "Identifier,Full name,Status,Last modified (submission)\n"
    file.write_text(
        head + 'Participant 47,Ada,x,"Tuesday, 3 November 2026, 1:00 PM"\nParticipant 48,Ben,x,-\n'
    )
    when = given(str(file), ZoneInfo("Europe/Berlin"))
    assert (when("Ada Lovelace_47"), when("Ben_48"), when("Cy_7")) == (NOON, None, None)
    with pytest.raises(Unclear, match="does not say whose clock it shows"):
        given(str(file))
    rows = 'Participant 47,Ada,x,team 7,"Tuesday, 3 November 2026, 1:00 PM"\nParticipant 7,Ben,x,,-\n'
    file.write_text(head.replace("Status", "Status,Group") + rows)
    when = given(str(file), ZoneInfo("Europe/Berlin"))
    assert when("team 7_7") == when("team 7_47") == when("Ada_47") == NOON  # a group has a number of its own
    assert when("team 8_47") is when("Ben_7") is None
    file.write_text(head + 'Teilnehmer/in47,Ada,x,"Dienstag, 3. November 2026, 13:00"\n')
    with pytest.raises(Unclear, match="is no time in English: download it with Moodle in English"):
        given(str(file), ZoneInfo("Europe/Berlin"))
