"""The wall around one container: starts the entry point and lets nothing of it live on.

    python -I -S cell.py FOLDER COMMAND...

Whatever the container's processes start, in whatever session, is a descendant of this process: the
kernel makes it their parent when their own has gone. When the entry point ends, all are killed, as
a container's end kills all that is in it. Commands come on stdin, a line each (`interrupt`,
`kill`); when stdin ends because the service is gone, the container is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


def obey(entry: int) -> None:
    """Do what the service says, until it is gone."""
    for line in sys.stdin:
        with contextlib.suppress(ProcessLookupError):
            os.kill(entry, signal.SIGINT if line.strip() == "interrupt" else signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(entry, signal.SIGKILL)


def children() -> list[int]:
    """Processes whose parent this one is."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.append(int(stat.parent.name))
    return found


def main(folder: str, command: list[str]) -> int:
    """Run the command; returns its exit code, 128 and the signal's number if one ended it."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    entry = os.posix_spawn(
        command[0],
        command,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)],
    )
    new = Path(folder) / "pid.new"
    new.write_text(str(entry))
    new.rename(Path(folder) / "pid")
    threading.Thread(target=obey, args=(entry,), daemon=True).start()
    code = None
    while code is None:
        pid, status = os.waitpid(-1, 0)
        if pid == entry:
            code = os.waitstatus_to_exitcode(status)
    # Whoever has ended is reaped as it comes: the first process of a PID namespace is not gone
    # before all others in it are, and some of those may be this process's to reap.
    with contextlib.suppress(ChildProcessError):
        while True:
            for pid in children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            os.waitpid(-1, 0)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    os._exit(main(sys.argv[1], sys.argv[2:]))
