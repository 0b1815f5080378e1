"""The labs in JupyterLab, in a real browser: opened with a double-click, run from the menu, looked at.

Lab 04 works on a box, which needs root, or a sudo without a password, and the packages that `box` names.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import chromium
import pytest
from lent import BOX, with_venv
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from tree import copy_to, from_setup

from checks.editions.write import never_run

ROOT = Path(__file__).resolve().parent.parent
LABS = sorted(path.name for path in ROOT.glob("labs/0[0-9]_*.ipynb"))
EVERY_CELL = {"@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"}}  # is in the page
IN_FRONT = ".jp-NotebookPanel:not(.lm-mod-hidden)"
PICTURES = f"{IN_FRONT} .jp-OutputArea-output img"


@pytest.fixture(scope="module")
def prod(tmp_path_factory):
    """A box that boots while the other labs run: its PROD_HOST, and the process of `box up`."""
    name, log = f"browser-{os.getpid()}", tmp_path_factory.mktemp("box") / "log"
    with log.open("w") as file:
        streams = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": file}
        up = subprocess.Popen([BOX, "--name", name, "up"], env=os.environ | with_venv(), **streams)
    try:
        yield f"box:{name}", lambda: (up.wait(600), log.read_text())
    finally:
        up.wait(600)
        subprocess.run([BOX, "--name", name, "destroy"], check=True, capture_output=True)


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    """The copy that JupyterLab shows."""
    repo = copy_to(tmp_path_factory.mktemp("jupyter") / "repo")
    for path in (repo / "labs").glob("*.ipynb"):
        path.write_text(json.dumps(never_run(json.loads(path.read_text()))))  # all comes from this run
    return repo


@pytest.fixture(scope="module")
def lab(repo, prod, warm_python):
    """The address of a JupyterLab on a copy of the repo, as `bash setup-server.sh labs` starts it."""
    folder = repo.parent
    (folder / "app").mkdir()
    share = Path(sys.prefix) / "share/jupyter/lab"
    for part in ("static", "schemas", "themes"):
        (folder / "app" / part).symlink_to(share / part)
    from_setup("quiet_jupyter", VENV=folder / "venv")
    ours = folder / "venv/share/jupyter"
    shutil.copytree(ours / "lab/settings", folder / "app/settings")
    (folder / "app/settings/overrides.json").write_text(json.dumps(EVERY_CELL))
    own = {"PIXELWISE_PROGRESS": repo / ".progress.json"}
    own |= {"PROD_HOST": prod[0], "JUPYTERLAB_DIR": folder / "app", "JUPYTER_CONFIG_DIR": folder / "config"}
    own |= {"JUPYTER_PATH": warm_python.kernels}
    own |= {
        "JUPYTERLAB_SETTINGS_DIR": folder / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": folder / "workspaces",
    }
    words = ["--no-browser", "--allow-root", "--port=0", "--IdentityProvider.token=", "--ip=127.0.0.1"]
    words += ["--LabApp.extension_manager=readonly", *from_setup("lab_options")]
    words += ["--LabApp.expose_app_in_browser=True"]  # for CLOSE
    words += [f"--LabApp.extra_labextensions_path={ours / 'labextensions'}"]
    words += ["--KernelManager.transport=ipc"]  # a port may be taken while a kernel starts
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "jupyterlab", *words, repo / "labs"],
            env={**os.environ, **{key: str(value) for key, value in own.items()}},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 180
        while not (found := re.search(r"http://127\.0\.0\.1:\d+/lab", (folder / "log").read_text())):
            assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield found[0]
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:  # as it did once, and nobody knows what for
            process.send_signal(signal.SIGABRT)
            process.wait()
            warnings.warn(f"JupyterLab did not end: {(folder / 'log').read_text()[-9000:]}", stacklevel=1)


@pytest.fixture(scope="module")
def browser(tmp_path_factory, lab, repo):
    """JupyterLab on a laptop, opened on the progress page: once for all tests, as that takes long."""
    write_progress(repo)
    driver = chromium.start(tmp_path_factory.mktemp("profile"), "1366,768")
    try:
        driver.get(f"{lab}/tree/PROGRESS.md?reset")  # where --LabApp.default_url leads
        patience_with(driver).until(lambda _: count(driver, ".jp-MarkdownViewer table"))
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def patience(browser):
    return patience_with(browser)


def patience_with(browser) -> WebDriverWait:
    return WebDriverWait(browser, 120, ignored_exceptions=[WebDriverException])


def count(browser, selector: str) -> int:
    return len(browser.find_elements(By.CSS_SELECTOR, selector))


# ---- The progress page ----------------------------------------------------------------------------------


def write_progress(repo: Path, done: str = "") -> None:
    command = ["-c", done] if done else ["record.py"]
    own_record = {**os.environ, "PIXELWISE_PROGRESS": str(repo / ".progress.json")}
    subprocess.run([sys.executable, *command], cwd=repo / "labs", env=own_record, check=True)


def shown_files(browser) -> list[str]:
    found = browser.find_elements(By.CSS_SELECTOR, ".jp-DirListing-item .jp-DirListing-itemText")
    return [item.text for item in found]


TAB = "//*[contains(@class,'lm-TabBar-tabLabel')][text()='{}']".format


def test_it_opens_on_the_progress_page_among_the_labs_alone(browser, patience):
    patience.until(lambda _: len(shown_files(browser)) > 6)
    assert sorted(shown_files(browser)) == sorted([*LABS, "PROGRESS.md", "README.md"])
    assert count(browser, ".jp-MarkdownViewer progress") == len(LABS)


def test_the_progress_page_fits_into_half_a_window_beside_the_files(browser, patience):
    browser.set_window_size(683, 768)
    try:
        browser.find_element(By.XPATH, TAB("PROGRESS.md")).click()
        patience.until(lambda _: browser.execute_script("return innerWidth") <= 683)
        page = "const page = document.querySelector('.jp-MarkdownViewer .jp-RenderedMarkdown');"
        patience.until(lambda _: 0 < browser.execute_script(f"{page} return page.clientWidth") < 683)
        assert browser.execute_script(f"{page} return page.scrollWidth - page.clientWidth") <= 0
    finally:
        browser.set_window_size(1366, 768)


def test_whoever_comes_back_to_the_progress_page_sees_what_was_done_meanwhile(browser, repo, patience):
    patience.until(lambda _: browser.find_elements(By.XPATH, "//*[text()='README.md']"))
    item = "//li[contains(@class,'jp-DirListing-item')][.//span[text()='README.md']]"

    def another_page(_) -> bool:  # again and again: on a busy machine the list of files is still on its way
        ActionChains(browser).double_click(browser.find_element(By.XPATH, item)).perform()
        time.sleep(0.5)
        return bool(browser.find_elements(By.XPATH, TAB("README.md")))

    patience.until(another_page, "README.md does not open")

    def comes_back_to(words: str):
        def news(_) -> bool:
            for title in ("README.md", "PROGRESS.md"):
                browser.find_element(By.XPATH, TAB(title)).click()
                time.sleep(0.5)
            return words in "".join(browser.execute_script(SHOWN))

        patience.until(news, "the progress page shows no news")

    write_progress(repo, "from record import remember; remember(['00.survivors'], {'m1.health answers': 2})")
    comes_back_to("1 of 6")
    (repo / ".progress.json").unlink()
    write_progress(repo)
    comes_back_to("Begin here: 00")


SHOWN = "return [...document.querySelectorAll('.jp-MarkdownViewer')].map(each => each.textContent)"


def test_a_link_of_the_progress_page_opens_its_lab(browser, patience):
    browser.find_element(By.XPATH, TAB("PROGRESS.md")).click()
    link = f"//*[contains(@class,'jp-MarkdownViewer')]//a[contains(.,'{LABS[-1][:2]}')]"

    def follow(_) -> bool:  # again, where the page was just written anew, as it came to the front
        browser.find_element(By.XPATH, link).click()
        return True

    patience.until(follow)
    patience.until(lambda _: count(browser, ".jp-Notebook .jp-CodeCell"))


# ---- The labs -------------------------------------------------------------------------------------------


def open_and_run_all(browser, name: str) -> None:
    """In JupyterLab: double-click the notebook in the list of files, then Run, Run All Cells."""
    patience = WebDriverWait(browser, 120)
    browser.execute_script(CLOSE)
    item = f"//li[contains(@class,'jp-DirListing-item')][.//span[text()='{name}']]"
    patience.until(lambda _: browser.find_elements(By.XPATH, item))  # it looks for new files now and then
    ActionChains(browser).double_click(browser.find_element(By.XPATH, item)).perform()
    patience.until(lambda _: browser.execute_script(IS_READY, name))  # else Run All asks for a kernel
    browser.find_element(By.XPATH, "//*[contains(@class,'lm-MenuBar-itemLabel')][text()='Run']").click()
    entry = "//*[contains(@class,'lm-Menu-itemLabel')][text()='Run All Cells']"
    patience.until(lambda _: browser.find_elements(By.XPATH, entry))
    browser.find_element(By.XPATH, entry).click()
    WebDriverWait(browser, 400).until(lambda _: all_ran(browser), "a cell still runs")


# what lies behind is worked on as well at each change: of ten notebooks the last took three times as long
CLOSE = "for (const one of [...jupyterapp.shell.widgets('main')]) one.dispose();"
# whether the notebook of this name is in front, has its cells, and an idle kernel
IS_READY = f"""
    const panel = document.querySelector('{IN_FRONT}');
    const title = document.querySelector('#jp-main-dock-panel .lm-TabBar-tab.jp-mod-current');
    const kernel = panel && panel.querySelector('.jp-Notebook-ExecutionIndicator');
    return panel && title && title.textContent.includes(arguments[0]) && panel.querySelector('.jp-CodeCell')
        && panel.querySelector('.jp-KernelName').textContent.includes('Python 3')
        && kernel && kernel.dataset.status === 'idle';
"""


def all_ran(browser) -> bool:
    """Whether every code cell that is not empty has a number in front of it."""
    return browser.execute_script(f"""
        const cells = [...document.querySelectorAll('{IN_FRONT} .jp-CodeCell')];
        return cells.length > 0 && cells.every(cell =>
            /\\[\\d+\\]/.test(cell.querySelector('.jp-InputPrompt').textContent));
    """)


def errors(browser) -> list[str]:
    kinds = [f"{IN_FRONT} [data-mime-type='application/vnd.jupyter.{kind}']" for kind in ("error", "stderr")]
    return [element.text for element in browser.find_elements(By.CSS_SELECTOR, ", ".join(kinds))]


@pytest.mark.parametrize("name", LABS)
def test_run_all_shows_no_error_and_renders_pictures_and_results(browser, prod, name):
    if name.startswith("04"):
        status, log = prod[1]()
        assert status == 0, log
    open_and_run_all(browser, name)
    assert errors(browser) == []
    outputs = f"[...document.querySelectorAll('{IN_FRONT} .jp-OutputArea-output')]"
    shown = browser.execute_script(f"return {outputs}.map(each => each.textContent);")
    source = json.loads((ROOT / "labs" / name).read_text())
    stored = [output for cell in source["cells"] for output in cell.get("outputs", [])]
    assert len(shown) >= len(stored)
    for mark in "✓✗?":
        wanted = sum(words(output).lstrip().startswith(mark) for output in stored)
        assert sum(text.lstrip().startswith(mark) for text in shown) == wanted, mark
    assert count(browser, PICTURES) == sum("image/png" in output.get("data", {}) for output in stored)


def words(output: dict) -> str:
    """What an output says, as plain text."""
    return "".join(output.get("text") or output.get("data", {}).get("text/plain", ""))


def test_a_cell_that_fails_is_seen(browser, repo):
    labs = repo / "labs"
    source = json.loads((labs / LABS[-1]).read_text())
    cells = [{"cell_type": "code", "id": "fails", "metadata": {}, "outputs": [], "execution_count": None,
              "source": "1 / 0"}]  # fmt: skip
    (labs / "fails.ipynb").write_text(json.dumps(source | {"cells": cells}))
    open_and_run_all(browser, "fails.ipynb")
    assert "ZeroDivisionError" in errors(browser)[0]


# ---- What a hand does -----------------------------------------------------------------------------------


def run_cells(browser, repo: Path, name: str, *sources: str) -> None:
    """Open and run a new notebook that has these cells alone."""
    labs = repo / "labs"
    source = json.loads((labs / LABS[0]).read_text())
    cells = [
        {"cell_type": "code", "id": f"cell-{number}", "metadata": {}, "outputs": [], "source": source,
         "execution_count": None}
        for number, source in enumerate(sources)
    ]  # fmt: skip
    (labs / name).write_text(json.dumps(source | {"cells": cells}))
    open_and_run_all(browser, name)


DRAWING = f"{IN_FRONT} .pixelwise-draw"


def ink_of(browser) -> int:
    """How much ink the 28 x 28 pixels have that are shown as those of the model."""
    return browser.execute_script(f"""
        const shown = document.querySelector('{DRAWING} .pixels').getContext('2d');
        const dark = (value, place) => place % 4 === 0 && value < 128;
        return shown.getImageData(0, 0, 28, 28).data.filter(dark).length;
    """)


def test_a_digit_drawn_with_the_mouse_is_seen_in_its_pixels_and_classified(browser, repo):
    run_cells(
        browser,
        repo,
        "drawn.ipynb",
        "import numpy as np\nfrom drawing import draw\nfrom labkit import ROOT, Server\nserver = Server()",
        'drawn = draw(server, np.load(ROOT / "models/samples.npz")["images"][30])\ndrawn',
    )
    patience = WebDriverWait(browser, 60)
    spans = f"[...document.querySelectorAll('{DRAWING} .answer span')]"
    best = f"return {spans}.map(each => +each.textContent)"
    patience.until(lambda _: browser.execute_script(best))
    scores = browser.execute_script(best)
    assert scores.index(max(scores)) == 3 and ink_of(browser) > 50  # the sample
    sample = ink_of(browser)
    canvas = browser.find_element(By.CSS_SELECTOR, f"{DRAWING} .ink")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    hand = ActionChains(browser).move_to_element_with_offset(canvas, 0, -70).click_and_hold()
    hand.move_by_offset(-2, 70).move_by_offset(-2, 70).release().perform()
    patience.until(lambda _: ink_of(browser) != sample)
    patience.until(lambda _: (found := browser.execute_script(best)) and found.index(max(found)) == 1)
    assert 40 <= ink_of(browser) <= 80, "a line of twenty pixels, two or three wide"
    browser.find_element(By.CSS_SELECTOR, f"{DRAWING} button").click()
    patience.until(lambda _: ink_of(browser) == sample)


def test_a_prediction_is_chosen_with_a_click_and_answered_in_the_next_cell(browser, repo):
    asked = "from predictions import answered, predict\npredict('02.which-gate', '401', '422', '429')"
    run_cells(browser, repo, "chosen.ipynb", asked, "answered('02.which-gate')")
    patience = WebDriverWait(browser, 60)
    buttons = f"{IN_FRONT} .widget-toggle-button"
    patience.until(lambda _: count(browser, buttons) == 3)
    assert "You made no prediction" in browser.find_element(By.CSS_SELECTOR, IN_FRONT).text
    [button] = [one for one in browser.find_elements(By.CSS_SELECTOR, buttons) if one.text == "422"]
    button.click()
    record = repo / ".progress.json"
    patience.until(lambda _: record.exists() and '"422"' in record.read_text())
    cell = browser.find_elements(By.CSS_SELECTOR, f"{IN_FRONT} .jp-CodeCell .cm-content")[1]
    cell.click()
    ActionChains(browser).key_down(Keys.CONTROL).send_keys(Keys.ENTER).key_up(Keys.CONTROL).perform()
    said = 'You said "422", but it is "401"'
    patience.until(lambda _: said in browser.find_element(By.CSS_SELECTOR, IN_FRONT).text)
