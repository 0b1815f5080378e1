"""The kernels of `pytest --nbval labs`: how they are spoken to."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import nbval.kernel
import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "labs" / "conftest.py"


@pytest.fixture
def configured():
    """Has pytest configured for nbval by labs/conftest.py, until the test is over."""
    spec = importlib.util.spec_from_file_location("conftest_of_the_labs", CONFTEST)
    conftest = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conftest)
    cleanups = []
    option = SimpleNamespace(nbval=True, nbval_sanitize_with=None, nbval_cell_timeout=2000)
    yield lambda: conftest.pytest_configure(SimpleNamespace(option=option, add_cleanup=cleanups.append))
    for cleanup in reversed(cleanups):
        cleanup()


def test_no_kernel_waits_for_a_port_that_another_program_may_take_first(configured):
    configured()
    first, second = (nbval.kernel.KernelManager(kernel_name="python3") for _ in range(2))
    assert {first.transport, second.transport} == {"ipc"} and first.ip != second.ip
    assert Path(first.ip).parent.is_dir()


def test_where_temporary_files_lie_too_deep_for_a_socket_it_is_tcp(configured, tmp_path, monkeypatch):
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    configured()
    assert nbval.kernel.KernelManager(kernel_name="python3").transport == "tcp"
