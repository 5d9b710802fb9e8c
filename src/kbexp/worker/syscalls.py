"""The Linux calls that Python 3.11 has no name for, each raising OSError with its own name.

Constants are those of linux/sched.h, linux/mount.h, linux/prctl.h and linux/capability.h.
"""

from __future__ import annotations

import ctypes
import os
import signal

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID = 2
MS_NODEV = 4
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_CHILD_SUBREAPER = 36
_CAPABILITY_VERSION_3 = 0x20080522
_MOUNT_ATTR_RDONLY = 1
_MOUNT_ATTR_NOSUID = 2
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_NR_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_NR_CAPSET = {"x86_64": 126, "aarch64": 91}
_NR_TGKILL = {"x86_64": 234, "aarch64": 131}
_NR_MOUNT_SETATTR = 442

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, name: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _number(table: dict[str, int], name: str) -> int:
    machine = os.uname().machine
    if machine not in table:
        raise OSError(f"{name} is not known for {machine}")
    return table[machine]


def unshare(flags: int) -> None:
    """Leave the namespaces named by `flags`."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int = 0, options: str = "") -> None:
    """Mount `source` at `target`."""
    result = _libc.mount(
        source.encode(),
        target.encode(),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        options.encode() if options else None,
    )
    _check(result, f"mount {target}")


def make_read_only(target: str) -> None:
    """Make the mount at `target`, and all below it, read-only and without set-user-id programs.

    Needs Linux 5.12 (mount_setattr); the older remount leaves submounts writable.
    """
    attributes = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY | _MOUNT_ATTR_NOSUID, 0, 0, 0)
    result = _libc.syscall(
        ctypes.c_long(_NR_MOUNT_SETATTR),
        ctypes.c_int(_AT_FDCWD),
        ctypes.c_char_p(target.encode()),
        ctypes.c_uint(_AT_RECURSIVE),
        ctypes.byref(attributes),
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )
    _check(result, f"mount_setattr {target}")


def pivot_root(new_root: str, put_old: str) -> None:
    """Make `new_root` the root of this mount namespace."""
    number = _number(_NR_PIVOT_ROOT, "pivot_root")
    result = _libc.syscall(
        ctypes.c_long(number), ctypes.c_char_p(new_root.encode()), ctypes.c_char_p(put_old.encode())
    )
    _check(result, "pivot_root")


def detach(target: str) -> None:
    """Unmount `target` as soon as nobody uses it."""
    _check(_libc.umount2(target.encode(), ctypes.c_int(MNT_DETACH)), f"umount {target}")


def die_with_parent() -> None:
    """Be killed when the thread that forked this process ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0), "prctl")


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent has ended."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), 0, 0, 0), "prctl")


def forbid_new_privileges() -> None:
    """No program that this process starts can have more rights than it has."""
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), 0, 0, 0), "prctl")


def name_process(name: str) -> None:
    """Be called `name` (at most 15 bytes) in the listings of ps and top."""
    _check(_libc.prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()[:15]), 0, 0, 0), "prctl")


def drop_capabilities() -> None:
    """Give up every capability of this process."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()
    number = _number(_NR_CAPSET, "capset")
    result = _libc.syscall(ctypes.c_long(number), ctypes.byref(header), ctypes.byref(sets))
    _check(result, "capset")


def signal_thread(process: int, thread: int, number: signal.Signals) -> None:
    """Send a signal to one thread of a process, and to no other."""
    call = _number(_NR_TGKILL, "tgkill")
    result = _libc.syscall(
        ctypes.c_long(call), ctypes.c_int(process), ctypes.c_int(thread), ctypes.c_int(number)
    )
    _check(result, "tgkill")
