"""The tasks that come with kbexp: their names, families, sizes and the scale of their outputs."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from kbexp.config import SizeClass
from kbexp.errors import KbexpError
from kbexp.task import Task
from kbexp.tasks.source import describe, sized, take_size_table

FAMILIES: Mapping[str, str] = {
    "matmul_square": "matmul",
    "matmul_tall_skinny": "matmul",
    "matmul_diagonal": "matmul",
    "matmul_bias_gelu": "matmul",
    "softmax": "softmax",
    "layernorm": "norm",
    "rmsnorm": "norm",
    "swiglu": "activation",
    "reduce_variance": "reduction",
    "cumsum": "scan",
    "maxpool2d": "pooling",
    "conv2d_depthwise": "convolution",
    "attention": "attention",
    "cross_entropy": "loss",
    "rope": "position",
    "embedding_bag": "embedding",
}
"""Every bundled task and the family it belongs to."""

NAMES: tuple[str, ...] = tuple(FAMILIES)
"""The bundled tasks, those that belong together side by side."""

SCALES_FILE = "output_scales.json"
"""Beside this file; written by scripts/measure_output_scales.py."""


@dataclass(frozen=True, slots=True)
class OutputScale:
    """How large a reference's outputs are: root mean square, and the largest absolute value."""

    rms: float
    abs_max: float


def bundled(
    name: str,
    sizes: SizeClass = SizeClass.cpu,
    overrides: Mapping[str, Any] | None = None,
) -> Task:
    """Return a bundled task at the sizes of a class, with single constants overridden.

    Raises KbexpError for a name that is not bundled, for an override that names no constant of
    the task and for a value of another type.
    """
    source = sized(bundled_source(name), sizes, overrides or {}, f"The task {name}")
    return Task(name=name, source=source, family=FAMILIES[name])


def bundled_source(name: str) -> str:
    """Return the text of a bundled task's file, its size table included."""
    if name not in FAMILIES:
        near = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"did you mean {near[0]}? The" if near else "the"
        raise KbexpError(
            f"There is no bundled task '{name}': {hint} bundled tasks are {', '.join(NAMES)}."
        )
    return files("kbexp.tasks").joinpath("bundled", f"{name}.py").read_text(encoding="utf-8")


def bundled_sizes(name: str) -> dict[str, dict[str, Any]]:
    """Return a bundled task's constants by size class: {"cpu": {"rows": 8192, …}, "gpu": …}."""
    return take_size_table(bundled_source(name), f"The task {name}")[1]


def about(name: str) -> str:
    """Return what a bundled task computes, in one short sentence."""
    return describe(bundled_source(name), f"The task {name}")


def output_scales() -> dict[str, OutputScale]:
    """Return the measured scale of every bundled task's output, at cpu sizes.

    A tolerance means something only against it: 1e-4 on outputs of 1e-4 passes zeros.
    """
    text = files("kbexp.tasks").joinpath(SCALES_FILE).read_text(encoding="utf-8")
    return {name: OutputScale(**scale) for name, scale in json.loads(text).items()}
