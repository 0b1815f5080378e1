"""A Jupyter kernel in the sandbox, of which nothing is believed: cells go in, and plain values come out.

Only its shell channel is read: a reply to what was asked, by its number and signed. What a kernel shows, and
to whom, nobody listens to. Whatever it sends is bounded in bytes, and waited for no longer than it may take.
"""

import contextlib
import json
import queue
import sys
import time
from pathlib import Path

import zmq
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from checks.classroom import plain

START_SECONDS = 60  # a busy machine takes its time
MESSAGE = 4 << 20  # bytes: a kernel that sends more is no longer connected
ODD = 1000  # replies to nobody's question that are passed over
# No debugger: nobody uses it there, and to import it takes longer than all the rest
NO_DEBUGGER = 'import sys; sys.modules["debugpy"] = None'
LAUNCHER = f'{NO_DEBUGGER}; import runpy; runpy.run_module("ipykernel_launcher", run_name="__main__")'


class Dead(Exception):
    """The kernel ended, or does not let go of a cell."""


class Kernel:
    """A kernel, while `with` lasts. sandbox: where it runs, which has to show it the folder `runtime`."""

    def __init__(self, sandbox, runtime: Path):
        self.sandbox = sandbox
        self.file = runtime / "kernel.json"

    def __enter__(self):
        context = zmq.Context()
        context.setsockopt(zmq.MAXMSGSIZE, MESSAGE)
        context.setsockopt(zmq.RCVHWM, 20)
        context.setsockopt(zmq.LINGER, 0)
        self.manager = KernelManager(connection_file=str(self.file), kernel_name="pixelwise")
        self.manager.kernel_spec_manager.kernel_dirs = [str(self._spec())]
        self.manager.start_kernel()
        self.client = BlockingKernelClient(context=context, connection_file=str(self.file))
        self.client.load_connection_file()
        self.client.start_channels(shell=True, iopub=False, stdin=False, hb=False, control=False)
        try:
            deadline = time.monotonic() + START_SECONDS
            while self._reply(self.client.kernel_info(), 2) is None:
                if time.monotonic() > deadline:
                    raise Dead("its kernel does not start")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *problem):
        self.client.stop_channels()
        with contextlib.suppress(RuntimeError, OSError):
            self.manager.shutdown_kernel(now=True)
        self.client.context.destroy(0)

    def _spec(self) -> Path:
        """A kernel that Jupyter starts out here and that runs in the sandbox."""
        quiet = "--HistoryManager.enabled=False --InteractiveShell.xmode=Minimal"  # nobody reads either
        start = f'cd labs && exec "{sys.executable}" -c "$1" {quiet} -f "$0"'
        environ = self.sandbox.environment({"IPYTHONDIR": "/tmp/ipython"})
        argv = ["env", "-i", *(f"{name}={value}" for name, value in environ.items())]
        argv += self.sandbox.command(["sh", "-c", start, "{connection_file}", LAUNCHER])
        # Jupyter writes the file with the kernel's ports and key for itself alone
        argv = ["sh", "-c", 'chmod 644 "$0" && exec "$@"', "{connection_file}", *argv]
        spec = {"argv": argv, "display_name": "PixelWise", "language": "python", "interrupt_mode": "message"}
        folder = self.file.parent.with_name("kernels")
        (folder / "pixelwise").mkdir(parents=True, exist_ok=True)
        (folder / "pixelwise" / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
        return folder

    def run(self, source: str, seconds: float) -> str:
        """Run a cell; says with which error it ended, or "". Raises Dead."""
        asked = self.client.execute(source, store_history=False, allow_stdin=False, stop_on_error=False)
        reply = self._reply(asked, seconds)
        if reply is None:
            self.manager.interrupt_kernel()
            reply = self._reply(asked, 5)
        if reply is None:
            raise Dead(f"it does not come to an end within {seconds:g} s")
        if reply.get("status") == "ok":
            return ""
        return f"{reply.get('ename')}: {reply.get('evalue')}"[:200]

    def value(self, expression: str):
        """What the kernel tells as the value of an expression, as plain data. Raises NotPlain, Dead."""
        told = self.client.execute(
            "", silent=True, user_expressions={"told": plain.expression(expression)}, allow_stdin=False
        )
        reply = self._reply(told, 20)
        if reply is None:
            raise Dead("it does not tell its value within 20 s")
        with contextlib.suppress(LookupError, TypeError):
            return plain.received(reply["user_expressions"]["told"]["data"][plain.KIND])
        raise plain.NotPlain("it told nothing")

    def _reply(self, asked: str, seconds: float) -> dict | None:
        """The content of the reply to a question; None where it is late. Raises Dead."""
        deadline = time.monotonic() + seconds
        for _ in range(ODD):
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            try:
                message = self.client.get_shell_msg(timeout=min(left, 0.5))
                if message["parent_header"]["msg_id"] == asked and isinstance(message["content"], dict):
                    return message["content"]
            except queue.Empty:
                if not self.manager.is_alive():
                    raise Dead("it ends the kernel") from None
            except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
                continue  # it is not signed, or no message at all
        raise Dead("it sends what nobody asked for")
