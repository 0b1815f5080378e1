"""The filter of system calls of a sandbox."""

import ctypes
import ctypes.util
import errno
import os
from pathlib import Path

from checks.classroom.limits import APT, SandboxError


class _Comparison(ctypes.Structure):
    """struct scmp_arg_cmp of libseccomp."""

    _fields_ = [
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    ]


# What no web server or notebook needs, and what kernels have been broken into by (after flatpak's list).
FORBIDDEN = (
    "ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd keyctl add_key request_key bpf "
    "perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register unshare setns mount "
    "umount2 pivot_root chroot move_mount open_tree fsopen fsconfig fsmount fspick mount_setattr "
    "name_to_handle_at open_by_handle_at quotactl swapon swapoff reboot acct syslog kexec_load "
    "kexec_file_load init_module finit_module delete_module iopl ioperm modify_ldt personality "
    "settimeofday clock_settime adjtimex clock_adjtime mbind move_pages migrate_pages set_mempolicy "
    "vhangup nfsservctl uselib lookup_dcookie fanotify_init "
)
CLONE_NEW = 0x7E020080  # every CLONE_NEW… flag
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
LARGEST_FAMILY = 16  # AF_NETLINK; behind it: AF_PACKET, AF_ALG, AF_VSOCK (a way out of a virtual machine), …


def write_seccomp_filter(file: Path) -> None:
    """The filter of system calls, as bwrap reads it. Raises SandboxError without libseccomp."""
    name = ctypes.util.find_library("seccomp") or "libseccomp.so.2"
    try:
        library = ctypes.CDLL(name, use_errno=True)
    except OSError:
        raise SandboxError(f"libseccomp missing: {APT}") from None
    allow, refuse, masked, greater = 0x7FFF0000, 0x00050000, 7, 6
    library.seccomp_init.restype = ctypes.c_void_p
    filter_ = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(allow)))

    def forbid(call: str, error: int, *comparisons):
        number = library.seccomp_syscall_resolve_name(call.encode())
        array = (_Comparison * len(comparisons))(*comparisons)
        if number >= 0:  # below: this processor has no such call
            status = library.seccomp_rule_add_array(
                filter_, ctypes.c_uint32(refuse | error), number, len(comparisons), array
            )
            if status:
                raise SandboxError(f"libseccomp: {os.strerror(-status)} for {call}")

    for call in FORBIDDEN.split():
        forbid(call, errno.EPERM)
    forbid("clone3", errno.ENOSYS)  # its flags cannot be seen; glibc then takes clone
    for bit in range(32):
        if CLONE_NEW >> bit & 1:
            forbid("clone", errno.EPERM, _Comparison(0, masked, 1 << bit, 1 << bit))
    for request in (TIOCSTI, TIOCLINUX):
        forbid("ioctl", errno.EPERM, _Comparison(1, masked, 0xFFFFFFFF, request))
    forbid("socket", errno.EAFNOSUPPORT, _Comparison(0, greater, LARGEST_FAMILY, 0))
    forbid("socketpair", errno.EAFNOSUPPORT, _Comparison(0, greater, LARGEST_FAMILY, 0))
    with file.open("wb") as opened:
        library.seccomp_export_bpf(filter_, opened.fileno())
    library.seccomp_release(filter_)
