"""Submissions that use up what all have to share."""

from hostile import DEAD, ENDLESS, HONEST, hostile


@hostile(ENDLESS)
def fork_bomb(place):
    """forks for ever, at import"""
    place.server("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass")


@hostile(ENDLESS)
def thread_bomb(place):
    """starts threads for ever, each of which is busy"""
    busy = "def busy():\n    while True: pass\n"
    loop = "while True:\n    try: threading.Thread(target=busy).start()\n    except RuntimeError: pass"
    place.server(f"import threading\n{busy}{loop}")


@hostile(ENDLESS)
def endless_loop_at_import(place):
    """never comes to its first line of work"""
    place.server("while True: pass")


@hostile(DEAD, says="of memory")
def memory_filled(place):
    """wants all memory there is"""
    place.server("held = []\nwhile True: held.append(bytearray(b'x' * (32 << 20)))")


@hostile(HONEST, says="TRIED")
def disk_filled(place):
    """fills every place that it can write to, and leaves it full"""
    place.server("""
import os
written = 0
for where, folders, _ in os.walk("/"):
    folders[:] = [name for name in folders if name not in ("proc", "sys", "usr")]
    if os.access(where, os.W_OK):
        try:
            with open(where + "/full", "wb", buffering=0) as file:
                while written < 2 << 30: written += file.write(bytes(1 << 20))
        except OSError: pass
if written > 300 << 20: print("STOLEN: a disk")
print("TRIED", written >> 20)
""")


@hostile(HONEST, says="x" * 1000)
def log_of_100_mb(place):
    """prints 100 MB before it serves, and a line more for each request"""
    place.server("import os\nfor _ in range(1600): os.write(1, b'x' * 65535 + b'\\n')")


@hostile(HONEST, says="TRIED")
def files_opened_and_children_left(place):
    """opens all files that it may, and leaves children behind"""
    place.server("""
import os
held = []
try:
    while True: held.append(os.open("/dev/null", os.O_RDONLY))
except OSError: pass
if len(held) > 5000: print("STOLEN: files")
for one in held: os.close(one)
print("TRIED", len(held))
for _ in range(20):
    if os.fork() == 0:
        import time
        time.sleep(10000)
""")


@hostile(HONEST, says="TRIED")
def daemon_that_outlives(place):
    """leaves a daemon in a session of its own, which ignores every signal"""
    place.server("""
import os, signal, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in range(1, 65):
            try: signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError): pass
        for one in range(3): os.close(one)
        time.sleep(10000)
    os._exit(0)
os.wait()
print("TRIED")
""")


@hostile(HONEST, says="TRIED")
def sigterm_ignored(place):
    """ignores SIGTERM, SIGINT and SIGHUP"""
    place.server("""
import signal
for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(one, signal.SIG_IGN)
print("TRIED")
""")
