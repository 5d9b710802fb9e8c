"""The service in a process of its own, until Ctrl-C, SIGTERM or the end of stdin.

    PYTHONPATH=tests/modal python -m local_modal

prints, a line each, what a client needs in its environment.
"""

from __future__ import annotations

import signal
import sys
import threading

from local_modal.server import LocalModal


def main() -> None:
    """Serve until told to end."""
    end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    if not sys.stdin.isatty():
        threading.Thread(target=_wait_for_stdin, args=(end,), daemon=True).start()
    with LocalModal() as service:
        for name, value in service.environment.items():
            print(f"export {name}={value}", flush=True)
        print(flush=True)
        end.wait()


def _wait_for_stdin(end: threading.Event) -> None:
    sys.stdin.read()
    end.set()


if __name__ == "__main__":
    main()
