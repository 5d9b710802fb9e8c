"""Walls around a process that is believed in nothing.

Three levels, the strongest that works is used and every verdict says which it was:

`namespaces`       as root: own processes, mounts, network and IPC; a file system of which it sees
                   only what it needs, read-only but for a small scratch; a user id of its own
`user_namespaces`  the same without root, in a user namespace (no CUDA IPC crosses this one)
`process`          own session, clean environment and resource limits only

Every level has resource limits, a memory watch over all of its processes and a bounded log. The
method is that of bubblewrap (github.com/containers/bubblewrap), done after the fork so that what
is walled in can be a child of a warm process.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kbexp.worker import seccomp, syscalls
from kbexp.worker.visible import visible_paths

LEVELS = ("namespaces", "user_namespaces", "process")
DEVICES = ("null", "zero", "full", "random", "urandom")
SCRATCH = "/tmp"
EXTENSIONS = "/tmp/torch_extensions"
KEEP = "/.keep"
SCRATCH_BYTES = 2**30
MAX_KEPT_BYTES = 512 * 2**20
MAX_KEPT_ENTRIES = 10_000
MAX_KEPT_DEPTH = 32
COPIED_AT_ONCE = 2**20
MAX_PROCESSES = 512


@dataclass(frozen=True, slots=True)
class Walls:
    """What one process is allowed.

    `scratch` is a folder of its own outside; inside, namespaces show it nothing but a fresh
    memory file system at `/tmp`. `keep` is a folder whose files are copied in before the start
    (`keep_out` False), or into which those of the extensions are copied once all has ended well
    (`keep_out` True), which is then not shown inside. `user` is the user id under
    `namespaces`. `cuda` shows it the CUDA devices; `trusted` lets it make files of any size (the
    judge's, in memory).
    """

    level: str
    scratch: str
    user: int
    memory_bytes: int
    keep: str | None = None
    keep_out: bool = False
    cuda: bool = False
    trusted: bool = False

    def to_record(self) -> dict[str, Any]:
        """Return the walls as a JSON object."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Walls:
        """Read what `to_record` wrote."""
        return cls(**record)

    @property
    def inside(self) -> str:
        """The scratch folder as the process sees it."""
        return self.scratch if self.level == "process" else SCRATCH

    @property
    def extensions(self) -> str:
        """Where torch builds and looks for extensions, the same path for builder and runner."""
        if self.level == "process":
            return self.keep or os.path.join(self.scratch, "torch_extensions")
        return EXTENSIONS


def leave_namespaces(walls: Walls) -> None:
    """Give this process, and what it forks, namespaces of their own."""
    flags = (
        syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNS | syscalls.CLONE_NEWIPC
        | syscalls.CLONE_NEWNET | syscalls.CLONE_NEWUTS
    )  # fmt: skip
    if walls.level == "user_namespaces":
        user, group = os.geteuid(), os.getegid()
        syscalls.unshare(flags | syscalls.CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    else:
        syscalls.unshare(flags)


def build_root(walls: Walls) -> None:
    """Replace the file system by one that holds only what is needed; run as process 1 within."""
    root = os.path.join(walls.scratch, "root")
    os.makedirs(root, exist_ok=True)
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    _memory(root, "size=16m,mode=755")
    for path in ("/dev/shm", SCRATCH, "/var/tmp"):
        os.makedirs(root + path)
        _memory(root + path, f"size={SCRATCH_BYTES},mode=1777")
    for path, shown in visible_paths():
        if shown:
            _show(root, path)
        else:
            _cover(root, path)
    for name in _devices(walls):
        _show(root, name, read_only=False)
    if walls.keep and not walls.keep_out:
        _show(root, walls.keep, at=KEEP)
    os.makedirs(root + "/proc")
    syscalls.mount("proc", root + "/proc", "proc", syscalls.MS_NOSUID)
    old = root + "/.old"
    os.makedirs(old)
    syscalls.pivot_root(root, old)
    os.chdir("/")
    syscalls.detach("/.old")
    os.rmdir("/.old")
    if walls.keep and not walls.keep_out:
        os.makedirs(EXTENSIONS, exist_ok=True)
        with _closing(open_folder(KEEP)) as kept, _closing(open_folder(EXTENSIONS)) as folder:
            copy_kept(kept, folder, walls.user if walls.level == "namespaces" else None)
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)


def _memory(target: str, options: str) -> None:
    syscalls.mount("tmpfs", target, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, options)


def _devices(walls: Walls) -> list[str]:
    names = [f"/dev/{name}" for name in DEVICES]
    if walls.cuda:
        names += [f"/dev/{name}" for name in os.listdir("/dev") if name.startswith("nvidia")]
    return names


def _show(root: str, path: str, at: str | None = None, read_only: bool = True) -> None:
    """Make `path` of the old file system visible in the new one."""
    if not os.path.lexists(path):
        return
    target = root + (at or path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(path):
        os.symlink(os.readlink(path), target)
        return
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        Path(target).touch()
    syscalls.mount(path, target, None, syscalls.MS_BIND | syscalls.MS_REC)
    if read_only:
        syscalls.make_read_only(target)


def _cover(root: str, path: str) -> None:
    """Put an empty folder over one that lies inside of what is visible."""
    target = root + path
    # A link on the way would lead out of the new file system; where it leads is not shown there.
    if os.path.isdir(target) and os.path.realpath(target) == os.path.realpath(root) + path:
        _memory(target, "size=1m,mode=755")


def open_folder(path: str | os.PathLike[str], inside: int | None = None) -> int:
    """Open a folder, not a link to one, below the open folder `inside`; return its descriptor."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(path, flags, dir_fd=inside)


def copy_kept(source: int, target: int, user: int | None = None) -> int:
    """Copy the regular files below the open folder `source` into `target`; return their bytes.

    Times are kept (ninja compares them), and whether a file may be executed; nothing else is. An
    untrusted process made what lies there: links and special files are passed over, no path is
    walked twice, and what counts is what was really read. Raises OSError above `MAX_KEPT_BYTES`,
    `MAX_KEPT_ENTRIES` or `MAX_KEPT_DEPTH`.
    """
    return _copy_folder(source, target, user, _Left(MAX_KEPT_BYTES, MAX_KEPT_ENTRIES), 0)


@dataclass(slots=True)
class _Left:
    """What a build may still have."""

    space: int
    entries: int


def _copy_folder(source: int, target: int, user: int | None, left: _Left, depth: int) -> int:
    if depth > MAX_KEPT_DEPTH:
        raise OSError(f"a build left folders more than {MAX_KEPT_DEPTH} deep")
    if user is not None:
        os.chown(target, user, user)
    total = 0
    with os.scandir(source) as entries:
        for entry in entries:
            left.entries -= 1
            if left.entries < 0:
                raise OSError(f"a build left more than {MAX_KEPT_ENTRIES} files")
            mode = os.stat(entry.name, dir_fd=source, follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                os.mkdir(entry.name, 0o755, dir_fd=target)
                with (
                    _closing(open_folder(entry.name, source)) as inner,
                    _closing(open_folder(entry.name, target)) as into,
                ):
                    total += _copy_folder(inner, into, user, left, depth + 1)
            elif stat.S_ISREG(mode):
                total += _copy_file(entry.name, source, target, user, left)
    return total


def _copy_file(name: str, source: int, target: int, user: int | None, left: _Left) -> int:
    # Not to wait at a pipe that lies there by now.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    copied = 0
    with _closing(os.open(name, flags, dir_fd=source)) as read_from:
        status = os.fstat(read_from)
        if not stat.S_ISREG(status.st_mode):
            return 0
        made = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with _closing(os.open(name, made, 0o600, dir_fd=target)) as written_to:
            while part := os.read(read_from, COPIED_AT_ONCE):
                copied += len(part)
                left.space -= len(part)
                if left.space < 0:
                    raise OSError(f"a build left more than {MAX_KEPT_BYTES} bytes")
                while part:
                    part = part[os.write(written_to, part) :]
            if user is not None:
                os.chown(written_to, user, user)
            os.chmod(written_to, 0o755 if status.st_mode & stat.S_IXUSR else 0o644)
            os.utime(written_to, ns=(status.st_atime_ns, status.st_mtime_ns))
    return copied


@contextlib.contextmanager
def _closing(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


def limit(walls: Walls) -> None:
    """Set the resource limits of this process and of all that it starts."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
    if not walls.trusted:
        resource.setrlimit(resource.RLIMIT_FSIZE, (SCRATCH_BYTES, SCRATCH_BYTES))
    if not walls.cuda:
        # CUDA maps far more than it uses; there the memory watch alone holds the limit.
        resource.setrlimit(resource.RLIMIT_DATA, (walls.memory_bytes, walls.memory_bytes))
    if walls.level == "namespaces":
        # Counted by user; the ids of the other levels are shared with the person's own programs.
        resource.setrlimit(resource.RLIMIT_NPROC, (MAX_PROCESSES, MAX_PROCESSES))
    # Where this is refused, the kernel's out-of-memory killer chooses by size alone.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def drop_rights(walls: Walls) -> None:
    """Give up what rights this process has; the last step before it runs what is not trusted."""
    if walls.level == "namespaces":
        os.setgroups([])
        os.setresgid(walls.user, walls.user, walls.user)
        os.setresuid(walls.user, walls.user, walls.user)
    if walls.level == "user_namespaces":
        syscalls.drop_capabilities()
    syscalls.forbid_new_privileges()
    syscalls.die_with_parent()
    if not walls.trusted:
        seccomp.refuse_calls()  # From here on, `die_with_parent` is refused too.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def environment(walls: Walls, base: dict[str, str]) -> dict[str, str]:
    """Return the whole environment of the process: `base` and its own folders."""
    inside = walls.inside
    return {
        **base,
        "HOME": inside,
        # Its user id is in no table, and torch's compiler wants a name for its cache.
        "USER": "kernel",
        "TMPDIR": inside,
        "TORCH_EXTENSIONS_DIR": walls.extensions,
        "TORCHINDUCTOR_CACHE_DIR": f"{inside}/inductor",
        "TRITON_CACHE_DIR": f"{inside}/triton",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
