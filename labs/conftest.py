"""What `pytest --nbval labs` leaves unsaid: which output is volatile; a cell takes five minutes
at most (one of lab 04 sets up a machine)."""

from pathlib import Path

SANITIZE = str(Path(__file__).with_name("sanitize.cfg"))


def pytest_configure(config):
    options = config.option
    if getattr(options, "nbval", False):
        options.nbval_sanitize_with = options.nbval_sanitize_with or SANITIZE
        options.nbval_cell_timeout = min(options.nbval_cell_timeout, 300)
