"""Apps that outlive runs: made, brought up to date, found and stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from kbexp.config import EvaluatorConfig, GpuConfig
from kbexp.errors import EvaluatorUnavailable
from kbexp.evaluation.modal.app import deployed_app, deployed_handles, deployed_with, make_app
from kbexp.evaluation.modal.arguments import app_name, differences
from kbexp.evaluation.modal.client import load_client
from kbexp.evaluation.modal.faults import fault_of


@dataclass(frozen=True, slots=True)
class Found:
    """A deployed app, and how many of its containers judge or wait at this moment.

    `changed` are the settings that an update has changed, each with what it was and is.
    """

    name: str
    app_id: str
    containers: int
    changed: dict[str, tuple[str, str]] = field(default_factory=dict)


def deploy(gpu: GpuConfig, settings: EvaluatorConfig) -> Found:
    """Make the app of a device, or bring it up to date.

    Containers of an earlier version finish what they work on. Raises EvaluatorUnavailable.
    """
    gpu = replace(gpu, deployed=True)
    with sentences(gpu):
        changed = differences(_made_with(gpu), gpu)
        rented = make_app(gpu, settings)
        rented.app.deploy(name=app_name(gpu))
        return Found(app_name(gpu), str(rented.app.app_id), 0, changed)


def _made_with(gpu: GpuConfig) -> dict[str, str]:
    """Return the settings of a device's deployed app, nothing where there is none."""
    from modal.exception import NotFoundError

    try:
        return deployed_with(deployed_app(gpu))
    except NotFoundError:
        return {}


def find(gpu: GpuConfig) -> Found | None:
    """Return the deployed app of a device, None where there is none."""
    with sentences(gpu):
        from modal.exception import NotFoundError

        try:
            app = deployed_app(gpu)
            judge = deployed_handles(replace(gpu, builders=0)).judge
            stats = judge.judge.get_current_stats()
        except NotFoundError:
            return None
        return Found(app_name(gpu), str(app.app_id), stats.num_total_runners)


def stop(gpu: GpuConfig) -> bool:
    """End the app of a device and all its containers; false where there is none."""
    with sentences(gpu):
        from modal.exception import NotFoundError

        try:
            app = deployed_app(gpu)
        except NotFoundError:
            return False
        app.stop()
        return True


def rented_gpus(folder: Path) -> list[GpuConfig]:
    """Return the rented devices that the files of `conf/gpu` offer, as far as names go."""
    import yaml

    found = []
    for path in sorted(folder.glob("*.yaml")):
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        if values.get("provider") == "modal":
            found.append(GpuConfig(name=values["name"], device_name=values.get("device_name", "")))
    return found


@contextmanager
def sentences(gpu: GpuConfig) -> Iterator[None]:
    """Turn what Modal's client raises into an EvaluatorUnavailable that says what to do."""
    load_client()
    from grpclib import GRPCError
    from modal.exception import Error

    try:
        yield
    except (Error, GRPCError) as error:
        raise EvaluatorUnavailable(fault_of(error, gpu, starting=True).text) from error
