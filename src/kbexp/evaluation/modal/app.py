"""The app: image, volume and classes, from the arguments that the configuration comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kbexp.config import EvaluatorConfig, GpuConfig
from kbexp.evaluation.modal import arguments

if TYPE_CHECKING:
    import modal


@dataclass(frozen=True, slots=True)
class Handles:
    """What can be called: objects of the classes, `builder` where builds are made ahead."""

    judge: Any
    builder: Any | None


@dataclass(frozen=True, slots=True)
class Rented:
    """An app that is not running yet, and its classes."""

    app: modal.App
    judge: Any
    builder: Any | None

    def handles(self) -> Handles:
        """Return what can be called once the app runs."""
        return Handles(self.judge(), self.builder() if self.builder is not None else None)


def make_image(gpu: GpuConfig) -> modal.Image:
    """Return the image of all containers: base, compilers, packages, and the worker's source."""
    import modal

    image = gpu.container.image
    base = arguments.base_arguments(image)
    made = modal.Image.from_registry(**base) if image.base else modal.Image.debian_slim(**base)
    return (
        made.apt_install(*image.system_packages)
        .pip_install(*image.packages, **arguments.package_arguments(image))
        .env({"KBEXP_BUILDS": arguments.BUILDS})
        .add_local_python_source("kbexp", **arguments.source_arguments())
    )


def make_app(gpu: GpuConfig, settings: EvaluatorConfig) -> Rented:
    """Return the app of a device, to be run or deployed.

    Raises KbexpError for settings with which no container can be asked for.
    """
    import modal

    from kbexp.evaluation.modal.container import Builder, CpuJudge, GpuJudge

    arguments.check(gpu)
    image = make_image(gpu)
    tags = arguments.tags(gpu) if gpu.deployed else {}
    app = modal.App(arguments.app_name(gpu), tags=tags, image=image, include_source=False)
    volumes: dict[Any, Any] = {}
    builder = None
    if gpu.builders:
        volume = modal.Volume.from_name(arguments.volume_name(gpu), create_if_missing=True)
        # Nothing that runs beside the device can write to what others will be given.
        volumes = {arguments.BUILDS: volume.with_mount_options(read_only=True)}
        registered = app.cls(
            volumes={arguments.BUILDS: volume}, **arguments.builder_arguments(gpu, settings)
        )
        builder = registered(Builder)
    judge = app.cls(volumes=volumes, **arguments.judge_arguments(gpu, settings))
    return Rented(app, judge(GpuJudge if gpu.device_name else CpuJudge), builder)


def deployed_app(gpu: GpuConfig) -> modal.App:
    """Return the deployed app of a device; raises Modal's own NotFoundError where there is none."""
    import modal

    return modal.App.lookup(arguments.app_name(gpu))


def deployed_with(app: modal.App) -> dict[str, str]:
    """Return the settings that a deployed app was made with; nothing where it does not say."""
    try:
        return app.get_tags()
    except Exception:  # an app is used and brought up to date without knowing
        return {}


def deployed_handles(gpu: GpuConfig) -> Handles:
    """Return what can be called of the deployed app of a device.

    Raises Modal's own NotFoundError where there is none.
    """
    import modal

    name = arguments.app_name(gpu)
    judge = modal.Cls.from_name(name, "GpuJudge" if gpu.device_name else "CpuJudge")
    judge.hydrate()
    builder = None
    if gpu.builders:
        builder = modal.Cls.from_name(name, "Builder")
        builder.hydrate()
    return Handles(judge(), builder() if builder is not None else None)
