"""What servers import is compiled once, by whoever grades."""

import sys

import pytest

from checks.classroom import bytecode


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Packages of ours: one that works, one that cannot be imported, and one that is not there."""
    for name, source in {"pw_works": "import pw_works.inner\n", "pw_broken": "1 / 0\n"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(source)
        (tmp_path / name / "inner.py").write_text("")
        (tmp_path / name / "more.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(bytecode, "IMPORTED", ("pw_broken", "pw_works.more", "pw_absent.more"))
    return tmp_path


def test_what_is_imported_is_compiled_once_also_where_the_environment_forbids_it(installed, monkeypatch):
    bytecode.compile_what_servers_import()
    tag = sys.implementation.cache_tag
    compiled = sorted(file.name for file in (installed / "pw_works" / "__pycache__").iterdir())
    assert compiled == [f"{name}.{tag}.pyc" for name in ("__init__", "inner", "more")]
    assert (installed / "pw_broken" / "__pycache__" / f"__init__.{tag}.pyc").exists()
    monkeypatch.setattr(bytecode.subprocess, "run", lambda *_, **__: pytest.fail("it is there already"))
    bytecode.compile_what_servers_import()


def test_no_class_is_stopped_by_it(installed, monkeypatch):
    def cannot(*_, **__):
        raise OSError("no more processes")

    monkeypatch.setattr(bytecode.subprocess, "run", cannot)
    bytecode.compile_what_servers_import()
