"""pytest as the grader: `pytest checks --url http://HOST:PORT --key KEY` runs and explains the checks.

pytest finds the checks, and -k, -x and the rest work as ever; the Session of core.py runs them, so that
pytest, the labs and the grading of a class see the same. A student reads one line a check, and no traceback.
"""

import os
import platform
import random
import sys
import traceback
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from _pytest.terminal import TerminalReporter
from rich.console import Console

from checks.kit import core, grading
from checks.report.files import cannot_write, prepare, write_all
from checks.report.journal import Journal
from checks.report.model import TITLES, build, now
from checks.report.terminal import explanation, for_any_terminal, line, table

HERE = Path(__file__).resolve().parent
TARGETS = ("url", "prod", "unit")


def pytest_addoption(parser):
    group = parser.getgroup("PixelWise")
    group.addoption("--url", default="", help="the server to grade: http://HOST:PORT")
    group.addoption(
        "--key", default=os.environ.get("SECRET_API_KEY", ""), help="its key (default: $SECRET_API_KEY)"
    )
    group.addoption(
        "--limit", default="30/minute", help="its rate limit: N/second, N/minute, N/hour, N/SECONDS"
    )
    group.addoption("--docs", choices=["on", "off"], help="whether it runs with DEBUG=true (default: look)")
    group.addoption("--prod", default="", help="the production machine, for m4: ssh://produser@HOST")
    group.addoption("--no-reboot", action="store_true", help="m4 without the reboot")
    group.addoption("--unit", default="", help="a unit file, for the part of m4 that needs no machine")
    group.addoption("--milestone", default="", help="only these: m1,m3 (default: all that can be checked)")
    group.addoption("--report", default="", metavar="DIR", help="write the reports into this folder")
    group.addoption("--seed", type=int, help="choose the same digits again as another run")
    group.addoption("--traceback", action="store_true", help="show where in a check it failed")


class Grader:
    """Holds the Session of this run; a plugin, so that all hooks find it."""

    def __init__(self, config):
        self.options = options = config.option
        self.seed = random.randrange(10**6) if options.seed is None else options.seed
        self.console = Console(highlight=False, soft_wrap=True)
        debug = None if options.docs is None else options.docs == "on"
        named = ("url", "key", "limit", "prod", "unit")
        try:
            if options.prod and not options.url:  # m4 alone: the service is where the machine is
                options.milestone = options.milestone or "m4"
                options.url = f"http://{urlsplit(options.prod).hostname}:8000"
            elif options.url and not options.key:
                raise ValueError("--key is missing: give the server's SECRET_API_KEY")
            self.given = grading.given_for(
                **{name: getattr(options, name) for name in named},
                **{"debug": debug, "reboot": not options.no_reboot, "seed": self.seed, "tell": self.tell},
            )
        except (ValueError, OSError) as problem:
            raise pytest.UsageError(str(problem)) from None
        milestones = tuple(filter(None, options.milestone.split(",")))
        if not set(milestones) <= set(TITLES):
            raise pytest.UsageError(f"--milestone {options.milestone}: write some of {','.join(TITLES)}")
        self.checks = grading.planned(grading.all_checks(), self.given, milestones)
        self.session = self.journal = self.unwritten = None
        self.results = []

    def tell(self, text: str) -> None:
        """Progress: where nothing would be seen for a while."""
        self.console.print(f"  … {text}", style="dim", markup=False)

    def begin(self, names: list[str]) -> None:
        """Plan the checks with these names; those that they need run as well."""
        chosen = [check for check in self.checks if check.name in names]
        self.header = {
            "pixelwise_report": 1,
            "url": self.options.url or self.options.prod or self.options.unit,
            "seed": self.seed,
            "started": now(),
            "versions": {"python": platform.python_version(), "platform": platform.platform()},
            "planned": list(map(core.plan_of, chosen)),
        }
        if self.options.report:
            folder = Path(self.options.report)
            try:
                prepare(folder)
                self.journal = Journal(folder / "results.jsonl", self.header)
            except OSError as problem:
                raise pytest.UsageError(f"--report {cannot_write(problem, folder)}") from None
        self.session = grading.session(grading.all_checks(), self.given, self.seed)
        if self.session.gone:
            self.console.print(f"\n{self.session.gone}\n", style="bold red", markup=False)

    def run(self, name: str) -> core.Result:
        result = self.session.run(name)
        self.results.append(result)
        self.note(lambda: self.journal.write(result))
        return result

    def note(self, write):
        """Write a part of the reports, if there are any; a full disk ends the reports, and not the checks."""
        try:
            return write() if self.journal else None
        except OSError as problem:
            self.journal, self.unwritten = None, cannot_write(problem, Path(self.options.report))

    def finish(self) -> None:
        """Write the reports and print the summary."""
        if not self.session:
            return
        finished = now()
        whole = build(self.header, self.results, finished)
        self.console.print()
        self.console.print(table(whole))
        self.note(lambda: self.journal.finish())
        if written := self.note(lambda: write_all(whole, Path(self.options.report))):
            self.console.print(f"\nreports: {', '.join(map(str, written))}", markup=False)
        if self.unwritten:
            self.console.print(f"\nthere are no reports: {self.unwritten}", style="bold red", markup=False)
        self.console.print(f"the same digits again: --seed {self.seed}", style="dim", markup=False)


class StudentReporter(TerminalReporter):
    """One line a check, instead of pytest's dots, tracebacks and summaries."""

    grader = None

    def pytest_sessionstart(self, session):
        self._session = session
        self.grader.console.print(
            f"PixelWise grades {self.grader.options.url or 'the machine'}\n", markup=False
        )

    def pytest_collection(self):
        pass

    def pytest_collection_finish(self, session):
        pass

    def pytest_runtest_logstart(self, nodeid, location):
        pass

    def pytest_runtest_logfinish(self, nodeid):
        pass

    def pytest_runtest_logreport(self, report):
        self._tests_ran = True
        result = getattr(report, "pixelwise", None)
        if result is not None and report.when == "call":
            self.grader.console.print(line(result))
            if result.status != core.PASSED:
                self.grader.console.print(explanation(result))
                problem = self.grader.session.problems.get(result.name)
                if problem and self.grader.options.traceback:
                    print("".join(traceback.format_exception(problem)))
        elif report.failed:
            self.grader.console.print(str(report.longrepr), markup=False)

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session, exitstatus):
        result = yield
        self.grader.finish()
        if self.grader.unwritten:
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_terminal_summary(self):
        return (yield)


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    if not any(getattr(config.option, target, "") for target in TARGETS):
        return
    if getattr(config.option, "numprocesses", None) or hasattr(config, "workerinput"):
        raise pytest.UsageError("the checks share one server and its budget: run them without -n")
    for_any_terminal()
    grader = Grader(config)
    config.pluginmanager.register(grader, "pixelwise-grader")
    standard = config.pluginmanager.getplugin("terminalreporter")
    config.pluginmanager.unregister(standard)
    reporter = StudentReporter(config, sys.stdout)
    reporter.grader = grader
    config.pluginmanager.register(reporter, "terminalreporter")


def pytest_collection_modifyitems(config, items):
    mine = [item for item in items if HERE in Path(item.path).parents]
    grader = config.pluginmanager.getplugin("pixelwise-grader")
    if mine and not grader:
        raise pytest.UsageError(
            "say what to grade: pytest checks --url http://HOST:PORT --key KEY"
            " (or --prod ssh://produser@HOST, or --unit FILE)"
        )
    checks = {check.function: check for check in grader.checks} if grader else {}
    unwanted = [item for item in mine if item.function not in checks]
    if unwanted:
        config.hook.pytest_deselected(items=unwanted)
        items[:] = [item for item in items if item not in unwanted]
    for item in mine:
        item.check = checks.get(item.function)


def pytest_collection_finish(session):
    grader = session.config.pluginmanager.getplugin("pixelwise-grader")
    if grader and not session.config.option.collectonly:
        grader.begin([item.check.name for item in session.items if hasattr(item, "check")])


@pytest.fixture
def api():
    """The Session gives the checks what they ask for; these fixtures only let pytest know the names."""


digits = prod = unit = api


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    check = getattr(pyfuncitem, "check", None)
    if check is None:
        return None
    grader = pyfuncitem.config.pluginmanager.getplugin("pixelwise-grader")
    pyfuncitem.result = grader.run(check.name)
    if pyfuncitem.result.status != core.PASSED:
        pytest.fail(f"{pyfuncitem.result.status}: {check.sentence}", pytrace=False)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    made = yield
    made.pixelwise = getattr(item, "result", None)
    return made
