"""The bytecode of what servers import: nobody can keep it in a sandbox, where every start would make it."""

import contextlib
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

IMPORTED = (  # by servers, and by the models that they unpickle; what these import is compiled with them
    *("bottle", "waitress", "flask", "fastapi", "uvicorn", "slowapi", "pydantic", "dotenv", "joblib"),
    *("sklearn.pipeline", "sklearn.preprocessing", "sklearn.neural_network", "sklearn.linear_model"),
    *("sklearn.svm", "sklearn.neighbors", "sklearn.ensemble"),
)


def compile_what_servers_import() -> None:
    """Import it once, outside, where it is installed and has no bytecode yet; what fails is left as it is."""
    names = [name for name in IMPORTED if _has_no_bytecode(name.partition(".")[0])]
    if not names:
        return
    program = "import contextlib, importlib\n"
    program += "".join(
        f"with contextlib.suppress(Exception): importlib.import_module({name!r})\n" for name in names
    )
    forbid = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
    environ = {name: value for name, value in os.environ.items() if name not in forbid}
    with contextlib.suppress(OSError):
        subprocess.run(
            [sys.executable, "-c", program],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            check=False,
        )


def _has_no_bytecode(name: str) -> bool:
    """Whether a package is installed that no run of this Python has compiled."""
    spec = find_spec(name)
    if not spec or not spec.origin or not spec.origin.endswith(".py"):
        return False
    file = Path(spec.origin)
    return not (file.parent / "__pycache__" / f"{file.stem}.{sys.implementation.cache_tag}.pyc").exists()
