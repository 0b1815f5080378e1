"""What `pytest --nbval labs` leaves unsaid: which output is volatile; a cell takes five minutes at most
(one of lab 04 sets up a machine); a kernel is spoken to over sockets in a folder of its own. Over TCP it
is given a port that is free when it is chosen, and taken, now and then, when the kernel comes to use it."""

import tempfile
from itertools import count
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager

SANITIZE = str(Path(__file__).with_name("sanitize.cfg"))
LONGEST = 90  # bytes of a folder's path: a socket's own is 107 at most


def pytest_configure(config):
    options = config.option
    if getattr(options, "nbval", False):
        options.nbval_sanitize_with = options.nbval_sanitize_with or SANITIZE
        options.nbval_cell_timeout = min(options.nbval_cell_timeout, 300)
        _speak_over_sockets_in_a_folder(config)


def _speak_over_sockets_in_a_folder(config) -> None:
    import nbval.kernel

    folder, numbers, patch = tempfile.TemporaryDirectory(prefix="kernels-"), count(), pytest.MonkeyPatch()
    config.add_cleanup(folder.cleanup)
    config.add_cleanup(patch.undo)
    patch.setattr(nbval.kernel, "pformat", lambda message: message)  # for a log that nobody keeps
    if len(folder.name.encode()) <= LONGEST:
        patch.setattr(
            nbval.kernel,
            "KernelManager",
            lambda **how: KernelManager(transport="ipc", ip=f"{folder.name}/{next(numbers)}", **how),
        )
