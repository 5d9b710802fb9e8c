"""What an error of Modal's means for a run: try again elsewhere, or end, and why in a sentence."""

from __future__ import annotations

from dataclasses import dataclass

from kbexp.config import GpuConfig
from kbexp.evaluation.modal.arguments import app_name
from kbexp.evaluation.modal.client import command, words_of
from kbexp.evaluation.modal.messages import BadAnswer

GO_ON = "go on with `python run.py resume=FOLDER`, the run's folder"
"""What to do where a run has ended and nothing of it is lost."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`text` is a sentence; `final` says that no further evaluation can succeed."""

    text: str
    final: bool


def fault_of(error: BaseException, gpu: GpuConfig, *, starting: bool = False) -> Fault:
    """Return what an error that Modal's client raised comes to, while an app starts or later."""
    from modal import exception

    said = words_of(error)
    match error:
        case exception.AuthError():
            return Fault(_not_let_in(said), final=True)
        case exception.ImageBuildError():
            return Fault(
                f"The image for gpu={gpu.name} cannot be built on Modal ({said}): look at "
                f"`{command(f'image logs {error.image_id}')}`, and at gpu.container.image.",
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
    make = f"make one with `{command('token new')}`, or set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET"
    if "profile" in said:
        return (
            f"Modal's settings have no such profile ({said}): name another one in MODAL_PROFILE, "
            "or leave it out."
        )
    if "missing" in said.lower():
        return f"Modal has no token on this machine: {make}."
    return f"Modal does not let this machine in with its token ({said}): {make}."


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
