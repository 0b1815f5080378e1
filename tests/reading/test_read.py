"""The page for who reads the answers, in a real browser: keys, two readers at once, and kill -9."""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import chromium
import pytest
import served
from made_class import QUESTIONS, SAME, STUDENTS, make, record
from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from checks.classroom import records
from checks.classroom.marks import Marks, digest, holding, points_for, questions

ROOT = Path(__file__).resolve().parents[2]
SHOTS = os.environ.get("READING_SHOTS")  # a folder for pictures to be looked at


class Server:
    """`python -m checks.read` on a folder of grades."""

    def __init__(self, grades: Path):
        self.process, self.stdout = served.start(grades)
        self.address = self.stdout.readline().strip()
        assert self.address.startswith("http://127.0.0.1:"), self.address + self.stdout.read()

    def stop(self) -> None:
        """Without a word, as `kill -9` does."""
        self.process.kill()
        self.process.join(60)
        self.stdout.close()

    def ask(self, path="", host=None, sent=None):
        """(status, headers, text) of one request."""
        url = urlsplit(self.address)
        connection = http.client.HTTPConnection(url.netloc, timeout=60)
        headers = {"Host": host or url.netloc, "Content-Type": "application/json"}
        path = path if path.startswith("/") else url.path + path
        connection.request("POST" if sent else "GET", path, json.dumps(sent) if sent else None, headers)
        answer = connection.getresponse()
        told = answer.status, dict(answer.getheaders()), answer.read().decode()
        connection.close()
        return told


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """300 answers to six questions."""
    return make(tmp_path_factory.mktemp("made") / "grades")


@pytest.fixture
def grades(made, tmp_path):
    return shutil.copytree(made, tmp_path / "grades")


@pytest.fixture(scope="module")
def untouched(made, tmp_path_factory):
    """One server for all tests that mark nothing."""
    started = Server(shutil.copytree(made, tmp_path_factory.mktemp("untouched") / "grades"))
    yield started
    started.stop()


@pytest.fixture
def server(grades):
    started = Server(grades)
    yield started
    started.stop()


# the text that is seen of an element; selenium's own `text` takes three times as long
SHOWN = """const shown = (id) => {
    const one = document.getElementById(id);
    return one.checkVisibility() ? one.innerText.trim() : "";
};"""


class Reader:
    """A person at the page, who has nothing but a keyboard."""

    def __init__(self, browser, address: str, name: str):
        self.browser, self.window = browser, browser.current_window_handle
        browser.current_reader = self
        browser.get(address)
        self.until(lambda: self.shown("progress"))
        self.press(name, Keys.ENTER)  # the page waits for a name

    def front(self):
        if self.browser.current_reader is not self:
            self.browser.switch_to.window(self.window)
            self.browser.current_reader = self

    def press(self, *keys: str):
        """Each of them goes to what has the focus by then. (To an element they take six times as long.)"""
        self.front()
        chain = ActionChains(self.browser)
        for key in keys:
            if key.startswith(Keys.CONTROL):
                chain.key_down(Keys.CONTROL).send_keys(key[1:]).key_up(Keys.CONTROL)
            else:
                chain.send_keys(key)
        chain.perform()

    def shown(self, name: str) -> str:
        return self.script(f"shown({name!r})")

    def until(self, holds, seconds=60):
        WebDriverWait(self.browser, seconds, 0.1).until(lambda _: holds())

    def script(self, text: str):
        self.front()
        return self.browser.execute_script(f"{SHOWN} return {text}")

    def picture(self, name: str):
        if SHOTS:
            self.front()
            self.browser.save_screenshot(f"{SHOTS}/{name}.png")


@pytest.fixture(scope="module")
def chrome(tmp_path_factory):
    profile = tmp_path_factory.mktemp("profile")
    started = chromium.start(profile, "1366,900", loggingPrefs={"browser": "ALL"})
    yield started
    started.quit()


@pytest.fixture
def browser(chrome):
    """It, with a tab of this test's own: nothing that another one wrote, set or logged is in it."""
    with chromium.own_tab(chrome):
        chrome.get_log("browser")
        yield chrome


@pytest.fixture
def ann(browser, server):
    return Reader(browser, server.address, "ann")


@pytest.fixture
def ben(browser, ann, server):
    browser.switch_to.new_window("window")
    return Reader(browser, server.address, "ben")


def held(grades: Path):
    marks = Marks(grades)
    try:
        return holding(marks.rows())
    finally:
        marks.close()


def having(grades: Path, item: int) -> set[str]:
    return {student for (_, student), mark in held(grades)[1].items() if item in mark.items}


def theme(browser, name: str):
    told = {"features": [{"name": "prefers-color-scheme", "value": name}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", told)


# ---- Without a browser ---------------------------------------------------------------------------------


def test_only_who_has_the_whole_address_gets_anything(untouched):
    assert untouched.ask()[0] == 200
    for path in ("/", "/wrong/", "/wrong/names"):
        status, _, text = untouched.ask(path)
        assert status == 404 and "has a token in it" in text, path


def test_a_page_elsewhere_that_calls_itself_this_machine_is_sent_away(untouched):
    port = urlsplit(untouched.address).port
    assert untouched.ask(host=f"evil.example:{port}")[0] == 421
    assert untouched.ask("names", host="evil.example")[0] == 421
    assert untouched.ask(host=f"localhost:{port}")[0] == 200


def test_the_page_loads_nothing_from_elsewhere_and_is_kept_nowhere(untouched):
    _, headers, page = untouched.ask()
    assert headers["Cache-Control"] == "no-store"
    assert "http" not in page.replace("http-equiv", "")
    assert re.search(r"default-src 'none'; script-src 'nonce-[\w-]{20,}'; connect-src 'self';", page)


def test_no_name_is_told_before_one_asks(untouched):
    told = untouched.ask("answers")[2] + untouched.ask("rows/0")[2] + untouched.ask()[2]
    assert not any(name in told for name in STUDENTS)
    assert set(json.loads(untouched.ask("names")[2]).values()) == set(STUDENTS)


def test_what_is_no_mark_is_refused_in_words(untouched):
    for sent in ([1], {"rows": []}, {"reader": "", "rows": []}, {"reader": "a", "rows": [{"question": "x"}]}):
        status, _, text = untouched.ask("rows/0", sent=sent)
        assert status == 422 and json.loads(text)["detail"], sent


def test_ctrl_c_ends_it_and_says_what_comes_next(grades):
    command = [sys.executable, "-m", "checks.read", grades]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        assert "python -m checks.gradebook" in process.communicate(timeout=600)[0]
    assert process.returncode == 0


@pytest.mark.parametrize(("labs", "words"), [(False, "holds no grades"), (True, "holds no answers")])
def test_where_there_is_nothing_to_read_it_says_what_to_do(tmp_path, labs, words):
    if labs:
        records.save(tmp_path / "ada", record("ada", {}) | {"labs": None})
    done = subprocess.run(
        [sys.executable, "-m", "checks.read", tmp_path], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2 and words in done.stderr
    assert not (tmp_path / "reading.db").exists()


# ---- In a browser --------------------------------------------------------------------------------------


def test_a_class_is_read_with_the_keyboard_alone(ann, grades):
    place = ann.script("groups().findIndex((one) => one.students.length === 10 && one.text)")
    ann.press("j" * place)
    assert ann.shown("text").split() == SAME.split()
    assert "10 equal answers" in ann.shown("facts")
    ann.press("1")
    ann.until(lambda: ann.shown("score") == "1 of 4")
    ann.press("2")
    ann.until(lambda: ann.shown("score") == "2 of 4")
    ann.press("1")
    ann.until(lambda: ann.shown("score") == "1 of 4")
    ann.press("c", "well seen", Keys.CONTROL + Keys.ENTER)
    ann.until(lambda: "well seen" in ann.shown("again"))
    ann.press("n")  # the next that nobody has read
    ann.until(lambda: ann.shown("text").split() != SAME.split())
    ann.press("r", "1")
    ann.until(lambda: "×11" in ann.shown("again"))
    ann.press("i", "a new item", Keys.ENTER)
    ann.until(lambda: "a new item" in ann.shown("items"))
    ann.press("6")
    ann.until(lambda: ann.shown("score") == "1 of 4")
    assert STUDENTS[0] not in ann.shown("facts")
    ann.press("h")
    ann.until(lambda: "student" in ann.shown("facts"))
    ann.press("h")
    ann.until(lambda: "hidden" in ann.shown("facts"))
    ann.press("m")
    assert "SIGHUP" in ann.shown("paragraph")
    ann.press("?")
    assert "use a comment again" in ann.shown("keys")
    ann.press(Keys.ESCAPE)
    ann.press("]")
    ann.until(lambda: QUESTIONS[1] in ann.shown("asked"))
    ann.press("[")
    ann.until(lambda: QUESTIONS[0] in ann.shown("asked"))
    marks = held(grades)[1]
    for name in STUDENTS[:10]:
        assert len(marks[QUESTIONS[0], name].items) == 1
        assert marks[QUESTIONS[0], name].comments == {"ann": "well seen"}
    assert not [entry for entry in ann.browser.get_log("browser") if entry["level"] == "SEVERE"]


def test_a_comment_is_kept_when_one_leaves_it_and_dropped_with_escape(ann, grades):
    ann.press("c", "not this", Keys.ESCAPE)
    ann.press("c", "but this", Keys.TAB)
    ann.until(lambda: "but this" in ann.shown("again"))
    words = {words for mark in held(grades)[1].values() for words in mark.comments.values()}
    assert words == {"but this"}


def test_nothing_is_marked_without_a_name(browser, server, grades):
    nobody = Reader(browser, server.address, "")
    nobody.press("1")
    nobody.until(lambda: "Write your name" in nobody.shown("problem"))
    assert held(grades)[1] == {}


def test_two_readers_at_once_lose_no_mark_and_see_each_other(ann, ben, grades):
    count = ann.script("groups().length")
    for _ in range(count):  # both go through all answers, and each gives an item of their own
        ann.press("1j")
        ben.press("2j")
    for reader in (ann, ben):
        reader.until(lambda: reader.shown("progress") == f"{count} of {count} read")  # noqa: B023
    ann.press("c", "from ann", Keys.CONTROL + Keys.ENTER)
    ben.press("c", "from ben", Keys.CONTROL + Keys.ENTER)
    ann.until(lambda: ann.shown("others") == "ben: from ben")
    ben.until(lambda: ben.shown("others") == "ann: from ann")
    items, marks = held(grades)
    own = [item for item, row in items.items() if row["question"] == QUESTIONS[0]]
    assert {name: marks[QUESTIONS[0], name].items for name in STUDENTS} == {
        name: set(own[:2]) for name in STUDENTS
    }


def test_an_item_that_changes_its_points_moves_exactly_those_who_have_it(ann, ben, grades):
    place = ann.script("groups().findIndex((one) => one.students.length === 10 && one.text)")
    ann.press("j" * place + "1")
    ann.until(lambda: ann.shown("score") == "1 of 4")
    ann.press("j", "2")
    ann.until(lambda: ann.shown("score") == "1 of 4")
    items, marks = held(grades)
    before = {key: points_for(mark, items, 4) for key, mark in marks.items()}
    ann.press("e", "1", "2.5", Keys.ENTER)
    ann.until(lambda: "+2.5" in ann.shown("items"))
    ben.until(lambda: "+2.5" in ben.shown("items"))
    items, marks = held(grades)
    after = {key: points_for(mark, items, 4) for key, mark in marks.items()}
    moved = {student for (_, student), points in after.items() if points != before[_, student]}
    assert moved == set(STUDENTS[:10]) and len(after) == 11
    assert {after[QUESTIONS[0], name] for name in moved} == {2.5}


def test_kill_9_in_the_middle_loses_no_mark_that_was_shown(ann, server, grades):
    for number in range(12):
        ann.press("1")
        ann.until(lambda: ann.shown("score") == "1 of 4")
        if number < 11:
            ann.press("j")
    seen = ann.script("[...marks].filter(([key, mark]) => mark.items.size).length")
    ann.press("2")  # perhaps kept, perhaps not
    server.stop()
    item = min(held(grades)[0])
    assert len(having(grades, item)) == seen >= 12
    ann.press("3")
    ann.until(lambda: "The server has gone" in ann.shown("problem"))
    again = Server(grades)
    try:
        ann.browser.get(again.address)
        ann.until(lambda: ann.shown("progress").startswith("12 of"))
        assert "3" not in ann.shown("score")
    finally:
        again.stop()


def test_an_answer_that_changed_after_its_mark_is_flagged_until_the_mark_stands(browser, grades):
    marks, name = Marks(grades), STUDENTS[45]
    marks.begin(questions())
    item = min(holding(marks.rows())[0])
    row = {"kind": "mark", "question": QUESTIONS[0], "student": name, "item": item, "has": True}
    marks.add("ann", [row | {"answer": digest("what it was")}])
    marks.close()
    server = Server(grades)
    try:
        ann = Reader(browser, server.address, "ann")
        place = ann.script("groups().findIndex((one) => one.students.some((student) => markOf(student).old))")
        ann.press("j" * place)
        assert "changed after the mark" in ann.shown("flag")
        ann.press("s")
        ann.until(lambda: not ann.shown("flag"))
        assert ann.shown("score") == "1 of 4"
    finally:
        server.stop()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_themes_can_be_read(ann, scheme):
    theme(ann.browser, scheme)
    ann.press("j", "j", "1", "c", "as in the lab", Keys.CONTROL + Keys.ENTER)
    ann.until(lambda: "as in the lab" in ann.shown("again"))
    ann.press("m")
    ann.picture(scheme)
    ann.press("j", "k")
    ann.picture(f"{scheme}-top")
    worst = ann.browser.execute_script(CONTRAST)
    assert worst[0] >= 4.5, worst


# the least contrast of a text with what is behind it (WCAG 2.2, 1.4.3), and where
CONTRAST = """
const parts = (colour) => colour.match(/[\\d.]+/g).map((value) => value / 255);
const linear = (value) => value <= .03928 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4;
const light = (colour) => {
  const [r, g, b] = parts(colour).map(linear);
  return .2126 * r + .7152 * g + .0722 * b;
};
const behind = (one) => {
  const colour = getComputedStyle(one).backgroundColor;
  return one.parentElement && colour.endsWith(", 0)") ? behind(one.parentElement) : colour;
};
const told = (one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
const shown = (one) => one.checkVisibility() && !one.closest("dialog, select, script") && told(one);
const contrast = (one) => {
  const [a, b] = [light(getComputedStyle(one).color), light(behind(one))].sort((x, y) => y - x);
  return [(a + .05) / (b + .05), one.outerHTML.slice(0, 120)];
};
return [...document.body.querySelectorAll("*")].filter(shown).map(contrast).sort((x, y) => x[0] - y[0])[0];
"""


def test_a_phone_has_no_need_to_scroll_sideways(ann):
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    ann.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    ann.press("j", "j", "1", "c", "x" * 300, Keys.CONTROL + Keys.ENTER)
    ann.until(lambda: "xxx" in ann.shown("again"))
    ann.press("k", "j")
    ann.picture("phone-top")
    ann.press("i")
    ann.picture("phone")
    assert ann.script("document.documentElement.scrollWidth") == 390
    ann.press(Keys.ESCAPE)
    ann.press("?")
    ann.picture("phone-keys")
    assert ann.script("document.documentElement.scrollWidth") == 390
    wide = (
        "[...document.querySelectorAll('dialog *')].every((one) => one.getBoundingClientRect().right <= 390)"
    )
    assert ann.script(wide)
