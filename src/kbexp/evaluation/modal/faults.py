"""What an error of Modal's means for a run: try again elsewhere, or end, and why in a sentence."""

from __future__ import annotations

from dataclasses import dataclass

from kbexp.config import GpuConfig
from kbexp.evaluation.modal.arguments import app_name
from kbexp.evaluation.modal.messages import BadAnswer
from kbexp.worker.report import clean

MOST_WORDS = 300


@dataclass(frozen=True, slots=True)
class Fault:
    """`text` is a sentence; `final` says that no further evaluation can succeed."""

    text: str
    final: bool


def fault_of(error: BaseException, gpu: GpuConfig, *, starting: bool = False) -> Fault:
    """Return what an error that Modal's client raised comes to, while an app starts or later."""
    from modal import exception

    said = _words(error)
    match error:
        case exception.AuthError():
            return Fault(_not_let_in(said), final=True)
        case exception.ImageBuildError():
            return Fault(
                f"The image for gpu={gpu.name} cannot be built on Modal ({said}): look at "
                f"`modal image logs {error.image_id}`, and at gpu.container.image.",
                final=True,
            )
        case exception.ConnectionError():
            return Fault(
                f"Modal cannot be reached ({said}): see whether this machine has a network, or "
                "judge here with gpu=local or gpu=cpu.",
                final=True,
            )
        case exception.NotFoundError() if gpu.deployed and starting:
            return Fault(
                f"There is no deployed app {app_name(gpu)} on Modal: make it with `python "
                f"scripts/deploy.py gpu={gpu.name}`, or leave out gpu.deployed=true.",
                final=True,
            )
        case exception.PermissionDeniedError() | exception.VersionError():
            return Fault(f"Modal refuses gpu={gpu.name}: {said}.", final=True)
        case exception.ResourceExhaustedError():
            return Fault(
                f"Modal has no more of gpu={gpu.name} for this account ({said}): look at its "
                "limits and its spend, or wait.",
                final=True,
            )
        case exception.ClientClosed():
            return Fault("The connection to Modal was closed.", final=True)
        case exception.InvalidError():
            return Fault(f"Modal does not take gpu={gpu.name} as it is set: {said}.", final=True)
        case _:
            return Fault(_lost(error, said), final=False)


def _not_let_in(said: str) -> str:
    if "profile" in said:
        return (
            f"Modal's settings have no such profile ({said}): name another one in MODAL_PROFILE, "
            "or leave it out."
        )
    return (
        f"Modal does not let this machine in ({said}): make a token with `modal token new`, or set "
        "MODAL_TOKEN_ID and MODAL_TOKEN_SECRET."
    )


def _lost(error: BaseException, said: str) -> str:
    """Return what became of an evaluation that another container may still judge."""
    from modal import exception

    match error:
        case exception.FunctionTimeoutError():
            return "The evaluation took longer than its container may."
        case exception.OutputExpiredError():
            return "The evaluation's result was gone before it was fetched."
        case exception.InternalFailure():
            return f"The evaluation was lost within Modal ({said})."
        case BadAnswer():
            return f"The container's answer is of no use: {said}."
        case _:
            return f"The evaluation's container was lost ({type(error).__name__}: {said})."


def _words(error: BaseException) -> str:
    """Return an error's text on one line, cleaned and cut: it may come from a container."""
    words = " ".join(clean(str(error), MOST_WORDS).split()).rstrip(".")
    return words or type(error).__name__
