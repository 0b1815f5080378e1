"""The page of a class while it is graded, with graders that are made up."""

import os
import signal
import subprocess
import sys
import threading
from argparse import Namespace
from pathlib import Path

import chromium
import pytest
from selenium.webdriver.common.by import By

from checks.classroom import the_class, under_way
from checks.classroom.class_page import class_page
from checks.classroom.gradebook import write_class
from checks.classroom.one import record_of
from checks.classroom.records import GRADED, NOT_GRADED
from checks.classroom.under_way import NOW, PATIENCE, UnderWay

SHOTS = os.environ.get("READING_SHOTS")  # a folder for pictures to be looked at
START = 1_800_000_000.0  # seconds since the epoch
NAMES = ["ada", "<i>ben", "cleo", "<b>dan", "eve"]


def finished(name: str, points: float | None, doubtful: bool = False) -> dict:
    """What the page is told of a record."""
    return {
        "name": name,
        "status": NOT_GRADED if points is None else GRADED,
        "why": "it does not start: see server.log" if points is None else "",
        "report": {"earned": points or 0, "points": 94},
        "doubtful": doubtful,
    }


def text_of(page: str) -> list[list[str]]:
    """The cells of each row."""
    rows = page.split("<tbody>\n")[1].split("</tbody>")[0].splitlines()
    return [[cell.split(">", 1)[1] for cell in row.split("</td>")[:-1] if ">" in cell] for row in rows]


@pytest.fixture
def clock(monkeypatch):
    """The time, which passes only when a test says so."""
    now = [START]
    monkeypatch.setattr(under_way.time, "time", lambda: now[0])
    return now


def test_everybody_is_on_the_page_with_what_is_under_way_first(clock, monkeypatch):
    page = UnderWay(None, NAMES)
    page.finished(finished("eve", 90))
    tasks = page.beginning([{"name": "cleo"}, {"name": "<b>dan"}, {"name": "ada"}])
    next(tasks), next(tasks)
    monkeypatch.setitem(under_way.LIVE, "cleo", {"earned": 3, "of": 40, "at": "m3, waits for a window"})
    clock[0] += 75
    page.finished(finished("<b>dan", None))
    html = page.page(clock[0])
    assert [row[1] for row in text_of(html)] == [NOW, "waiting", "waiting", NOT_GRADED, GRADED]
    assert text_of(html)[0][2:] == ["3 of 40", "for 1:15 min, m3, waits for a window"]
    assert "1 of 5" in html and "it does not start" in html and "<b>dan" not in html and "<i>ben" not in html
    assert '<a href="eve/report.html">eve</a>' in html and '"ada/report.html"' not in html


def test_who_is_graded_once_more_is_under_way_again(clock):
    page = UnderWay(None, ["ada"])
    list(page.beginning([{"name": "ada"}]))
    page.finished(finished("ada", 80, doubtful=True))
    assert "is graded once more in the end" in page.page(clock[0])
    list(page.beginning([{"name": "ada"}]))
    assert text_of(page.page(clock[0]))[0][1] == NOW
    page.finished(finished("ada", 90))
    assert text_of(page.page(clock[0]))[0][1:3] == [GRADED, "90 of 94"]


def test_the_time_left_is_that_of_those_before_as_many_at_once(clock):
    page = UnderWay(None, [str(number) for number in range(12)])
    tasks = page.beginning({"name": str(number)} for number in range(12))
    next(tasks), next(tasks)
    assert page.left(clock[0]) is None and "not known yet" in page.page(clock[0])
    clock[0] += 60
    page.finished(finished("0", 1))
    page.finished(finished("1", 1))
    next(tasks), next(tasks)
    clock[0] += 20
    assert page.left(clock[0]) == (8 * 60 + 2 * 40) / 2
    assert "about 5 min" in page.page(clock[0])
    for task in tasks:
        page.finished(finished(task["name"], 1))
    for name in ("2", "3"):
        page.finished(finished(name, 1))
    assert page.left(clock[0]) == 0


# ---- From the first moment to the end ------------------------------------------------------------------


def grade(folder: Path, monkeypatch, grader, dask: str = "") -> Path:
    """Grade a class of four with a made-up grader; returns the folder of the grades."""
    for name in ("ada", "ben", "cleo", "dan"):
        (folder / "class" / name).mkdir(parents=True, exist_ok=True)
        (folder / "class" / name / "server.py").write_text("print()")
    monkeypatch.setattr(the_class, "grade", grader)
    asked = Namespace(
        out=folder / "grades", fresh=False, seconds=600, jobs=2, dask=dask, seed=5, received=None
    )
    options = {"milestone": "", "limit": "30/minute", "seed": 5, "box": False}
    the_class.command_class(folder / "class", asked, options)
    return folder / "grades"


def fake(task: dict) -> dict:
    """Everybody's record, of no checks."""
    return record_of(task, "it does not start: see server.log")


def test_the_page_is_there_before_the_first_grade_and_in_the_end_as_ever(tmp_path, monkeypatch):
    seen, lock = [], threading.Lock()
    monkeypatch.setattr(under_way, "EVERY", 0.01)
    written = threading.Event()
    write = under_way.write
    monkeypatch.setattr(under_way, "write", lambda *told: (write(*told), written.set()))

    def slow(task):
        for _ in range(2):  # the first may have been on its way before this one began
            written.clear()
            assert written.wait(600), "the page is written again and again"
        with lock:
            seen.append((tmp_path / "grades" / "index.html").read_text())
        return fake(task)

    grades = grade(tmp_path, monkeypatch, slow)
    assert len(seen) == 4 and all("Grading a class of 4" in page for page in seen)
    assert all('<meta http-equiv="refresh"' in page for page in seen)
    assert [row[1] for row in text_of(seen[0])].count(NOW) in (1, 2)
    last = (grades / "index.html").read_bytes()
    assert b"refresh" not in last and b"Grading" not in last
    write_class(grades, ["ada", "ben", "cleo", "dan"])
    assert (grades / "index.html").read_bytes() == last
    assert not [one.name for one in grades.iterdir() if one.name.startswith(".")]


def test_on_dask_the_page_and_the_end_are_the_same(tmp_path, monkeypatch):
    from distributed import LocalCluster

    monkeypatch.setattr(under_way, "EVERY", 0.01)
    here = grade(tmp_path / "here", monkeypatch, fake)
    pages, heard = [], []
    monkeypatch.setattr(the_class, "UnderWay", lambda *told: heard.append(UnderWay(*told)) or heard[-1])
    write = under_way.write
    monkeypatch.setattr(under_way, "write", lambda path, page: (write(path, page), pages.append(str(page))))
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster:
        there = grade(tmp_path / "there", monkeypatch, fake, cluster.scheduler_address)
    for name in ("index.html", "gradebook.csv", "ada/grade.json", "dan/grade.json"):
        assert (here / name).read_bytes() == (there / name).read_bytes(), name
    assert all("Grading a class of 4" in page for page in pages)
    assert [row[1] for row in text_of(pages[0])] == ["waiting"] * 4
    assert len(heard[0].took) == 4, "each was under way for a while"


KILLED = """
import sys, threading
from pathlib import Path
from checks.classroom.under_way import UnderWay
with UnderWay(Path(sys.argv[1]), ["ada", "ben"]) as page:
    list(page.beginning([{"name": "ada"}]))
    print("here", flush=True)
    threading.Event().wait()
"""


def test_of_a_grading_that_was_killed_a_whole_page_stays_and_says_so(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, tmp_path],
        cwd=Path(__file__).resolve().parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGKILL)
    process.wait(600)
    page = (tmp_path / "index.html").read_text()
    assert page.endswith("</html>\n")
    page = " ".join(page.split())
    assert "the same line of <code>python -m checks.grade</code> goes on from there" in page
    assert "If that is long ago, the grading was interrupted" in page, "also where no script runs"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    made = chromium.start(tmp_path_factory.mktemp("browser") / "profile", "1366,900")
    yield made
    made.quit()


def test_a_browser_shows_that_a_page_is_old(tmp_path, browser):
    page = UnderWay(None, NAMES)
    list(page.beginning([{"name": "ada"}, {"name": "<i>ben"}]))
    page.finished(finished("<i>ben", 81.5))
    page.finished(finished("cleo", None))
    now = under_way.time.time()
    for name, written in {"new": now, "old": now - 2 * PATIENCE}.items():
        (tmp_path / f"{name}.html").write_text(page.page(written))
        browser.get((tmp_path / f"{name}.html").as_uri())
        told = browser.find_element(By.CLASS_NAME, "stopped")
        assert told.is_displayed() == (name == "old")
        for theme in ("light", "dark") if SHOTS else ():
            media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
            browser.save_screenshot(f"{SHOTS}/under-way-{name}-{theme}.png")


def test_a_phone_shows_the_whole_of_what_changed_in_a_class(tmp_path, browser):
    checks = {"m1.one": {"status": "passed", "earned": 4, "points": 4}}
    told = {"status": GRADED, "why": "", "earned": 30, "points": 54, "checks": checks}
    told["labs"] = {"earned": 10, "points": 10}
    changes = {"Ada Böhm_4010": [("lab02.first", "0 of 4, failed", "4 of 4, passed")]}
    page = class_page([{"name": "Ada Böhm_4010"} | told, {"name": "block5-s036-final"} | told], {}, changes)
    (tmp_path / "index.html").write_text(page)
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    browser.get((tmp_path / "index.html").as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth") == 390
    assert browser.find_element(By.XPATH, "//td[.='4 of 4, passed']").is_displayed()
