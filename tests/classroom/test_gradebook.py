"""The gradebook and the class page say what is so, whatever a name or a server tries to make of them."""

import copy
import csv
import html.parser
import io
import json

import pytest

from checks.classroom import class_page, gradebook, records, the_class
from checks.gradebook import main
from checks.kit import core, grading
from checks.report import model as report

CHECKS = {check.name: check for check in grading.all_checks()}
SOME = ["m1.health answers", "m1.results answers", "m2.a digit is classified"]


def record(name="ada", failed=(), unchecked=(), why="", **more) -> dict:
    """The record of a student whom only these checks of SOME did not pass."""
    results = []
    for check in (CHECKS[name] for name in SOME):
        told = {
            name: getattr(check, name) for name in ("number", "milestone", "sentence", "points", "stretch")
        }
        status = core.FAILED if check.name in failed else core.PASSED
        status = core.UNCHECKED if check.name in unchecked else status
        earned = check.points if status == core.PASSED else 0
        results.append(core.Result(check.name, **told, status=status, earned=earned, seconds=0.1))
    header = {
        "url": "http://127.0.0.1:8000",
        "seed": 1,
        "started": report.now(),
        "versions": {},
        "planned": [],
    }
    status = records.NOT_GRADED if why else records.GRADED
    return {
        **{"version": records.VERSION, "name": name, "status": status, "why": why, "detail": "", "seed": 1},
        **{"submission": "0", "grader": {"all": "0"}, "notes": [], "log": "", "labs": None, "seconds": {}},
        "doubtful": False,
        "report": report.build(header, results, report.now()),
        **more,
    }


def grade(*arguments, **more) -> dict:
    return records.grade_of(record(*arguments, **more))


def rows(grades) -> list[dict]:
    return list(csv.DictReader(io.StringIO(gradebook.gradebook(grades))))[1:]


def test_a_column_a_check_and_one_for_the_status():
    row = rows([grade(failed=SOME[1:2])])[0]
    assert list(row) == ["name", "status", "points", "of", *SOME, "why"]
    assert (row["status"], row[SOME[0]], row[SOME[1]]) == ("graded", "2", "0")
    assert float(row["points"]) == float(row["of"]) - CHECKS[SOME[1]].points


def test_what_could_not_be_checked_is_no_zero():
    row = rows([grade(unchecked=SOME[1:2])])[0]
    assert row[SOME[1]] == ""


def test_who_could_not_be_graded_has_no_points_but_a_reason():
    row = rows([grade(unchecked=SOME, why="the zip is broken: hand in another")])[0]
    assert (row["status"], row["points"], row["why"]) == (
        "could not be graded",
        "",
        "the zip is broken: hand in another",
    )


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "  =1+1", "\t=1+1", "\r\n=1+1", "＝1"])
def test_no_cell_is_a_formula(name):
    cell = rows([grade(name)])[0]["name"]
    assert cell[0] not in "=+-@\t\r\n ＝" and "\n" not in cell


def test_the_gradebook_is_the_same_in_any_order():
    grades = [grade(name) for name in "abc"]
    assert gradebook.gradebook(grades) == gradebook.gradebook(reversed(grades))


def test_times_and_addresses_are_no_part_of_the_grade():
    one = record()
    other = copy.deepcopy(one) | {"seconds": {"total": 7}, "detail": "pid 77", "log": "x"}
    other["report"] |= {"started": "later", "url": "http://127.0.0.1:9999"}
    other["report"]["results"][0]["seconds"] = 99
    assert records.grade_of(one) == records.grade_of(other)


def test_a_changed_grade_is_told_check_by_check():
    old, new = grade(), grade(failed=SOME[:1])
    assert records.differences(old, new)[0] == (SOME[0], "2 of 2, passed", "0 of 2, failed")
    assert records.differences(old, new)[-1][0] == "points"
    assert records.differences(old, copy.deepcopy(old)) == []


def test_a_student_that_is_saved_again_keeps_the_grade_before(tmp_path):
    assert records.save(tmp_path / "ada", record()) == []
    changed = records.save(tmp_path / "ada", record(failed=SOME[:1]))
    assert [what for what, _, _ in changed] == [SOME[0], "points"]
    gradebook.write_class(tmp_path, ["ada"])
    assert (tmp_path / "changes.csv").read_text("utf-8-sig").splitlines()[
        1
    ] == 'ada,m1.health answers,"2 of 2, passed","0 of 2, failed"'
    assert "Changed since the grading before" in (tmp_path / "index.html").read_text()


def test_a_doubtful_grade_is_never_told_as_the_one_before(tmp_path):
    records.save(tmp_path / "new", record(failed=SOME[:1], doubtful=True))
    assert records.save(tmp_path / "new", record()) == []
    records.save(tmp_path / "old", record(failed=SOME[1:2]))
    records.save(tmp_path / "old", record(failed=SOME[1:2], doubtful=True))
    assert [what for what, _, _ in records.save(tmp_path / "old", record())] == [SOME[1], "points"]


def test_a_torn_record_counts_as_none(tmp_path):
    records.save(tmp_path / "ada", record())
    file = tmp_path / "ada" / "record.json"
    file.write_text(file.read_text()[:-100])
    assert records.load(tmp_path / "ada") is None


def test_a_student_has_all_the_files(tmp_path):
    labs = {
        "labs": [LAB],
        "answers": [{"lab": "05", "question": "Why?", "answer": "# Because\n```\n<b>x\x1b[31m"}],
        "files": {"02.ipynb": "e30="},
    }
    records.save(tmp_path, record(labs=labs, log="a\x1b[31mb\nc"))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        *(
            "record.json",
            "grade.json",
            "report.html",
            "report.md",
            "report.json",
            "junit.xml",
            "results.json",
        ),
        *("server.log", "answers.md", "labs"),
    }
    assert (tmp_path / "server.log").read_text() == "a\\x1b[31mb\nc"
    answers = (tmp_path / "answers.md").read_text()
    assert r"> \# Because" in answers and r"> \`\`\`" in answers and r"> \<b\>x\\x1b\[31m" in answers
    assert (tmp_path / "labs" / "02.ipynb").read_bytes() == b"{}"


LAB = {"lab": "05", "why": "", "notes": ["2 cells …"], "exercises": 3, "done": 2, "right": 1}
READ = """# Answers of ada

## 05

- exercises: 2 of 3 done, 1 right when they were run again
- 2 cells …

**1\\. Why?**

> Because of this.
>
> And of that.

**2\\. How?**

> (no answer)

## 04

- not run: it is not JSON
- exercises: 2 of 3 done, 1 right when they were run again

**exercise unit**

````python
unit = 1
  a```b
````
"""


def test_the_answers_read_well():
    labs = [LAB, LAB | {"lab": "04", "why": "it is not JSON", "notes": []}]
    told = [
        {"lab": "05", "question": "1. Why?", "answer": "Because of this.\n\nAnd of that."},
        {"lab": "05", "question": "2. How?", "answer": ""},
        {"lab": "04", "question": "exercise unit", "answer": "unit = 1\n  a```b\n"},
    ]
    read = records.answers(record(labs={"labs": labs, "answers": told}))
    assert read.replace("\\.", ".") == READ.replace("\\.", ".")


def test_who_could_not_be_graded_reads_why_first(tmp_path):
    records.save(tmp_path, record(unchecked=SOME, why="the zip is broken", detail="<i>x"))
    assert "Could not be graded: the zip is broken." in (tmp_path / "report.html").read_text()
    assert "&lt;i&gt;x" in (tmp_path / "report.html").read_text()
    assert "Could not be graded: the zip is broken." in (tmp_path / "report.md").read_text()
    assert json.loads((tmp_path / "results.json").read_text())["output"].startswith("Could not be graded")


def test_the_first_row_says_what_there_is_to_earn():
    grades = [grade("ada"), grade("ben", failed=SOME[:1]), grade("cy", unchecked=SOME, why="no server")]
    first = next(csv.DictReader(io.StringIO(gradebook.gradebook(grades))))
    points = [CHECKS[name].points for name in SOME]
    assert first["name"] == "(maximum)" and [float(first[name]) for name in SOME] == points
    assert float(first["points"]) == float(first["of"]) == sum(points)


def test_excel_reads_umlauts(tmp_path):
    records.save(tmp_path / "Müller, Jörg", record("Müller, Jörg"))
    gradebook.write_class(tmp_path, ["Müller, Jörg"])
    for name in ("gradebook.csv", "changes.csv"):
        data = (tmp_path / name).read_bytes()
        assert data.startswith(b"\xef\xbb\xbf") and data.count(b"\xef\xbb\xbf") == 1
    assert "Müller, Jörg" in (tmp_path / "gradebook.csv").read_text("utf-8-sig")


def test_who_is_gone_does_not_come_back_when_the_pages_are_written_again(tmp_path):
    for name in ("ada", "ben"):
        records.save(tmp_path / name, record(name))
    gradebook.write_class(tmp_path, ["ada", "ben"])
    gradebook.write_class(tmp_path, ["ada"])
    before = (tmp_path / "gradebook.csv").read_bytes()
    assert main([str(tmp_path)]) == 0
    assert (tmp_path / "gradebook.csv").read_bytes() == before and b"\nben," not in before
    assert "ben" not in (tmp_path / "index.html").read_text()
    assert (tmp_path / "ben" / "record.json").exists()
    (tmp_path / "class.json").unlink()  # grades of an older version
    assert gradebook.students_of(tmp_path) == ["ada", "ben"]


def test_who_came_and_who_went_is_told_as_one_may_be_the_other(tmp_path, capsys):
    gradebook.write_class(tmp_path, ["ada", "ben"])
    the_class.tell_who_is_new(tmp_path, {"ada": None, "ben-2": None})
    assert "new: ben-2; gone: ben. Who only handed in under another name" in capsys.readouterr().out
    the_class.tell_who_is_new(tmp_path, {"ada": None, "ben": None, "cy": None})
    the_class.tell_who_is_new(tmp_path, {"ada": None})
    assert capsys.readouterr().out == ""


# ---- The class page -------------------------------------------------------------------------------------


class Page(html.parser.HTMLParser):
    """The page as a browser reads it: its tags and links."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.links, self.text = [], [], text
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("href", "src")]


CLASS = [
    *(grade(f"ok {number}") for number in range(4)),
    *(grade(f"same {number}", failed=SOME[:1]) for number in range(3)),
    grade("alone", failed=SOME[1:2], unchecked=SOME[2:]),
    grade("broken", unchecked=SOME, why="the zip is broken: hand in another"),
]


def test_the_page_shows_who_fails_alike():
    assert class_page.clusters(CLASS[:-1]) == [
        ((SOME[0],), ["same 0", "same 1", "same 2"]),
        ((SOME[1],), ["alone"]),
    ]


def test_the_page_has_its_pictures_and_a_link_for_everybody():
    page = Page(class_page.class_page(CLASS))
    assert page.tags.count("svg") > 4 and "script" not in page.tags
    for name in ("ok%200", "same%202", "alone", "broken"):
        assert f"{name}/report.html" in page.links
    assert not [link for link in page.links if "//" in link]
    anchors = {link[1:] for link in page.links if link.startswith("#")}
    assert anchors and all(f'id="{anchor}"' in page.text for anchor in anchors)


def test_the_page_says_what_nobody_and_everybody_passes():
    page = class_page.class_page([grade("a", failed=SOME[:1]), grade("b", failed=SOME[:1])])
    assert "Nobody passes (1)" in page and "Everybody passes (2)" in page


def test_who_could_not_be_graded_is_no_zero_on_the_page():
    page = class_page.class_page(CLASS)
    assert "Without a grade (1)" in page and "the zip is broken: hand in another" in page
    assert "<dt>median</dt>" in page and "0 of" not in page.partition("Students</h2>")[2]


def test_a_class_of_nobody_and_one_without_any_grade_have_a_page():
    class_page.class_page([])
    class_page.class_page(CLASS[-1:])


def test_no_name_and_no_text_becomes_markup():
    evil = '"><script>alert(1)</script>\x1b[2J\u202e'
    page = Page(class_page.class_page([grade(evil), grade(f"{evil}2", why=evil)], {f"{evil}2": evil}))
    assert "script" not in page.tags
    assert not set("\x1b\u202e") & set(page.text)


def test_the_pages_can_be_written_again_from_the_records(tmp_path, capsys):
    records.save(tmp_path / "ada", record())
    gradebook.write_class(tmp_path, ["ada"])
    before = (tmp_path / "index.html").read_bytes()
    (tmp_path / "index.html").unlink()
    (tmp_path / "ada" / "report.html").unlink()
    assert main([str(tmp_path)]) == 0
    assert (tmp_path / "index.html").read_bytes() == before and (tmp_path / "ada" / "report.html").exists()
    assert main([]) == 2
