"""The trusted parent of one walled-in process: starts it, watches it, ends all that it left.

    zygote ── fork ──▶ supervisor ── fork ──▶ init (process 1 of the namespace; builds the root)
                                 └── fork ──▶ the process itself, which runs its role

The supervisor tells the worker, over the status socket, the end of the process as one message:
`exit`, `signal`, `log` (the end of what it printed), `peak_bytes`, `exceeded` (which limit).
A byte or the end of the stream from the worker's side means "kill it".
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from kbexp.worker import sandbox, syscalls, wire
from kbexp.worker.leash import Grip, obey
from kbexp.worker.report import clean
from kbexp.worker.sandbox import Walls
from kbexp.worker.trap import prepare_trap

Role = Callable[[dict[str, Any], list[int]], None]

LOG_BYTES = 16 * 1024
WATCH_S = 0.1
SETUP_FAILED = 97
LEASH_FD = 250
REAP_S = 0.2


def supervise(
    walls: Walls, base_env: dict[str, str], role: Role, order: dict[str, Any], fds: list[int]
) -> NoReturn:
    """Run `role(order, [fds[2]])` behind `walls`, tell its end to the socket `fds[0]`, and exit.

    `fds[1]` is the near end of its leash, `fds[3]` the far end of the channel `fds[2]`.
    """
    status, leash, far = (socket.socket(fileno=fds[number]) for number in (0, 1, 3))
    fds = fds[2:3]
    try:
        os.setsid()
        syscalls.die_with_parent()
        syscalls.name_process("kbexp-watch")
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        syscalls.adopt_orphans()
        keep = None
        if walls.keep and walls.keep_out and walls.level != "process":
            keep = sandbox.open_folder(walls.keep)
        init = _enter(walls, leash) if walls.level != "process" else None
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            _become(walls, base_env, role, order, fds, write_end)
        # Its process group is named for it, as soon as there is one.
        prepare_trap(far, child)
        far.close()
        os.close(write_end)
        for fd in fds:
            os.close(fd)
        if init is not None:
            leash.close()
        _watch(walls, child, init, read_end, status, leash, keep)
    except (OSError, wire.Closed) as error:
        _say(status, {"exit": SETUP_FAILED, "signal": None, "log": f"walls: {error}"})
    os._exit(0)


def _say(status: socket.socket, message: dict[str, Any]) -> None:
    # Where the worker has gone, this process ends with it.
    with contextlib.suppress(wire.Closed):
        wire.send(status, {"peak_bytes": 0, "exceeded": "", **message})


def _enter(walls: Walls, leash: socket.socket) -> int:
    """Enter fresh namespaces; return the process id of their init."""
    sandbox.leave_namespaces(walls)
    read_end, write_end = os.pipe()
    init = os.fork()
    if init == 0:
        os.close(read_end)
        _init(walls, write_end, leash)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as answers:
        answer = answers.read()
    if answer != b"ready":
        os.kill(init, signal.SIGKILL)
        os.waitpid(init, 0)
        raise OSError(answer.decode("utf-8", "replace") or "the namespace's init died")
    return init


def _init(walls: Walls, ready: int, leash: socket.socket) -> NoReturn:
    """Be process 1: build the file system, then obey the leash and reap orphans until killed."""
    try:
        syscalls.die_with_parent()
        syscalls.name_process("kbexp-init")
        sandbox.build_root(walls)
        os.write(ready, b"ready")
    except BaseException as error:  # a forked child must never return
        os.write(ready, str(error).encode()[:500])
        os._exit(1)
    os.dup2(leash.fileno(), LEASH_FD, inheritable=False)
    leash.detach()
    os.closerange(0, LEASH_FD)
    os.closerange(LEASH_FD + 1, 4096)
    # To -1 means to every process of the namespace but this one.
    grip = Grip(socket.socket(fileno=LEASH_FD), lambda number: os.kill(-1, number))
    while True:
        grip.attend(REAP_S)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _become(
    walls: Walls,
    base_env: dict[str, str],
    role: Role,
    order: dict[str, Any],
    fds: list[int],
    log: int,
) -> NoReturn:
    """Put up the last walls and run the role; never returns."""
    code = 1
    try:
        os.setsid()
        syscalls.name_process(f"kbexp-{order['role']}")
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        fds = _close_others(fds)
        os.environ.clear()
        os.environ.update(sandbox.environment(walls, base_env | order.get("env", {})))
        os.makedirs(walls.extensions, exist_ok=True)
        os.chdir(walls.inside)
        if walls.level == "namespaces":
            os.chown(walls.extensions, walls.user, walls.user)
        sandbox.limit(walls)
        sandbox.drop_rights(walls)
        role({**order, "inside": walls.inside}, fds)
        code = 0
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else 1
    except BaseException:  # a forked child must never return
        traceback.print_exc()
    finally:
        os._exit(code & 0xFF)


def _close_others(fds: list[int]) -> list[int]:
    """Close every descriptor but 0 to 2 and `fds`; return these, renumbered from 3."""
    high = [os.dup2(fd, 200 + index, inheritable=False) for index, fd in enumerate(fds)]
    os.closerange(3, 200)
    moved = [os.dup2(fd, 3 + index, inheritable=False) for index, fd in enumerate(high)]
    os.closerange(200, 4096)
    return moved


def _watch(
    walls: Walls,
    child: int,
    init: int | None,
    log_end: int,
    status: socket.socket,
    leash: socket.socket,
    keep: int | None,
) -> None:
    """Wait for the child's end, the worker's word or a broken limit; then clear up and report.

    Where no init holds the leash, it is obeyed here. Into the open folder `keep` goes what was
    built, where all went well.
    """
    tail = bytearray()
    exceeded = ""
    end = os.pidfd_open(child)
    os.set_blocking(log_end, False)
    poll = select.poll()
    for fd in (end, log_end, status.fileno()):
        poll.register(fd, select.POLLIN)
    if init is None:
        poll.register(leash, select.POLLIN)
    ended = False
    look_at = 0.0
    while not ended:
        ready = {fd for fd, _ in poll.poll(WATCH_S * 1000)}
        if log_end in ready and not _drain(log_end, tail):
            poll.unregister(log_end)
        if init is None and leash.fileno() in ready:
            if not obey(leash, lambda number: _signal_all(child, number)):
                poll.unregister(leash)
            continue
        if end in ready:
            break
        if status.fileno() in ready:
            ended = True
        elif (started := time.monotonic()) >= look_at:
            if resident_bytes(walls, child, status) > walls.memory_bytes:
                exceeded, ended = "memory", True
            # Hundreds of forked processes take seconds to look at: a pause as long in between.
            look_at = started + 2 * (time.monotonic() - started)
    if ended:
        _kill(walls, child, init)
    _, code, usage = os.wait4(child, 0)
    _kill(walls, None, init)
    _drain(log_end, tail)
    kept = _keep_build(keep) if code == 0 and keep is not None else ""
    _say(
        status,
        {
            "exit": os.WEXITSTATUS(code) if os.WIFEXITED(code) else None,
            "signal": os.WTERMSIG(code) if os.WIFSIGNALED(code) else None,
            "log": clean(tail.decode("utf-8", "replace")) + kept,
            "peak_bytes": usage.ru_maxrss * 1024,
            "exceeded": exceeded,
        },
    )


def _keep_build(keep: int) -> str:
    """Copy what was built into the open folder `keep`; return what went wrong.

    Only for when every process of the build is dead: this process has more rights than they had,
    and reads while nobody can change what it reads.
    """
    try:
        source = sandbox.open_folder(sandbox.EXTENSIONS)
        sandbox.copy_kept(source, keep)
    except OSError as error:
        return f"; the build could not be kept: {error}"
    return ""


def _drain(log_end: int, tail: bytearray) -> bool:
    """Take what was printed, keeping the last `LOG_BYTES`; False at the end of the stream."""
    for _ in range(64):
        try:
            part = os.read(log_end, 2**16)
        except BlockingIOError:
            return True
        if not part:
            return False
        tail += part
        del tail[:-LOG_BYTES]
    return True


def _signal_all(child: int, number: signal.Signals) -> None:
    """Send a signal to the child and whatever it started; what is forked meanwhile, too."""
    reached: set[int] = set()
    while new := {child, *descendants(os.getpid())} - reached:
        for pid in new:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        reached |= new


def _kill(walls: Walls, child: int | None, init: int | None) -> None:
    """Kill the child and whatever it started."""
    if child is not None:
        os.kill(child, signal.SIGKILL)
    if init is not None:
        # The end of process 1 ends every process of its namespace.
        os.kill(init, signal.SIGKILL)
        os.waitpid(init, 0) if child is None else None
        return
    if child is not None:
        return
    # Orphans come to this process, which is their reaper; a fork bomb needs several rounds.
    for _ in range(10_000):
        left = descendants(os.getpid())
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return


def descendants(pid: int) -> list[int]:
    """Return the process ids of all children of `pid`, their children, and so on."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            children = Path(f"/proc/{pid}/task/{task}/children").read_text()
            for child in map(int, children.split()):
                found.append(child)
                found += descendants(child)
    except (OSError, ValueError):
        pass
    return found


def resident_bytes(walls: Walls, child: int, status: socket.socket) -> int:
    """Return the memory of all processes behind the walls that is no file's on a disk.

    First by what each of them has resident, which is quick and counts what several share for each
    of them; only where that is above the limit, by their shares. What lies in memory files that
    nobody maps is not counted. Returns 0 at once where the worker's word comes over `status`
    meanwhile.
    """
    if walls.level == "process":
        processes = [str(pid) for pid in (child, *descendants(child))]
    else:
        processes = [name for name in os.listdir("/proc") if name.isdigit()]
    quick = sum(_resident(name) for name in processes)
    if quick <= walls.memory_bytes:
        return quick
    total = 0
    for name in processes:
        if select.select([status], [], [], 0)[0]:
            return 0
        total += _share(name)
    return total


def _resident(name: str) -> int:
    """Return what a process has resident of anonymous and of shared memory."""
    return _sum_of(f"/proc/{name}/status", ("RssAnon:", "RssShmem:")) or 0


def _share(name: str) -> int:
    """Return a process's share of the anonymous and shared memory that it has resident."""
    found = _sum_of(f"/proc/{name}/smaps_rollup", ("Pss_Anon:", "Pss_Shmem:"))
    return _resident(name) if found is None else found


def _sum_of(path: str, keys: tuple[str, ...]) -> int | None:
    """Return the bytes of some lines of a listing in kB; None where it does not have them."""
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
        found = [int(line.split()[1]) * 1024 for line in lines if line.startswith(keys)]
    except (OSError, ValueError):
        return None
    return sum(found) if found else None
