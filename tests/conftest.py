"""Fixtures: real server processes, each on a port of its own, stopped and checked when the test is over."""

import gc
import hashlib
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
import warm
import wire
from xdist.scheduler import LoadScopeScheduling

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as server.py: side by side its threads cost twice
os.environ["PIXELWISE_PROGRESS"] = ""  # what passes in a test is no progress of whoever runs it
# what a test starts can be stopped with Ctrl-C, also where the tests themselves run in the background
signal.signal(signal.SIGINT, signal.default_int_handler)

SLOW = (  # files that boot machines, open browsers, run notebooks or grade; the longest first
    *("test_checks_table", "test_hostile_surroundings", "test_hostile_clients"),  # the longest of those alone
    *("test_drills", "test_lab04", "test_labs_browser", "test_release", "test_grade"),
    "test_checks_servers",  # mostly waits, so it begins beside those
    *("test_debian13", "test_labs", "test_box", "test_box_m4", "test_labs_student", "test_debian13_prod"),
    *("test_pythons", "test_process", "test_labs_claims", "test_setup", "test_setup_odd"),
    *("test_honest", "test_hostile", "test_notebooks", "test_read", "test_likeness", "test_under_way"),
    *("test_lms", "test_handed_in", "test_checks_m4", "test_checks_m5", "test_checks_odd", "test_classifier"),
    *("test_autograder", "test_classroom"),
    *("test_fuzz", "test_fuzz_streams", "test_docs_pages", "test_outdated"),
    *("test_goldens", "test_checks_m4_unit", "test_openapi", "test_harmless", "test_walk", "test_gates"),
    *("test_labs_lost", "test_digits"),
)
# of the others those that take longest: who starts one of them last keeps all waiting
LONGER = ("test_made_term", "test_server", "test_labs_labkit", "test_labs_pieces", "test_wire", "test_rooms")
LONGER += ("test_warm", "test_labs_practice", "test_sandbox", "test_marks")
# where the code that the report counts runs in the tests' own process; measuring doubles a test's time
MEASURED = ("deploy", "test_server", "test_classifier")
# where servers do what no other does: what all others reach, these have reached
SERVERS_MEASURED = (*MEASURED, "test_process")
# files whose tests share nothing
ALONE = (
    "test_hostile_clients",
    "test_checks_servers",
    "test_process",
    "test_labs_claims",
    "test_labs_student",
)


def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="leave out the files that take long, and name them")


def pytest_ignore_collect(collection_path, config):
    """Of `-m alone` as well, only what has such tests: to import all others takes longer."""
    if config.option.markexpr == "alone" and collection_path.suffix == ".py":
        return "mark.alone" not in collection_path.read_text(encoding="utf-8") or None
    return True if config.getoption("--quick") and collection_path.stem in SLOW else None


@pytest.hookimpl(wrapper=True)
def pytest_collection(session):
    """What is imported and collected is never thrown away: looking for garbage there again and again takes
    longer than some tests, and makes whatever is forked copy all of it."""
    gc.disable()
    measure(session.config, False)
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(10_000)
        gc.enable()


def pytest_collection_modifyitems(items):
    """The longest first: side by side, one that starts last keeps all others waiting for it."""
    order = [*SLOW, *LONGER]
    items.sort(key=lambda item: order.index(item.path.stem) if item.path.stem in order else len(order))


def is_of(item, names: tuple[str, ...]) -> bool:
    """Whether a test's file or folder is among them."""
    return bool({item.path.stem, item.path.parent.name} & set(names))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    wire.measured = is_of(item, SERVERS_MEASURED)
    measure(item.config, is_of(item, MEASURED))
    try:
        return (yield)
    finally:
        measure(item.config, False)


def measure(config, on: bool) -> None:
    """Measure what this process covers, or no longer, where --cov asks for it. Of what it starts only servers
    of tests/wire.py are measured: it slows all else down."""
    if (plugin := config.pluginmanager.get_plugin("_cov")) and plugin.cov_controller:
        (plugin.cov_controller.resume if on else plugin.cov_controller.pause)()
        # pytest-cov has begun twice in a worker, first as if it had workers itself, and would never end that
        while not on and (other := sys.modules["coverage"].Coverage.current()):
            other.stop()
    told = [name for name in os.environ if name.startswith(("COVERAGE_", "COV_"))]
    wire.COVERAGE.update({name: os.environ.pop(name) for name in told})


class ByFile(LoadScopeScheduling):
    """The tests of a file share what it builds, so they stay in one worker; those of ALONE build nothing.

    (The marker `xdist_group` would say the same; pytest-xdist 3.8 loses it under pytest 9.2.)
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return nodeid if Path(file).stem in ALONE else file


def pytest_xdist_setupnodes(config, specs):
    """Fork the workers from a process that has imported all test files, which takes five times as long as the
    rest of their start. What a file makes as it is imported all of them share."""
    measure(config, False)
    python = warm.Python(tests=map(str, config.invocation_params.args))
    config.add_cleanup(python.close)
    for spec in specs:
        spec.python = str(python.program)


def pytest_xdist_make_scheduler(config, log):
    return ByFile(config, log)


def pytest_terminal_summary(terminalreporter, config):
    if config.getoption("--quick"):
        terminalreporter.write_line(
            f"--quick left out what runs alone, {', '.join(SLOW)}: `bash setup-server.sh test` runs all"
        )


@pytest.fixture(scope="session")
def warm_python():
    """What kernels, and who runs a lab, are forked from: their imports take longer than most labs."""
    with warm.Python() as python:
        yield python


@pytest.fixture
def start_server():
    """A factory: `start_server(RATE_LIMIT="3/second")` starts a server with these settings."""
    started = []

    def start(*arguments, **settings) -> wire.Process:
        started.append(wire.Process(*arguments, **settings))
        return started[-1]

    yield start
    stop_all(started)


@pytest.fixture(scope="module")
def server():
    """One server without a rate limit for all tests of a file that leave no trace in it."""
    running = wire.Process()
    yield running
    stop_all([running])


@pytest.fixture(scope="module")
def debug_server():
    """The same with DEBUG=true."""
    running = wire.Process(DEBUG="true")
    yield running
    stop_all([running])


def stop_all(processes: list[wire.Process]) -> None:
    problems = []
    for process in processes:
        try:
            process.stop()
        except AssertionError as problem:
            problems.append(problem)
    if problems:
        raise problems[0]


@pytest.fixture
def copy_of_the_repo(tmp_path) -> Path:
    """server.py, its modules, schemas/ and models/ in a folder of their own, to be changed at will."""
    return copy_repo(tmp_path / "repo")


def copy_repo(copy: Path) -> Path:
    (copy / "models").mkdir(parents=True)
    shutil.copy(wire.SERVER, copy / "server.py")
    shutil.copytree(wire.ROOT / "schemas", copy / "schemas")
    (copy / "deploy").mkdir()
    for folder in ("deploy", "models"):
        for file in (wire.ROOT / folder).glob("*.py"):
            shutil.copy(file, copy / folder)
    artefact = wire.ROOT / wire.SETTINGS["MODEL_PATH"]
    shutil.copy(artefact.parent / "SHA256SUMS", copy / "models")
    (copy / "models" / artefact.name).symlink_to(artefact)
    prepared = wire.ROOT / "models" / ".prepared"
    if prepared.is_dir():  # spares every copy the unpickling
        (copy / "models" / ".prepared").mkdir()
        for file in prepared.glob("*.npz"):
            (copy / "models" / ".prepared" / file.name).symlink_to(file)
    return copy


ODD_MODEL = """
import pathlib, time, types
HERE = pathlib.Path(__file__).parent
TABLE = {1: [float("nan"), 0.5], 2: [1.5, -0.5], 3: [float("inf"), 0.0]}

def predict_proba(ink):
    if (HERE / "sick").exists():
        raise RuntimeError("the password is swordfish")
    while ink.sum() == 5 and not (HERE / "go on").exists():
        time.sleep(0.01)
    import numpy
    return numpy.array([TABLE.get(int(ink.sum()), [0.25, 0.75])] * len(ink))

MODEL = types.SimpleNamespace(classes_=["3", "8"], predict_proba=predict_proba)
"""


@pytest.fixture
def odd_model(copy_of_the_repo) -> Path:
    """A copy of the repo whose model knows the classes "3" and "8" alone, always sees an 8, and is moody:

    it fails while the file `sick` exists, its scores are nonsense for a picture with 1, 2 or 3 pixels of ink,
    and over one with 5 it broods until the file `go on` exists.
    """
    return with_odd_model(copy_of_the_repo)


def with_odd_model(repo: Path) -> Path:
    (repo / "odd_model.py").write_text(ODD_MODEL)
    install_artefact(repo, b"codd_model\nMODEL\n.")
    return repo


def install_artefact(repo: Path, content: bytes, name: str = "digit_classifier_v1.pkl") -> Path:
    """Put an artefact into a copy of the repo, with its digest in SHA256SUMS."""
    file = repo / "models" / name
    file.unlink(missing_ok=True)
    file.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    (repo / "models" / "SHA256SUMS").write_text(f"{digest}  {name}\n")
    return file
