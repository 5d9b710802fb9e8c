"""What the filter answers, on both machines: its program is run here step by step."""

from __future__ import annotations

import errno
import signal
import struct

import pytest

from kbexp.worker.seccomp import program

ALLOWED = 0x7FFF0000
PRETENDED = -1
MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def answer(machine: str, number: int, *arguments: int, architecture: int | None = None) -> int:
    """Return the error number that a call gets, 0 where it is allowed.

    `PRETENDED` where it is not made, and gets none all the same.
    """
    code = program(machine)
    steps = [struct.unpack_from("=HBBI", code, at) for at in range(0, len(code), 8)]
    padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("=IIQ6Q", number, architecture or MACHINES[machine], 0, *padded)
    at, value = 0, 0
    while True:
        kind, yes, no, operand = steps[at]
        at += 1
        if kind == 0x06:
            return 0 if operand == ALLOWED else operand & 0xFFFF or PRETENDED
        if kind == 0x20:
            (value,) = struct.unpack_from("=I", data, operand)
        elif kind == 0x54:
            value &= operand
        else:
            holds = {0x15: value == operand, 0x35: value >= operand, 0x45: value & operand}[kind]
            at += yes if holds else no


# By name: numbers on x86_64 and aarch64 as in linux/unistd.h, arguments, the answer.
CALLS = [
    ("ptrace", (101, 117), (0,), errno.EPERM),
    ("read", (0, 63), (0,), 0),
    ("clone3", (435, 435), (), errno.ENOSYS),
    ("clone", (56, 220), (signal.SIGCHLD,), 0),
    ("clone", (56, 220), (0x10000000 | signal.SIGCHLD,), errno.EPERM),
    ("clone", (56, 220), (signal.SIGCONT,), errno.EPERM),
    ("kill", (62, 129), (5, signal.SIGCONT), errno.EPERM),
    ("kill", (62, 129), (5, signal.SIGTERM), 0),
    ("tgkill", (234, 131), (5, 5, signal.SIGCONT), errno.EPERM),
    ("timer_create", (222, 107), (1,), errno.EPERM),
    ("mq_notify", (244, 184), (3,), errno.EPERM),
    ("mq_open", (240, 180), (4096, 2), 0),
    ("fcntl", (72, 25), (3, 10), errno.EPERM),
    ("fcntl", (72, 25), (3, 2), 0),
    ("prctl", (157, 167), (1, signal.SIGCONT), errno.EPERM),
    ("prctl", (157, 167), (15, 1), 0),
    ("madvise", (28, 233), (4096, 4096, 9), errno.EPERM),
    ("madvise", (28, 233), (4096, 4096, 4), 0),
    ("process_madvise", (440, 440), (3, 4096, 1, 9), errno.EPERM),
    ("process_madvise", (440, 440), (3, 4096, 9, 4), 0),
    ("fallocate", (285, 47), (3, 3), errno.EPERM),
    ("fallocate", (285, 47), (3, 0), 0),
    ("socket", (41, 198), (1, 1), 0),
    ("socket", (41, 198), (2, 2), 0),
    ("socket", (41, 198), (10, 2), 0),
    ("socket", (41, 198), (16, 3), 0),
    ("socket", (41, 198), (40, 1), errno.EAFNOSUPPORT),
    ("socket", (41, 198), (38, 5), errno.EAFNOSUPPORT),
    ("socket", (41, 198), (1 << 32 | 40, 1), errno.EAFNOSUPPORT),
    ("setsid", (112, 157), (), PRETENDED),
    ("setpgid", (109, 154), (0, 0), PRETENDED),
    ("getpgid", (121, 155), (0,), 0),
    ("sched_setscheduler", (144, 119), (0, 5), PRETENDED),
    ("sched_setattr", (314, 274), (0,), PRETENDED),
    ("sched_setparam", (142, 118), (0,), PRETENDED),
    ("setpriority", (141, 140), (0, 0, 5), PRETENDED),
    ("sched_setaffinity", (203, 122), (0,), 0),
    ("socketpair", (53, 199), (1, 1), 0),
]  # fmt: skip


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("name", "numbers", "arguments", "error"), CALLS)
def test_calls(
    machine: str, name: str, numbers: tuple[int, int], arguments: tuple[int, ...], error: int
) -> None:
    number = numbers[list(MACHINES).index(machine)]
    assert answer(machine, number, *arguments) == error


def test_calls_of_other_machines_are_refused() -> None:
    assert answer("x86_64", 0, architecture=0x40000003) == errno.EPERM
    assert answer("x86_64", 0x40000000) == errno.EPERM
