"""A filter on the system calls of a process that is believed in nothing.

Namespaces take files, processes and network away; this takes away the calls that reach into other
processes or into parts of Linux where the way out of a namespace has been found before. A call
that is refused fails with EPERM, as it does for want of rights, so that a library that merely
tries it goes on. Some are refused for some of their arguments only, and some are not made though
they seem to be. The list of those that are refused is that of Docker's default profile
(github.com/moby/profiles), less what it leaves to processes with capabilities, which these have
not.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
from pathlib import Path

_REFUSED = {
    "x86_64": (
        101, 310, 311,  # ptrace, process_vm_readv, process_vm_writev
        165, 166, 155, 161, 272, 308,  # mount, umount2, pivot_root, chroot, unshare, setns
        428, 429, 430, 431, 432, 433, 442,  # open_tree to fspick, mount_setattr
        303, 304, 163, 167, 168, 169, 179,  # handles, acct, swapon, swapoff, reboot, quotactl
        172, 173, 175, 176, 313, 246, 320,  # iopl, ioperm, modules, kexec
        321, 298, 323, 248, 249, 250,  # bpf, perf_event_open, userfaultfd, keys
        425, 426, 427,  # io_uring
        237, 256, 279, 450,  # mbind, migrate_pages, move_pages, set_mempolicy_home_node
        222, 244,  # timer_create and mq_notify: timers and messages that send any signal
    ),
    "aarch64": (
        117, 270, 271, 40, 39, 41, 51, 97, 268, 428, 429, 430, 431, 432, 433, 442, 264, 265, 89,
        224, 225, 142, 60, 105, 106, 273, 104, 294, 280, 241, 282, 217, 218, 219, 425, 426, 427,
        235, 238, 239, 450, 107, 184,
    ),
}  # fmt: skip
_CONTINUING = {
    # kill, tkill, tgkill, rt_sigqueueinfo, rt_tgsigqueueinfo, pidfd_send_signal
    "x86_64": {62: 1, 200: 1, 234: 2, 129: 1, 297: 2, 424: 1},
    "aarch64": {129: 1, 130: 1, 131: 2, 138: 1, 240: 2, 424: 1},
}
"""Calls that send a signal, and which argument names it: SIGCONT would slip the leash."""

_SIGNAL_CHOICE = {
    "x86_64": ((72, 1, 10), (157, 0, 1)),
    "aarch64": ((25, 1, 10), (167, 0, 1)),
}
"""fcntl with F_SETSIG and prctl with PR_SET_PDEATHSIG: files, and a parent's death, then send any
signal. Each is a call, which of its arguments, and the value that is refused."""

_MADV_REMOVE, _MADV_COLLAPSE = 9, 25
_ADVICE = {
    machine: tuple(
        (call, at, advice)
        for call, at in ((madvise, 2), (440, 3))
        for advice in (_MADV_REMOVE, _MADV_COLLAPSE)
    )
    for machine, madvise in (("x86_64", 28), ("aarch64", 233))
}
"""madvise and process_madvise that take pages out of a file, so that who finds one there again
knows that the judge has written to it, or that make them huge, as they then are for the next
kernel. In the form of `_SIGNAL_CHOICE`."""

_PRETENDED = {
    # setsid, setpgid, sched_setparam, sched_setscheduler, sched_setattr, setpriority
    "x86_64": (112, 109, 142, 144, 314, 141),
    "aarch64": (157, 154, 118, 119, 274, 140),
}
"""Calls that do nothing and answer that they have worked, as honest programs make them, too. A
report stops the process group of whoever makes it: in another one, or with a first thread that gets
no processor and so does not take the signal, its work could go on."""

_FALLOCATE = {"x86_64": 285, "aarch64": 47}
_PUNCH_HOLE = 2
"""A flag of fallocate that does the same."""

_SOCKET = {"x86_64": 41, "aarch64": 198}
_FAMILIES = (1, 2, 10, 16)
"""AF_UNIX, AF_INET, AF_INET6, AF_NETLINK: what a network namespace holds. Others reach past it,
as AF_VSOCK does, to the machine's host."""

_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE3 = 435
_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000
_CLONE_NEWUSER = 0x10000000
_END_SIGNAL = 0xFF

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN, _MASK = 0x20, 0x15, 0x35, 0x45, 0x06, 0x54
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2


def available() -> bool:
    """Return whether `refuse_calls` has an effect here."""
    known = os.uname().machine in _REFUSED
    return known and Path("/proc/sys/kernel/seccomp/actions_avail").exists()


def refuse_calls() -> None:
    """Filter the calls of this process and of all that it starts, for good.

    Needs `forbid_new_privileges` before. Does nothing where the filter is not `available`; raises
    OSError where it is and fails.
    """
    if not available():
        return
    code = program(os.uname().machine)
    buffer = ctypes.create_string_buffer(code)

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))

    order = Program(len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(order), 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"seccomp: {os.strerror(number)}")


def _guarded(machine: str) -> list[tuple[int, int, int]]:
    """Return calls that are refused for one value of one argument: number, argument, value."""
    signals = [(number, at, signal.SIGCONT) for number, at in _CONTINUING[machine].items()]
    return [*signals, *_SIGNAL_CHOICE[machine], *_ADVICE[machine]]


def program(machine: str) -> bytes:
    """Return the filter in the classic BPF of linux/filter.h.

    New user namespaces are refused too, by a flag of `clone`, and children whose end sends another
    signal than SIGCHLD; `clone3`, whose flags a filter cannot read, answers that it does not exist,
    and libraries then use `clone`.
    """
    refused = _REFUSED[machine]
    steps: list[tuple[int, int, int | str, int | str]] = [
        (_LOAD, _ARCHITECTURE_AT, 0, 0),
        (_EQUAL, _ARCHITECTURE[machine], 0, "refuse"),
        (_LOAD, _NUMBER_AT, 0, 0),
        (_AT_LEAST, _X32, "refuse", 0),
        *((_EQUAL, number, "refuse", 0) for number in refused),
        (_EQUAL, _CLONE3, "unknown", 0),
        *((_EQUAL, number, "pretend", 0) for number in _PRETENDED[machine]),
        *(
            step
            for number, argument, value in _guarded(machine)
            for step in (
                (_EQUAL, number, 0, 2),
                (_LOAD, _FIRST_ARGUMENT_AT + 8 * argument, 0, 0),
                (_EQUAL, value, "refuse", "allow"),
            )
        ),
        (_EQUAL, _FALLOCATE[machine], 0, 2),
        (_LOAD, _FIRST_ARGUMENT_AT + 8, 0, 0),
        (_ANY_BIT, _PUNCH_HOLE, "refuse", "allow"),
        (_EQUAL, _SOCKET[machine], 0, 2 + len(_FAMILIES)),
        (_LOAD, _FIRST_ARGUMENT_AT, 0, 0),
        *((_EQUAL, family, "allow", 0) for family in _FAMILIES),
        (_RETURN, _FAIL | errno.EAFNOSUPPORT, 0, 0),
        (_EQUAL, _CLONE[machine], 0, "allow"),
        (_LOAD, _FIRST_ARGUMENT_AT, 0, 0),
        (_ANY_BIT, _CLONE_NEWUSER, "refuse", 0),
        (_MASK, _END_SIGNAL, 0, 0),
        (_EQUAL, 0, "allow", 0),
        (_EQUAL, signal.SIGCHLD, "allow", "refuse"),
    ]
    endings = {
        "allow": _ALLOW,
        "refuse": _FAIL | errno.EPERM,
        "unknown": _FAIL | errno.ENOSYS,
        "pretend": _FAIL,
    }
    labels = {name: at for at, name in enumerate(endings, len(steps))}

    def distance(to: int | str, at: int) -> int:
        return to if isinstance(to, int) else labels[to] - at - 1

    code = b"".join(
        struct.pack("=HBBI", kind, distance(yes, at), distance(no, at), value)
        for at, (kind, value, yes, no) in enumerate(steps)
    )
    return code + b"".join(struct.pack("=HBBI", _RETURN, 0, 0, end) for end in endings.values())
