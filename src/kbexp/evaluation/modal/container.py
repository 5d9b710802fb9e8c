"""The classes that run in containers: Modal's side of `kbexp.evaluation.modal.host`.

They stand undecorated at module scope, so that a container can import them by name;
`kbexp.evaluation.modal.app` registers them with an app. Arguments and results are bytes, and no
class of this project is pickled.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import ClassVar

import modal

from kbexp.evaluation.modal.host import Host, printed
from kbexp.evaluation.modal.messages import pack, unpack

LAST_WORDS_S = 3.0
"""For the last answer to leave, before a container ends that may not ask to be ended."""


class CpuJudge:
    """Judges kernels on the container's processor, one at a time."""

    DEVICE: ClassVar[str] = "cpu"

    @modal.enter()
    def start(self) -> None:
        """Make the worker warm, before the first request is taken."""
        self._host = Host(self.DEVICE)
        self._host.start()

    @modal.exit()
    def stop(self) -> None:
        """End all that was started."""
        self._host.close()

    @modal.method()
    def report(self, data: bytes) -> bytes:
        """Say what this container is; it is warm then."""
        del data
        return pack({"container": self._report()})

    @modal.method()
    def judge(self, data: bytes) -> bytes:
        """Judge the kernel of one packed request; return the packed answer."""
        request = unpack(data)
        answer = self._host.judge(request, lambda: _volume(request).reload())
        print(printed(answer), file=sys.stderr, flush=True)
        if answer["container"]["retiring"]:
            retire()
        return pack(answer)

    def _report(self) -> dict[str, object]:
        from dataclasses import asdict

        return asdict(self._host.report())


class GpuJudge(CpuJudge):
    """Judges kernels on the container's CUDA device, one at a time."""

    DEVICE: ClassVar[str] = "cuda:0"


class Builder:
    """Compiles kernels ahead, where there is no device to be kept waiting."""

    @modal.enter()
    def start(self) -> None:
        """Make the worker warm, before the first request is taken."""
        self._host = Host("cpu")
        self._host.start()

    @modal.exit()
    def stop(self) -> None:
        """End all that was started."""
        self._host.close()

    @modal.method()
    def build(self, data: bytes) -> bytes:
        """Build what one packed request asks for; return the packed answer."""
        request = unpack(data)
        answer = self._host.build(request, lambda: _volume(request).commit())
        print(printed(answer), file=sys.stderr, flush=True)
        if answer["container"]["retiring"]:
            retire()
        return pack(answer)


def _volume(request: dict[str, object]) -> modal.Volume:
    return modal.Volume.from_name(str(request["volume"]))


def retire() -> None:
    """Have this container take no further input; what it works on is still answered."""
    import modal.experimental

    try:
        modal.experimental.stop_fetching_inputs()
    except Exception as error:  # a container with restricted access may not be allowed to
        print(f"This container ends the hard way: {error}", file=sys.stderr, flush=True)
        end = threading.Timer(LAST_WORDS_S, os._exit, (1,))
        end.daemon = True
        end.start()
