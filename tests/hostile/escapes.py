"""Submissions that want out of the sandbox, or harm those outside."""

from hostile import HONEST, hostile


@hostile(HONEST, says="TRIED")
def kills_its_parent_and_everybody(place):
    """sends SIGKILL and SIGSTOP to its parent, to 1, to -1 and to every number"""
    place.server("""
import os, signal
for number in (signal.SIGSTOP, signal.SIGKILL):
    for pid in (os.getppid(), 1, -1, *range(1, 40000)):
        if pid != os.getpid():
            try: os.kill(pid, number)
            except OSError: pass
print("TRIED")
""")


@hostile(HONEST, says="TRIED")
def traces_and_mounts(place):
    """ptrace, other processes' memory, new namespaces, mounts, devices, words typed into a terminal"""
    place.server("""
import ctypes, os
c = ctypes.CDLL(None, use_errno=True)
for name, answer in {
    "ptrace 1": c.ptrace(16, 1, 0, 0), "ptrace its parent": c.ptrace(16, os.getppid(), 0, 0),
    "users": c.unshare(0x10000000), "mounts": c.unshare(0x00020000), "network": c.unshare(0x40000000),
    "a mount": c.mount(b"x", b"/tmp", b"tmpfs", 0, None),
    "a remount": c.mount(b"", b"/", b"", 32, None),
    "chroot": c.chroot(b"/tmp"), "TIOCSTI": c.ioctl(0, 0x5412, b"x"),
    "become root": c.setuid(0), "a device": os.path.exists("/tmp/x") or c.mknod(b"/tmp/x", 0o60666, 0x800),
}.items():
    if answer == 0: print("STOLEN:", name)
for path in ("/proc/1/mem", f"/proc/{os.getppid()}/mem"):
    try: open(path, "r+b"); os.getppid() != 1 and print("opened", path)
    except OSError: pass
for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sysrq-trigger"):
    try: open(path, "w").write("x"); print("STOLEN:", path)
    except OSError: pass
print("TRIED")
""")


@hostile(HONEST, says="TRIED")
def setuid_helper(place):
    """brings a setuid program, makes one, and calls those of the system"""
    file = place.write("helper", "#!/bin/sh\nid -u\n")
    file.chmod(0o6755)
    place.server("""
import os, shutil, subprocess
for path in ("/submission/id", "/tmp/id", "/dev/shm/id"):
    shutil.copy("/usr/bin/id", path); os.chmod(path, 0o6755)
    if subprocess.getoutput(path + " -u") == "0": print("STOLEN: setuid", path)
for command in ("su -c id", "sudo -n id", "mount -t tmpfs x /tmp", "pkexec id", "/submission/helper"):
    told = subprocess.run(command + " < /dev/null", shell=True, capture_output=True, text=True).stdout
    if "uid=0" in told or told.strip() == "0": print("STOLEN:", command)
print("TRIED")
""")


@hostile(HONEST, says="TRIED")
def writes_where_the_grader_reads(place):
    """writes into the grades, the system, the packages and the folders of the others"""
    place.server("""
import os, sys, targets
for path in (targets.MARKER, targets.GRADES + "/gradebook.csv", targets.NEIGHBOUR, "/usr/bin/x", "/etc/x",
             sys.prefix + "/lib/x", os.path.dirname(os.__file__) + "/sitecustomize.py",
             "/.submission/server.py", "/x"):
    try: open(path, "a").write("x"); print("STOLEN:", path)
    except OSError: pass
print("TRIED")
""")
