"""Debian's Chromium without a window, driven by selenium."""

from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
INSTALL = "sudo apt-get install -y chromium chromium-driver"


def start(profile: Path, size: str, **capabilities) -> webdriver.Chrome:
    """A browser whose window has this size ("1366,768") and whose profile is kept in this folder."""
    for program in (CHROMIUM, DRIVER):
        assert program.exists(), f"{program} is missing: {INSTALL}"
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-dev-shm-usage",
        # two pages of its own behind the address bar, where nobody types: half of the work of a start
        "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup",
        f"--window-size={size}",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(flag)
    for name, value in capabilities.items():
        options.set_capability(f"goog:{name}", value)
    return webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))


@contextmanager
def own_tab(driver: webdriver.Chrome):
    """A new tab in front, closed in the end with all that was opened after it. (A start costs far more.)"""
    kept, before = set(driver.window_handles), driver.current_window_handle
    driver.switch_to.new_window("tab")
    try:
        yield
    finally:
        for opened in set(driver.window_handles) - kept:
            driver.switch_to.window(opened)
            driver.close()
        driver.switch_to.window(before)
