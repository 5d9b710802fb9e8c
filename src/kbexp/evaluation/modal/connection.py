"""The way to Modal, which may be gone for a while: what is waited for is then waited for again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from kbexp.errors import EvaluatorUnavailable
from kbexp.evaluation.modal.client import words_of
from kbexp.evaluation.modal.faults import GO_ON

Answer = TypeVar("Answer")

PATIENCE_S = 60.0
"""So long a lost connection is tried again; Modal ends an app that is silent for about as long."""

RETRY_S = 1.0
"""Between two tries, each of which Modal's client makes several of."""


class Connection:
    """Whether Modal answers; shared by all threads that call it.

    An outage is said once, by `say`, and so is its end. `closing` ends all that wait.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        closing: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say = say
        self._closing = closing
        self._clock = clock
        self._lock = threading.Lock()
        self._lost_s: float | None = None

    def reach(self, work: Callable[[], Answer]) -> Answer:
        """Return what `work` does, once it gets through; it may be done more than once.

        Raises what it raises, EvaluatorUnavailable after about a minute without a connection, and
        the connection's own error where the evaluator is being closed meanwhile.
        """
        while True:
            try:
                answer = work()
            except Exception as error:
                if not unreachable(error):
                    self._held()
                    raise
                self._lost(error)
                if self._closing.wait(RETRY_S):
                    raise
            else:
                self._held()
                return answer

    def _held(self) -> None:
        """Take in that Modal has answered."""
        with self._lock:
            lost_s, self._lost_s = self._lost_s, None
        if lost_s is not None:
            self._say(f"Modal answers again, after {self._clock() - lost_s:.0f} s.")

    def _lost(self, error: Exception) -> None:
        """Take in that nothing got through; raises EvaluatorUnavailable after a while of that."""
        if self._closing.is_set():
            return
        with self._lock:
            now = self._clock()
            first = self._lost_s is None
            since_s = self._lost_s if self._lost_s is not None else now
            self._lost_s = since_s
        if first:
            self._say(
                f"The connection to Modal is gone; it is tried again for {PATIENCE_S:.0f} s, and "
                "what is being judged goes on meanwhile."
            )
        if now - since_s >= PATIENCE_S:
            raise EvaluatorUnavailable(
                f"Modal could not be reached for {now - since_s:.0f} s ({words_of(error)}): see "
                f"whether this machine has a network, then {GO_ON}."
            ) from error


def unreachable(error: BaseException) -> bool:
    """Whether an error of Modal's client says that nothing got through, and nothing more."""
    from grpclib.exceptions import StreamTerminatedError
    from modal import exception

    lost = exception.ConnectionError | exception.ServiceError | StreamTerminatedError
    return isinstance(error, lost)


def quiet_client() -> None:
    """Have Modal's client not print tracebacks that nobody can do anything about.

    They come of every heartbeat that did not get through, and of an upload that was still under way
    in its thread when the program ended.
    """
    from modal._utils.logger import logger

    for chatty, tells in ((logger, _not_a_heartbeat), (logging.getLogger("asyncio"), _not_the_end)):
        if tells not in chatty.filters:
            chatty.addFilter(tells)


def _not_a_heartbeat(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Loop attempt for ")


_NO_MORE = "cannot schedule new futures after"
"""What a pool of threads says when the program ends."""


def _not_the_end(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, RuntimeError) and str(error).startswith(_NO_MORE))
