"""The app of one evaluator: how it starts, who can be called, how it ends."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING

from kbexp.config import EvaluatorConfig, GpuConfig
from kbexp.errors import EvaluatorUnavailable, KbexpError
from kbexp.evaluation.modal import arguments
from kbexp.evaluation.modal.app import (
    Handles,
    deployed_app,
    deployed_handles,
    deployed_with,
    make_app,
)
from kbexp.evaluation.modal.client import load_client
from kbexp.evaluation.modal.connection import quiet_client
from kbexp.evaluation.modal.faults import fault_of
from kbexp.evaluation.modal.guard import guard_results
from kbexp.worker.report import clean

if TYPE_CHECKING:
    import modal

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 30.0
ABANDON_TIMEOUT_S = 2.0
QUIET_S = 4.0
"""Nothing is said of a start that is quicker than this."""

BUILDING_S = 15.0

GONE_TIMEOUT_S = 10.0
"""So long it is looked whether the containers of an app that has ended are gone."""

LOOK_S = 0.2

CREDENTIALS = ("token_id", "token_secret", "oauth_refresh_token", "oauth_client_id")
"""Settings of Modal's client, one of which is there where anybody has set it up."""


def check_token(gpu: GpuConfig) -> None:
    """Raise EvaluatorUnavailable where there is no token; that needs no network."""
    load_client()
    import modal
    from modal.config import config

    if any(config.get(name) for name in CREDENTIALS):
        return
    try:
        modal.Client.from_env()  # It says why there is none, before it connects.
    except modal.exception.Error as error:
        raise EvaluatorUnavailable(fault_of(error, gpu, starting=True).text) from error


class Session:
    """An app of Modal's in a thread of its own; an ephemeral one runs as long as the session.

    It ends with `close`, with this process (no more heartbeats), or from outside.
    """

    def __init__(
        self,
        gpu: GpuConfig,
        settings: EvaluatorConfig,
        say: Callable[[str], None] = log.warning,
    ) -> None:
        self._gpu = gpu
        self._settings = settings
        self._say = say
        self._ready: Future[Handles] = Future()
        self._closing = threading.Event()
        self._app: modal.App | None = None
        self._ended = False
        self._gone = False
        self.idle_timeout_s = gpu.idle_timeout_s
        self._thread = threading.Thread(target=self._run, name="modal-app", daemon=True)
        self._telling = threading.Thread(target=self._tell, name="modal-start", daemon=True)

    def open(self) -> None:
        """Begin to start the app."""
        self._thread.start()
        self._telling.start()

    def handles(self) -> Handles:
        """Wait until the app runs; raises the KbexpError that says why it does not."""
        return self._ready.result()

    def close(self) -> bool:
        """End an ephemeral app and its containers; leave a deployed one as it is.

        Returns whether Modal has confirmed the end.
        """
        self._closing.set()
        runs = self._ready.done()
        self._settle(EvaluatorUnavailable("The evaluator was closed."))
        # An image that is still being built is not waited for: without heartbeats its app ends.
        self._thread.join(CLOSE_TIMEOUT_S if runs else ABANDON_TIMEOUT_S)
        return self._ended

    @property
    def gone(self) -> bool:
        """Whether no container was left when the session had been closed; false where unknown."""
        return self._gone

    def stopped_from_outside(self) -> bool:
        """Whether the app is known to have been stopped by somebody else."""
        if self._app is None or self._app.app_id is None or self._closing.is_set():
            return False
        import modal.experimental

        try:
            return modal.experimental.get_app_lifecycle(self._app.app_id).stopped_at is not None
        except Exception:  # an experimental call; without it, evaluations are tried again
            return False

    def _run(self) -> None:
        """Run the app until the session closes; in a thread of its own."""
        try:
            guard_results()
            quiet_client()
            if self._gpu.deployed:
                self._app = deployed_app(self._gpu)
                handles = deployed_handles(self._gpu)
                self._tell_settings(deployed_with(self._app))
                self._settle(handles)
                return
            rented = make_app(self._gpu, self._settings)
            self._app = rented.app
            with rented.app.run():
                handles = rented.handles()
                self._settle(handles)
                self._closing.wait()
                self._gone = _seen_out(rented.app, handles)
            self._ended = True
        except KbexpError as error:
            self._settle(error)
        except BaseException as error:
            refusal = EvaluatorUnavailable(fault_of(error, self._gpu, starting=True).text)
            refusal.__cause__ = error
            self._settle(refusal)

    def _tell_settings(self, made_with: Mapping[str, str]) -> None:
        """Say where a deployed app was made with other settings than are asked for."""
        if (idle := made_with.get("idle_timeout_s", "")).isdecimal():
            self.idle_timeout_s = int(idle)
        found = arguments.differences(made_with, self._gpu)
        if not found:
            return
        has = ", ".join(f"{name}={clean(theirs, 40)}" for name, (theirs, _) in found.items())
        asked = ", ".join(f"{name}={ours}" for name, (_, ours) in found.items())
        self._say(
            f"The deployed app {arguments.app_name(self._gpu)} has {has}, and not {asked}: it is "
            f"used as it is; `python scripts/deploy.py gpu={self._gpu.name} …` changes it."
        )

    def _settle(self, found: Handles | KbexpError) -> None:
        """Say once how the start went."""
        with contextlib.suppress(InvalidStateError):
            if isinstance(found, KbexpError):
                self._ready.set_exception(found)
            else:
                self._ready.set_result(found)

    def _tell(self) -> None:
        """Say what a slow start is waiting for."""
        began = time.monotonic()
        if not self._ready_at(began + QUIET_S) and (self._app is None or self._app.app_id is None):
            self._say("Modal has not answered yet; it is tried for about a minute.")
        if not self._ready_at(began + BUILDING_S) and self._app is not None and self._app.app_id:
            self._say(
                f"Modal makes the image for gpu={self._gpu.name} ready: some minutes the first "
                "time, seconds after that."
            )

    def _ready_at(self, time_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            self._ready.exception(max(0.0, time_s - time.monotonic()))
            return True
        return False


def _seen_out(app: modal.App, handles: Handles) -> bool:
    """Stop an app and wait a while until no container of it is left; false where unknown.

    Containers cost until they have ended, and their app knows them only as long as it is not left.
    """
    end = time.monotonic() + GONE_TIMEOUT_S
    try:
        methods = [handles.judge.judge]
        if handles.builder is not None:
            methods.append(handles.builder.build)
        app.stop()
        while any(method.get_current_stats().num_total_runners for method in methods):
            if time.monotonic() > end:
                return False
            time.sleep(LOOK_S)
    except Exception:  # leaving the app ends it too
        log.debug("The end of the app was not seen", exc_info=True)
        return False
    return True
