"""A plugin of the pytest that runs a notebook: it writes what became of each cell to $PIXELWISE_EVIDENCE."""

import json
import os
from pathlib import Path

import pytest

SHOWN = 2_000  # characters of an output that are kept
OUTPUT_SECONDS = 30  # between two outputs; nbval's 5 are too few for a busy machine
SAME, DIFFERS, ERROR, NOT_RUN = "reproduces", "differs", "error", "not run"


def pytest_configure(config):
    if "PIXELWISE_EVIDENCE" in os.environ:
        from nbval.plugin import IPyNbCell

        make = IPyNbCell.__init__

        def init(self, *arguments, **named):
            make(self, *arguments, **named)
            self.output_timeout = OUTPUT_SECONDS

        IPyNbCell.__init__ = init
        # the difference is not shown, and would take minutes for a long output
        IPyNbCell.format_output_compare = lambda self, key, left, right: None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    over = call.when == "call" or (call.when == "setup" and call.excinfo)
    if "PIXELWISE_EVIDENCE" in os.environ and over:
        problem = call.excinfo.value if call.excinfo else None
        told = {"cell": item.cell_num} | became_of(problem, item.test_outputs)
        with Path(os.environ["PIXELWISE_EVIDENCE"]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(told) + "\n")
    return report


def became_of(problem: BaseException | None, outputs: list | None) -> dict:
    """What became of a cell, from what nbval raised and what the cell put out."""
    shown = "\n".join(text_of(output) for output in outputs or [])[:SHOWN]
    became, message = SAME, ""
    if problem is not None:
        message = str(problem)[:200]
        if "outputs differ" in message:
            became = DIFFERS
        elif outputs is None:
            became = NOT_RUN  # the kernel is dead
        else:
            became = ERROR
    return {"became": became, "message": message, "shown": shown}


def text_of(output) -> str:
    """An output as text, cut."""
    if output["output_type"] == "error":
        return f"{output.get('ename')}: {output.get('evalue')}"[:SHOWN]
    text = output.get("text") or output.get("data", {}).get("text/plain", "")
    return (text if isinstance(text, str) else "")[:SHOWN].rstrip("\n")
