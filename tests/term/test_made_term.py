"""A made-up term of 40 students, from Moodle's or Canvas's downloads to the uploads: each number in what is
written is known beforehand, and typed here by hand.

Four milestones of 100 points (m1 10, m2 40, lab02 26, read 24), and m5 of 5 on top. A day late costs 10
percent, one of them is free, and after three nothing counts.
"""

import contextlib
import csv
import io
import os
import shutil
import zipfile
from datetime import UTC, datetime

import pytest
from made_downloads import (
    BOOK,
    NOW,
    OVERRIDES,
    RULES,
    SHAPES,
    SHEET,
    STRANGER,
    book_row,
    folder_of,
    go_through,
    in_a_fork,
    killed,
    lay_out,
    name_of,
    sheet_row,
)

from checks import gradebook
from checks.term import __main__ as command
from checks.term.progress import behind, curve_of, stops

# of everybody: attempts, points, lab02, m1, m2, m5, read, days late, grace days
EXPECTED = {
    **dict.fromkeys(range(1, 11), ("1", "81", "26", "10", "40", "5", "", "", "")),  # all on time
    **dict.fromkeys(range(11, 21), ("2", "60.4", "10.4", "10", "40", "0", "", "m2 1", "1")),  # two attempts
    **dict.fromkeys(range(21, 29), ("1", "28", "0", "8", "20", "0", "", "m1 3", "1")),  # three days late
    **dict.fromkeys((29, 30), ("1", "81", "26", "10", "40", "5", "", "", "")),  # a group
    **dict.fromkeys((31, 32, 33), ("0", "0", "", "", "", "", "", "", "")),  # nothing came
    34: ("1", "50", "0", "10", "35", "5", "", "", ""),  # two overrides
    35: ("1", "12", "0", "10", "0", "0", "2", "", ""),  # read by two
    36: ("2", "50", "0", "10", "40", "0", "", "", ""),  # again, under another name
    37: ("1", "10", "0", "10", "0", "0", "", "", ""),  # nobody knows when
    38: ("1", "5", "", "", "", "5", "", "", ""),  # four weeks late
    39: ("1", "71", "26", "", "40", "5", "", "", ""),  # with an extension
    40: ("1", "23.74", "10.4", "0", "10", "3.34", "", "", ""),  # 10.4 + 10 + 3.335
}
DECIDED = {
    34: "m1.two: 4 points by Ann, 2026-10-29: the check was wrong; "
    "m2: 35 points by Ann, 2026-10-30: shown at the desk",
    40: "m5: 3.335 points by Ben, 2026-11-01: a try on paper",
}


def run(grades, *options) -> int:
    return command.main([str(grades), *options], NOW)


def written(grades) -> dict[str, bytes]:
    files = [grades / "term.csv", grades / "term.html", *sorted((grades / "rules").glob("0*"))]
    return {file.relative_to(grades).as_posix(): file.read_bytes() for file in files}


def table(grades) -> dict[str, dict[str, str]]:
    text = (grades / "term.csv").read_bytes().decode("utf-8-sig")
    return {row["id"]: row for row in csv.DictReader(io.StringIO(text))}


@pytest.fixture(scope="module")
def terms(tmp_path_factory):
    """{platform: (the folder of an instructor who went through the term, what was printed)}."""
    found = {}
    for shape in SHAPES:
        folder, printed = lay_out(tmp_path_factory.mktemp(shape) / "term", shape), io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            statuses = go_through(folder, shape)
        assert statuses == [0, 0, 0, 1, 1, 0], printed  # whose one submission is, nobody knows
        found[shape] = folder, " ".join(printed.getvalue().split())
    return found


@pytest.fixture(scope="module")
def made(terms):
    return terms["moodle"][0] / "GRADES"


@pytest.fixture
def untouched(made):
    """`made`, and as it was when the test is over."""
    before = written(made) | {"course.toml": (made / "course.toml").read_bytes()}
    yield made
    for path in (made / "rules").iterdir():
        path.unlink()
    for name, data in before.items():
        (made / name).write_bytes(data)


MILESTONES = ("lab02", "m1", "m2", "m5", "read")


@pytest.mark.parametrize("shape", SHAPES)
def test_each_number_is_the_one_that_was_known(terms, shape):
    rows = table(terms[shape][0] / "GRADES")
    most = rows.pop("(maximum)")
    assert [most[name] for name in ("points", *MILESTONES)] == ["100", "26", "10", "40", "5", "24"]
    assert list(rows) == [f"s{number:03}" for number in range(1, 41)]
    for number, expected in EXPECTED.items():
        row = rows[f"s{number:03}"]
        late = " ".join(f"{name} {row[f'{name} late']}" for name in MILESTONES if row[f"{name} late"])
        told = (row["attempts"], row["points"], *(row[name] for name in MILESTONES), late, row["grace days"])
        assert told == expected, number
        assert (row["name"], row["of"]) == (name_of(number), "100")
        assert row["overrides"] == DECIDED.get(number, "")


@pytest.mark.parametrize("shape", SHAPES)
def test_the_times_are_those_of_the_attempts_that_count_on_the_clock_of_the_course(terms, shape):
    rows = table(terms[shape][0] / "GRADES")
    assert rows["s001"]["m1 received"] == "2026-10-20T23:59:00+02:00"
    assert rows["s011"]["m1 received"] == "2026-10-20T14:00:00+02:00"
    assert rows["s011"]["m2 received"] == "2026-10-27T12:00:00+01:00"
    assert rows["s037"]["m1 received"] == "at an unknown time"
    assert rows["s034"]["m2 received"] == rows["s031"]["m1 received"] == ""


@pytest.mark.parametrize("shape", SHAPES)
def test_who_handed_in_nothing_and_what_fits_nobody_is_named(terms, shape):
    _, printed = terms[shape]
    assert f"handed in nothing (3): {name_of(31)}, {name_of(32)}, {name_of(33)}" in printed
    stranger = f"'{folder_of(STRANGER, shape)}' fits nobody of the roster"
    assert f"{stranger}: write whose it is into known_as.csv" in printed


@pytest.mark.parametrize("shape", SHAPES)
def test_of_whom_nobody_knows_when_is_told(terms, shape):
    _, printed = terms[shape]
    unknown = f"late for nothing: {folder_of(37, shape)}. A download of Moodle or Canvas does not say it"
    assert printed.count(unknown) == printed.count("nobody knows when") == 2  # each of the two downloads


def test_kill_9_at_any_step_leaves_whole_files_and_the_same_line_goes_on(made, tmp_path):
    known = {name: data for name, data in written(made).items() if not name.startswith("rules/0002")}
    fresh = shutil.copytree(made, tmp_path / "grades")
    shutil.rmtree(fresh / "rules")
    for name in ("term.csv", "term.html"):
        (fresh / name).unlink()
    known |= {"rules/0001.toml": RULES.encode()}
    for step in range(5):
        status = killed_before_write(step, fresh)
        there = {name: (fresh / name).read_bytes() for name in known if (fresh / name).exists()}
        assert there == {name: known[name] for name in there}
        assert status == (-9 if step < 4 else 0)  # two of the rules, the table and the page
        assert len(there) == min(step, 4)
        run(fresh)
        assert written(fresh) == known
        for name in known:
            (fresh / name).unlink()


def killed_before_write(step: int, grades) -> int:
    """How a process ends that writes the term, killed when so many of its files are in their place."""
    left, replace = iter(range(step)), os.replace
    return in_a_fork(
        lambda path, to: os.kill(os.getpid(), 9) if next(left, None) is None else replace(path, to),
        lambda: run(grades),
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_of_the_rule_that_changed_in_the_term_it_is_kept_whom_it_moved(terms, shape):
    moved = [f"s{number:03},{name_of(number)},29 of 100,28 of 100" for number in range(21, 29)]
    kept = (terms[shape][0] / "GRADES/rules/0002.csv").read_bytes().decode("utf-8-sig")
    assert kept == "\r\n".join(["id,name,before,after", *moved, ""])


def test_a_change_of_a_rule_shows_whom_it_moves_before_it_holds(untouched, tmp_path, capsys):
    new = tmp_path / "new.toml"
    new.write_text(RULES.replace("percent = 10", "percent = 20"))
    before = written(untouched)
    assert run(untouched, "--rules", str(new)) == 1
    told = capsys.readouterr()
    assert "8 students would have other points" in told.out and "--apply" in told.err
    moved = [line for line in told.out.splitlines() if "→" in line]
    assert len(moved) == 8
    for number, line in zip(range(21, 29), moved):
        assert f"{name_of(number)} (s{number:03})" in line and "28 of 100" in line and "26 of 100" in line
    assert written(untouched) == before
    assert run(untouched, "--rules", str(new), "--apply") == 1
    assert table(untouched)["s021"]["points"] == "26" and table(untouched)["s011"]["points"] == "60.4"
    assert (untouched / "course.toml").read_text() == new.read_text()
    kept = (untouched / "rules/0003.csv").read_text("utf-8-sig")
    assert kept.startswith("id,name,before,after") and kept.count("28 of 100,26 of 100") == 8
    assert (untouched / "rules/0002.toml").read_text() == RULES


def test_rules_that_were_edited_in_place_hold_only_when_they_are_applied(untouched, capsys):
    file = untouched / "course.toml"
    file.write_text(RULES.replace("worth = 26", "worth = 52"))
    before = written(untouched)
    assert run(untouched) == 1 and "--apply" in capsys.readouterr().err
    assert written(untouched) == before
    file.write_text(RULES + "# a word more\n")  # moves nobody, and need not be asked
    assert run(untouched) == 1 and "--apply" not in capsys.readouterr().err
    assert written(untouched)["term.csv"] == before["term.csv"]
    assert written(untouched)["rules/0003.toml"].endswith(b"# a word more\n")


def test_what_is_wrong_in_a_file_of_the_course_stops_before_anything_is_written(untouched, capsys):
    before = written(untouched)
    for name, text, why in (
        ("course.toml", RULES.replace("worth = 10", "wroth = 10"), "[milestone.m1] 'wroth' is no rule"),
        (
            "overrides.csv",
            OVERRIDES + "s099;m1;1;x;Ann;2026-11-01\n",
            "'s099' is no ID and no group of roster.csv",
        ),
        (
            "overrides.csv",
            OVERRIDES + "s001;m1.one;7;x;Ann;2026-11-01\n",
            "7 points for m1.one, which is worth 6",
        ),
        ("overrides.csv", OVERRIDES + "s001;m1;11;x;Ann;2026-11-01\n", "11 points for m1, which is worth 10"),
        ("overrides.csv", OVERRIDES + "s001;m1.oen;1;x;Ann;2026-11-01\n", "write 'm1.one' if you meant that"),
    ):
        kept = (untouched / name).read_bytes()
        (untouched / name).write_text(text)
        assert run(untouched) == 2 and why in capsys.readouterr().err
        (untouched / name).write_bytes(kept)
        assert written(untouched) == before


def test_a_folder_without_a_roster_says_what_to_put_there(tmp_path, capsys):
    assert run(tmp_path) == 2
    assert "has no roster.csv: put there who is in the course" in capsys.readouterr().err


# ---- To the platform -------------------------------------------------------------------------------------

ALL = "m1: 10 of 10<br>m2: 40 of 40<br>m5: 5 of 5<br>lab02: 26 of 26<br>read: not read yet"
NONE = "<br>".join(f"{name}: nothing came in" for name in ("m1", "m2", "m5", "lab02", "read"))
COMMENTS = {
    **dict.fromkeys([*range(1, 11), 29, 30], ALL),
    **dict.fromkeys(
        range(11, 21),
        "m1: 10 of 10<br>m2: 40 of 40, a day late (1 at no cost)<br>m5: 0 of 5<br>lab02: 10.4 of 26"
        "<br>read: not read yet",
    ),
    **dict.fromkeys(
        range(21, 29),
        "m1: 8 of 10, 3 days late (1 at no cost)<br>m2: 20 of 40<br>m5: 0 of 5<br>lab02: 0 of 26"
        "<br>read: not read yet",
    ),
    **dict.fromkeys((31, 32, 33), NONE),
    34: "m1: 10 of 10<br>m2: 35 of 40<br>m5: 5 of 5<br>lab02: 0 of 26<br>read: not read yet"
    "<br>m1.two: 4 points by Ann, 2026-10-29: the check was wrong"
    "<br>m2: 35 points by Ann, 2026-10-30: shown at the desk",
    35: "m1: 10 of 10<br>m2: 0 of 40<br>m5: 0 of 5<br>lab02: 0 of 26<br>read: 2 of 24",
    36: "m1: 10 of 10<br>m2: 40 of 40<br>m5: 0 of 5<br>lab02: 0 of 26<br>read: not read yet",
    37: "m1: 10 of 10<br>m2: 0 of 40<br>m5: 0 of 5<br>lab02: 0 of 26<br>read: not read yet",
    38: "m1: came too late to count<br>m2: came too late to count<br>m5: 5 of 5"
    "<br>lab02: came too late to count<br>read: not read yet",
    39: "m1: came too late to count<br>m2: 40 of 40<br>m5: 5 of 5<br>lab02: 26 of 26<br>read: not read yet",
    40: "m1: 0 of 10<br>m2: 10 of 40<br>m5: 3.34 of 5<br>lab02: 10.4 of 26<br>read: not read yet"
    "<br>m5: 3.335 points by Ben, 2026-11-01: a try on paper",
}
# what the report of the last attempt says, of 30 points for m1 and m2, and 24 for what is read
REPORTS = {
    **dict.fromkeys([*range(1, 11), 29, 30, 38, 39], "35"),
    **dict.fromkeys(range(11, 21), "30"),
    **dict.fromkeys(range(21, 29), "20"),
    34: "15",  # 4 of them decided
    35: "12",
    36: "20",  # of the second, which came by mail
    37: "10",
    40: "5",
}


def points_of(number: int) -> str:
    points = EXPECTED[number][1]
    return "" if number in (31, 32, 33) else points  # nothing came in: that is no 0


def test_what_moodle_takes_back_has_the_points_and_how_they_come_about(terms):
    folder, _ = terms["moodle"]
    data = (folder / "UPLOAD/WORKSHEET2.csv").read_bytes().decode()
    rows = []
    for number in range(1, 41):
        before, after = sheet_row(number).split(",,100.00,")
        comment = COMMENTS[number]
        comment = f'"{comment}"' if "," in comment else comment
        rows.append(f"{before},{points_of(number)},100.00,{after.rstrip()}{comment}\r\n")
    assert data == SHEET + "".join(rows) + sheet_row(STRANGER)


def test_the_feedback_for_moodle_is_the_report_of_everybodys_last_attempt(terms):
    folder, _ = terms["moodle"]
    with zipfile.ZipFile(folder / "UPLOAD/feedback.zip") as packed:
        pages = {name: packed.read(name).decode() for name in packed.namelist()}
    assert sorted(pages) == sorted(
        f"{folder_of(number, 'moodle')}_assignsubmission_file_/report.html" for number in REPORTS
    )
    for number, points in REPORTS.items():
        page = pages[f"{folder_of(number, 'moodle')}_assignsubmission_file_/report.html"]
        assert f"{points} of 54 points" in page, number
    assert (
        pages[f"{folder_of(29, 'moodle')}_assignsubmission_file_/report.html"]
        == (pages[f"{folder_of(30, 'moodle')}_assignsubmission_file_/report.html"])
    )


def test_what_canvas_takes_back_has_the_points(terms):
    folder, _ = terms["canvas"]
    known = BOOK + "".join(book_row(number, points_of(number)) for number in range(1, 41))
    assert (folder / "UPLOAD/GRADEBOOK.csv").read_bytes().decode() == known


def test_rules_that_nobody_applied_go_to_no_platform(untouched, tmp_path, capsys):
    (untouched / "course.toml").write_text(RULES.replace("worth = 26", "worth = 52"))
    (tmp_path / "book.csv").write_text(BOOK + book_row(1))
    arguments = [str(untouched), "--term", "--canvas", str(tmp_path / "book.csv"), "--assignment", "Block 5"]
    assert gradebook.main([*arguments, "--out", str(tmp_path / "up")]) == 2
    assert "shows whom that moves, and applies it with --apply" in capsys.readouterr().err
    assert not (tmp_path / "up").exists()


# ---- Killed, and elsewhere -------------------------------------------------------------------------------


def all_of(folder) -> dict[str, bytes]:
    """What was written of a term, but for what tells times of its own."""
    names = ("UPLOAD/*", "GRADES/term.*", "GRADES/rules/0*", "GRADES/gradebook.csv")
    names += ("GRADES/*/grade.json", "GRADES/*/report.*", "GRADES/*/attempts.jsonl")
    found = {path.relative_to(folder).as_posix(): path for name in names for path in folder.glob(name)}
    return {name: path.read_bytes() for name, path in sorted(found.items())}


@pytest.mark.parametrize(
    ("shape", "moments"),
    [
        ("moodle", [("record.json", 13), ("WORKSHEET2.csv", 1)]),  # before the attempt, and the feedback
        ("canvas", [("record.json", 40)]),  # in the second download
    ],
)
def test_killed_in_the_middle_the_same_commands_lead_to_the_same_bytes(terms, tmp_path, shape, moments):
    folder = lay_out(tmp_path / "term", shape)
    for name, count in moments:
        assert killed(folder, shape, name, count) == -9, name
    go_through(folder, shape)
    assert all_of(folder) == all_of(terms[shape][0])


@pytest.fixture(scope="module")
def cluster():
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=4, processes=False, dashboard_address=None) as made:
        yield made.scheduler_address


@pytest.mark.parametrize("shape", SHAPES)
def test_on_dask_and_with_everything_in_another_order_the_same_bytes_are_written(
    terms, tmp_path, shape, cluster
):
    folder = lay_out(tmp_path / "term", shape, seed=7)
    go_through(folder, shape, "--dask", cluster)
    there, here = all_of(folder), all_of(terms[shape][0])
    if shape == "moodle":  # whose rows are in the order of the download
        files = (there, here)
        one, other = (sorted(file.pop("UPLOAD/WORKSHEET2.csv").splitlines()) for file in files)
        assert one == other
    assert there == here


# ---- How it goes -----------------------------------------------------------------------------------------


def test_the_page_says_why_there_are_no_points_and_what_read_is(made):
    page = (made / "term.html").read_text()
    assert "<h3>read reflections, read by a person <small>24 points</small></h3>" in page
    for why in ("m1: came too late to count, m2: 40 of 40", "read: not read yet", "m1: nothing came in, m2"):
        assert why in page, why


@pytest.fixture(scope="module")
def term(made):
    book = command.book_of(made)
    return command.compare(book, RULES, RULES, "course.toml")[0]


def test_the_curve_of_a_milestone_rises_to_what_the_class_has(term):
    curve = curve_of(term, "m1")
    # at its due date: 10 + 10 + 2 + 1 + 1 + 1 + 1 of 40 have all of it (one came at an unknown time)
    assert (float(curve.at_due), curve.nothing) == (26 / 40, 4)
    # then 8 who were late, and two who were too late; s040 has none of it
    assert float(curve.now) == 36 / 40
    levels = [part for _, part in curve.steps]
    assert levels == sorted(levels) and float(curve.first) == 1 / 40


def test_who_fell_behind_is_named_with_the_milestones(term):
    found = {one.student.id: [name for name, _ in missing] for one, missing in behind(term, NOW)}
    assert found["s031"] == ["m1", "m2", "lab02"] and found["s040"] == ["m1", "m2", "lab02"]
    assert found["s011"] == ["lab02"] and found["s034"] == ["lab02"] and found["s039"] == ["m1"]
    assert not {"s001", "s030"} & set(found)
    early = datetime(2026, 10, 27, tzinfo=UTC)  # lab02 is not due yet, nor m2 for s039
    assert {one.student.id: [name for name, _ in told] for one, told in behind(term, early)}["s039"] == ["m1"]
    assert "s011" not in {one.student.id for one, _ in behind(term, early)}


def test_what_stops_most_comes_first(term):
    name, count, asked = stops(term)[0]
    # of 36 with something of lab02: all but s001 to s010, the group of two, and s039
    assert (name, count, asked) == ("lab02.second", 23, 36)
    assert ("m1.two", 1, 35) in stops(term)
