"""`python -m checks.likeness`: who copied is known here, and nobody else is named."""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import chromium
import made_copies
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from checks import likeness
from checks.alike.page import likeness_page, numbered
from checks.alike.pairs import pairs, places
from checks.alike.tokens import CODE, WORDS
from checks.alike.work import LARGEST, Given, Piece, Work, works_of
from checks.classroom.handed_in import find_submissions

SHOTS = os.environ.get("READING_SHOTS")  # a folder for pictures to be looked at


@pytest.fixture(scope="module")
def given():
    return Given(made_copies.ROOT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return made_copies.make(tmp_path_factory.mktemp("likeness") / "class")


@pytest.fixture(scope="module")
def compared(folder, given):
    """(works, problems, all pairs that have anything in common)."""
    works, problems = works_of(find_submissions(folder), given)
    return works, problems, pairs(works, 0.001, 1000)


@pytest.fixture(scope="module")
def page(folder, tmp_path_factory):
    """What the command writes."""
    out = tmp_path_factory.mktemp("page") / "likeness.html"
    done = subprocess.run(
        [sys.executable, "-m", "checks.likeness", folder, "-o", out],
        cwd=made_copies.ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"17 students, 136 pairs, {len(made_copies.COPIES)} of them to look at: {out}" in done.stdout
    return out


# ---- Who is found ---------------------------------------------------------------------------------------


def test_the_copies_are_found_in_this_order_and_nobody_else_is_shown(compared):
    found = [one for one in compared[2] if one.weight >= likeness.LEAST]
    whole = {("eve", "finn"), ("kim", "lea"), ("ada", "ben"), ("cleo", "dan")}
    assert {one.students for one in found[:4]} == whole
    assert {one.students for one in found} == set(made_copies.COPIES)
    assert all(min(one.shares) > 0.7 for one in found[:4])
    by_chance = max(one.weight for one in compared[2] if one.students not in made_copies.COPIES)
    assert by_chance < likeness.LEAST, "what honest work has in common is under the limit"
    assert found[-1].weight > likeness.LEAST * 1.5


def test_who_solved_it_by_the_hints_is_like_nobody(compared):
    assert not [one for one in compared[2] if set(made_copies.HONEST) & set(one.students)]


def test_a_copied_function_is_shown_where_it_stands(compared):
    gina, hugo = compared[0]["gina"][CODE], compared[0]["hugo"][CODE]
    ((left, right),) = places(gina, hugo, CODE)
    for place, work in ((left, gina), (right, hugo)):
        lines = work.pieces[place.piece].text.split("\n")
        head = next(number for number, line in enumerate(lines, 1) if "def handle(" in line)
        # what stands before the function may end in the same way
        assert head - 4 < place.first <= head < head + 12 < place.last
    assert right.last == len(hugo.pieces[0].text.rstrip().split("\n"))


def test_of_several_places_the_longest_is_shown():
    whole = made_copies.function_of(made_copies.server("hostile_server.py"), "handle")
    lines = whole.split("\n")
    part = "\n".join(lines[:8])
    works = [Work(), Work()]
    for work, text in zip(works, (whole, f"{part}\n\n\nx = 1\n\n\n{whole}\n\n\n{part}\n"), strict=True):
        work.add(Piece(CODE, "server.py", text), set())
    ((left, right),) = places(*works, CODE)
    assert (left.first, left.last) == (1, len(lines))
    assert (right.first, right.last) == (14, 13 + len(lines))


def test_the_more_have_it_the_less_it_says_of_two(given):
    def work(text: str) -> dict[str, Work]:
        made = {CODE: Work(), WORDS: Work()}
        made[CODE].add(Piece(CODE, "server.py", text), given.passages[CODE])
        return made

    text = made_copies.server("correct/flask_contract.py")
    weights = []
    for count in (2, 5, 20, 40):
        others = {f"other {number}": work(f"x = [{'0, ' * number}]") for number in range(20, 60 - count)}
        found = pairs({f"same {number}": work(text) for number in range(count)} | others, 0.001, 10_000)
        weights.append(found[0].weight)
    assert weights == sorted(weights, reverse=True)
    assert weights[0] > 500 > 20 > weights[-1] > 0


def test_what_over_half_of_a_class_has_does_not_count(given, tmp_path):
    text = made_copies.server("correct/flask_contract.py")
    more = made_copies.function_of(made_copies.server("hostile_server.py"), "handle")
    for number in range(12):
        folder = tmp_path / f"student {number:02}"
        folder.mkdir()
        own = more if number in (3, 7) else ""
        (folder / "server.py").write_text(
            f"{text}\n\n{own}" if number else "print('hello', *range(3), end='')\n" * 3
        )
    works, _ = works_of(find_submissions(tmp_path), given)
    (found,) = pairs(works, 0.001, 100)
    assert found.students == ("student 03", "student 07")
    assert min(found.shares) == 1.0


def test_who_is_in_one_group_may_work_alike(compared, folder, tmp_path):
    (tmp_path / "roster.csv").write_text(
        "id,name,group\n1,ada,red\n2,ben,red\n3,cleo,blue\n4,dan,green\n5,eve,\n6,finn,\n"
    )
    groups = likeness.groups_in(tmp_path, find_submissions(folder))
    assert {groups["ada"], groups["ben"]} == {"red"} and "gina" not in groups
    found = pairs(compared[0], likeness.LEAST, 100, groups)
    assert {one.students for one in found} == set(made_copies.COPIES) - {("ada", "ben")}


def test_of_a_giant_file_the_beginning_is_compared(compared, folder):
    (piece,) = compared[0]["ned"][CODE].pieces
    assert len(piece.text) == LARGEST < (folder / "ned" / "server.py").stat().st_size
    assert not [one for one in compared[2] if "ned" in one.students and one.weight >= likeness.LEAST]


def test_the_page_is_the_same_in_every_run_and_any_order(compared, given, folder, page):
    submissions = find_submissions(folder)
    works, problems = works_of(dict(reversed(submissions.items())), given)
    again = likeness_page(works, pairs(works, likeness.LEAST, likeness.MOST), problems, 136)
    assert again == page.read_text(encoding="utf-8")


# ---- The page -------------------------------------------------------------------------------------------


class Seen(HTMLParser):
    """The elements of a page, and the texts in those of each class."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.open, self.texts = [], [], {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.open.append(dict(attributes).get("class", "") if tag == "span" else "")

    def handle_endtag(self, tag):
        self.open.pop() if tag not in ("meta", "input") else None

    def handle_data(self, data):
        self.texts.setdefault(self.open[-1] if self.open else "", []).append(data)


def test_nothing_that_was_handed_in_is_markup_or_runs(page):
    text = page.read_text(encoding="utf-8")
    tags = Seen(re.sub("<(meta|input)[^>]*>", "", text)).tags
    assert tags.count("script") == 1
    assert not {"img", "iframe", "link", "b>olaf"} & set(tags)
    assert "alert(1)" in text, "it is shown"
    assert text.replace("\n", "").isprintable()
    script = text.split("<script>")[1].split("</script>")[0]
    (allowed,) = re.findall("script-src 'sha256-([^']*)'", text)
    assert allowed == hashed(script)
    assert "default-src 'none';" in text


def hashed(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def test_names_stand_only_where_they_are_hidden(page):
    seen = Seen(re.sub("<(meta|input)[^>]*>", "", page.read_text(encoding="utf-8")))
    names = {name for pair in made_copies.COPIES for name in pair}
    assert names | {"moe"} == set(seen.texts.pop("name"))
    assert not names & {text.strip() for texts in seen.texts.values() for text in texts}
    assert [*numbered([*names])] != sorted(names), "the number of a student says nothing of the name"
    assert sorted(numbered([*names]).values()) == list(range(1, len(names) + 1))


def test_who_has_nothing_of_their_own_is_named_with_the_reason(page):
    assert "there is nothing in it that the kit did not bring" in page.read_text(encoding="utf-8")


def test_keys_lead_through_the_page_and_show_the_names(page, tmp_path):
    browser = chromium.start(tmp_path / "profile", "1366,900")
    try:
        browser.get(page.as_uri())
        name = browser.find_element(By.CLASS_NAME, "name")
        press = browser.switch_to.active_element.send_keys
        assert not name.is_displayed()
        press("h")
        assert name.is_displayed()
        press("h")
        assert not name.is_displayed()
        press("jj")
        second = browser.find_elements(By.CSS_SELECTOR, ".pair > summary")[1]
        assert browser.switch_to.active_element == second
        second.send_keys(Keys.ENTER)
        assert second.find_element(By.XPATH, "..").get_attribute("open")
        assert browser.find_elements(By.CSS_SELECTOR, ".pair[open] mark")
        for theme in ("light", "dark"):
            told = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", told)
            for width, height in ((1366, 900), (390, 844)):
                size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
                browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
                wide = browser.execute_script("return document.documentElement.scrollWidth")
                assert wide <= width, "nothing sticks out to the side"
                if SHOTS:
                    browser.save_screenshot(f"{SHOTS}/likeness-{theme}-{width}.png")
    finally:
        browser.quit()


# ---- Wrong calls ----------------------------------------------------------------------------------------


def test_a_wrong_folder_is_refused_with_the_right_one(tmp_path, capsys):
    (tmp_path / "grades" / "ada").mkdir(parents=True)
    (tmp_path / "grades" / "ada" / "record.json").write_text(json.dumps({}))
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "server.py").write_text("print()")
    for folder, told in {
        "grades": "holds grades, and no sources: name the folder that was graded",
        "one": "is one submission: name the folder that holds everybody's",
        "nothing": "is no folder, and no zip as Moodle or Canvas makes it",
    }.items():
        assert likeness.main([str(tmp_path / folder), "-o", str(tmp_path / "x.html")]) == 2
        assert told in capsys.readouterr().err
    assert not (tmp_path / "x.html").exists()


def test_a_place_that_cannot_be_written_is_said(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(likeness, "works_of", lambda *_: ({}, {}))
    monkeypatch.setattr(likeness, "Given", lambda _: None)
    assert likeness.main([str(folder), "-o", str(tmp_path / "no" / "x.html")]) == 2
    assert "name a folder that you may write" in capsys.readouterr().err
    assert likeness.main([str(folder), "-o", str(tmp_path)]) == 0
    assert (Path(tmp_path) / "likeness.html").exists()
