"""From the configuration to the arguments of Modal's image, class and volume: pure functions.

`kbexp.evaluation.modal.app` hands them over; what stands here can be read, and tested, without it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kbexp
from kbexp.config import ContainerConfig, EvaluatorConfig, GpuConfig, ImageConfig, Profile
from kbexp.errors import KbexpError
from kbexp.worker.profile import PROFILE_LIMIT_S
from kbexp.worker.worker import JUDGE_TIMEOUT_S, load_limit_s

PACKAGE = Path(kbexp.__file__).resolve().parent

NOT_SHIPPED = ("app", "analysis", "search", "proposals", "tracking", "tasks")
"""Parts of the package that judge nothing; the worker does not import them."""

BUILDS = "/builds"
"""Where a container sees the volume of builds."""

LONGEST_PHASE_S = 300.0
"""Baselines may take longer than kernels; `baselines.run_timeout_s` is this by default."""

BUILDER_IDLE_S = 120
"""A container that compiles is started again quickly."""

LONGEST_TIMEOUT_S = 24 * 3600
SHORTEST_IDLE_S, LONGEST_IDLE_S = 2, 3600
"""Modal's own limits."""


def app_name(gpu: GpuConfig) -> str:
    """Return what the app of a device is called, deployed or not."""
    return f"kbexp-{gpu.name.replace('_', '-')}"


def volume_name(gpu: GpuConfig) -> str:
    """Return what the volume of builds is called; devices of one image share it."""
    return f"kbexp-builds-{image_fingerprint(gpu.container.image)}"


def check(gpu: GpuConfig) -> None:
    """Raise KbexpError for settings with which no container can be asked for."""
    if gpu.count < 1:
        raise KbexpError(f"gpu.count is {gpu.count}: give the number of containers, from 1 up.")
    if gpu.builders < 0:
        raise KbexpError(f"gpu.builders is {gpu.builders}: give a number of containers, or 0.")
    if not SHORTEST_IDLE_S <= gpu.idle_timeout_s <= LONGEST_IDLE_S:
        raise KbexpError(
            f"gpu.idle_timeout_s is {gpu.idle_timeout_s}: Modal takes {SHORTEST_IDLE_S} to "
            f"{LONGEST_IDLE_S} seconds."
        )
    if not (gpu.container.cores > 0 and gpu.container.memory_bytes > 0):
        raise KbexpError("gpu.container.cores and gpu.container.memory_bytes must be above 0.")


def tags(gpu: GpuConfig) -> dict[str, str]:
    """Return what a deployed app says of the settings that it was made with.

    Keys are the settings' names below `gpu`; Modal takes letters, digits, points, dashes and
    underscores.
    """
    box = gpu.container
    return {
        "count": str(gpu.count),
        "idle_timeout_s": str(gpu.idle_timeout_s),
        "builders": str(gpu.builders),
        "container.cores": f"{box.cores:g}",
        "container.memory_bytes": str(box.memory_bytes),
        "container.image": image_fingerprint(box.image),
    }


def differences(theirs: Mapping[str, str], gpu: GpuConfig) -> dict[str, tuple[str, str]]:
    """Return, by setting, what an app was made with and what is asked for, where they differ.

    What the app does not say is not known to differ.
    """
    ours = tags(gpu)
    return {
        f"gpu.{name}": (theirs[name], ours[name])
        for name in ours
        if theirs.get(name, ours[name]) != ours[name]
    }


def base_arguments(image: ImageConfig) -> dict[str, Any]:
    """Return the arguments of `Image.from_registry`, or of `Image.debian_slim` without a base."""
    if not image.base:
        return {"python_version": image.python}
    # The image's own entry point would say what is in it on every start of a container.
    return {
        "tag": image.base,
        "add_python": image.python,
        "setup_dockerfile_commands": ["ENTRYPOINT []"],
    }


def package_arguments(image: ImageConfig) -> dict[str, Any]:
    """Return the arguments of `Image.pip_install` beside the packages' names."""
    return {"extra_index_url": image.extra_index_url} if image.extra_index_url else {}


def source_arguments() -> dict[str, Any]:
    """Return what of the package is shipped: what a worker needs, data files included."""
    return {"ignore": ["**/__pycache__", "**/*.pyc", *NOT_SHIPPED]}


def judge_arguments(gpu: GpuConfig, settings: EvaluatorConfig) -> dict[str, Any]:
    """Return the arguments of the class that judges, beside its image and volumes.

    The containers of a run's own app stay warm as long as it runs: at least one of them always.
    No secrets, no network, no access to the rest of the account.
    """
    return {
        **({"gpu": gpu.device_name} if gpu.device_name else {}),
        **_box(gpu.container),
        **_walls(),
        "restrict_modal_access": True,
        "min_containers": 0 if gpu.deployed else 1,
        "max_containers": gpu.count,
        "scaledown_window": gpu.idle_timeout_s,
        "timeout": judge_timeout_s(settings),
    }


def builder_arguments(gpu: GpuConfig, settings: EvaluatorConfig) -> dict[str, Any]:
    """Return the arguments of the class that compiles ahead, beside its image and volumes.

    It has to tell Modal that the volume has something new, so its access is not restricted; what
    it compiles is walled in, and it compiles nothing where it could not be.
    """
    return {
        **_box(gpu.container),
        **_walls(),
        "min_containers": 0,
        "max_containers": gpu.builders,
        "scaledown_window": min(gpu.idle_timeout_s, BUILDER_IDLE_S),
        "timeout": math.ceil(2 * settings.build_timeout_s + 60),
    }


def judge_timeout_s(settings: EvaluatorConfig) -> int:
    """Return the seconds that one evaluation may take, above all that the worker allows itself.

    The worker judges once more where a process of its own died, and a confirmation takes longer
    than the settings say.
    """
    phase_s = max(settings.run_timeout_s, LONGEST_PHASE_S)
    once_s = settings.build_timeout_s + 3 * phase_s + JUDGE_TIMEOUT_S
    once_s += load_limit_s(settings, "cuda")
    once_s += 2 * (settings.timing_s + settings.energy_s)
    once_s += PROFILE_LIMIT_S if settings.profile != Profile.none else 0.0
    return min(math.ceil(2 * once_s), LONGEST_TIMEOUT_S)


def _box(box: ContainerConfig) -> dict[str, Any]:
    return {
        "cpu": box.cores,
        "memory": math.ceil(box.memory_bytes / 2**20),
        "startup_timeout": box.startup_timeout_s,
    }


def _walls() -> dict[str, Any]:
    return {"block_network": True, "include_source": False}


def image_fingerprint(image: ImageConfig) -> str:
    """Return 12 hexadecimal digits for what is installed: builds are good for one of these."""
    parts = [image.base, image.python, *image.packages, *image.system_packages]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def sources_fingerprint(package: Path = PACKAGE) -> str:
    """Return 12 hexadecimal digits for the shipped part of a kbexp package.

    The same here and in a container, unless a deployed app holds another version.
    """
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        inside = path.relative_to(package)
        shipped = inside.parts[0] not in NOT_SHIPPED and not path.name.endswith(".pyc")
        if shipped and path.is_file() and not any(part.startswith(".") for part in inside.parts):
            digest.update(str(inside).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
