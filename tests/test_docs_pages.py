"""/docs and /redoc as a student sees them: in a real browser, without any other host."""

import json
from urllib.parse import urlsplit

import chromium
import pytest
import wire
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

SECONDS = 60  # a browser on a busy machine takes its time
# asked in one go: to ask for the text of each element takes longer than the page does for all else
HAVING = """
    const [selector, text] = arguments;
    return [...document.querySelectorAll(selector)].filter(one => one.innerText?.includes(text));
"""


@pytest.fixture(scope="module")
def chrome(tmp_path_factory):
    log = {"browser": "ALL", "performance": "ALL"}
    driver = chromium.start(tmp_path_factory.mktemp("profile"), "1300,1600", loggingPrefs=log)
    yield driver
    driver.quit()


@pytest.fixture
def browser(chrome):
    """It, as it was never anywhere: a tab of this test's own, nothing kept, and empty logs."""
    with chromium.own_tab(chrome):
        chrome.execute_cdp_cmd("Network.clearBrowserCache", {})
        forget_logs(chrome)
        yield chrome


def forget_logs(browser) -> None:
    for log in ("browser", "performance"):
        browser.get_log(log)


def wait_for(browser, selector: str, text: str = ""):
    """The first visible element for the CSS selector that has the text."""

    def found(_):
        return next(
            (one for one in browser.execute_script(HAVING, selector, text) if one.is_displayed()), None
        )

    wait = WebDriverWait(browser, SECONDS, 0.1, ignored_exceptions=[StaleElementReferenceException])
    return wait.until(found, f"no {selector} with {text!r} in the page")


def press(browser, selector: str, text: str = ""):
    element = wait_for(browser, selector, text)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()


def assert_quiet_and_offline(browser, url: str):
    """No warning or error in the console, and every request went to this server or nowhere."""
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")] == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert any(params["request"]["url"].startswith(url) for params in asked)
    for params in asked:
        address = urlsplit(params["request"]["url"])
        assert address.scheme in ("data", "blob", "chrome") or address.netloc == urlsplit(url).netloc, params
    answers = [
        event["params"]["response"] for event in events if event["method"] == "Network.responseReceived"
    ]
    assert {response["status"] for response in answers if response["url"].startswith("http")} <= {200}
    ids = {params["requestId"] for params in asked}  # the browser's own start page is not among them
    failures = [event["params"] for event in events if event["method"] == "Network.loadingFailed"]
    assert [failure for failure in failures if failure["requestId"] in ids] == []


def test_swagger_ui_shows_a_visitor_without_a_key_the_401_and_classifies_the_digit_of_the_example_with_one(
    debug_server, browser, tmp_path
):
    browser.get(debug_server.url + "/docs")
    assert "PixelWise" in wait_for(browser, ".info .title").text
    assert {block.text for block in browser.find_elements(By.CSS_SELECTOR, ".opblock-summary-path")} == {
        "/classify",
        "/results",
        "/health",
    }
    try_out(browser, "classify")
    example = wait_for(browser, "div[id$='-classify'] textarea.body-param__text").get_attribute("value")
    assert json.loads(example) == wire.DIGIT
    assert_quiet_and_offline(browser, debug_server.url)
    assert "X-API-Key" in executed(browser, "classify", status="401", having="detail")
    forget_logs(browser)  # the console tells of the 401

    press(browser, ".btn.authorize", "Authorize")
    wait_for(browser, ".auth-container input").send_keys(wire.KEY)
    press(browser, ".auth-container button.authorize", "Authorize")
    press(browser, ".auth-container button.btn-done", "Close")
    try_out(browser, "health")
    for operation, shown in [("classify", '"prediction": "7"'), ("health", '"status": "ok"')]:
        executed(browser, operation, status="200", having=shown)
        browser.save_screenshot(str(tmp_path / f"{operation}.png"))
    assert_quiet_and_offline(browser, debug_server.url)
    assert debug_server.log.count("POST /classify 200") == 1


def try_out(browser, operation: str) -> None:
    press(browser, f"div[id$='-{operation}'] .opblock-summary-control")
    press(browser, f"div[id$='-{operation}'] .try-out__btn", "Try it out")


def executed(browser, operation: str, status: str, having: str) -> str:
    """What is shown of the answer with this status that has these words."""
    press(browser, f"div[id$='-{operation}'] button.execute", "Execute")
    live = f"div[id$='-{operation}'] .live-responses-table"
    assert wait_for(browser, f"{live} tbody .response-col_status", status).text.startswith(status)
    return wait_for(browser, f"{live} .highlight-code", having).text


def test_redoc_shows_the_three_routes(debug_server, browser, tmp_path):
    browser.get(debug_server.url + "/redoc")
    wait_for(browser, "h1", "PixelWise")
    for method, path in [("POST", "/classify"), ("GET", "/results"), ("GET", "/health")]:
        wait_for(browser, "a, li, button, span", path)
        assert f"{method}\n{path}" in wait_for(browser, "body").text
    for tag, summary in [
        ("inference", "Which digit is this?"),
        ("reading", "Can the service classify right now?"),
    ]:
        press(browser, f"a[href*='{tag}'], [role='link'], label, li", tag)
        wait_for(browser, "body", summary)
    browser.save_screenshot(str(tmp_path / "redoc.png"))
    assert_quiet_and_offline(browser, debug_server.url)
