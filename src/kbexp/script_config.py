"""Schemas of the scripts beside a run: judging by hand, trying a device, keeping one warm."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kbexp.config import EvaluatorConfig, GpuConfig, TaskConfig


@dataclass
class EvaluateConfig:
    """Judging kernels by hand: `kernel` is a file, a pattern such as `found/*.py`, or a list."""

    gpu: GpuConfig = field(default_factory=GpuConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    evaluator: EvaluatorConfig = field(default_factory=EvaluatorConfig)
    kernel: Any = "???"


@dataclass
class CheckConfig:
    """Three evaluations of a task's own reference: does this device judge, how fast, how dear?"""

    gpu: GpuConfig = field(default_factory=GpuConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    evaluator: EvaluatorConfig = field(default_factory=EvaluatorConfig)


class DeployAction(StrEnum):
    """What to do with the deployed app of a rented device; `list` looks at those of all."""

    deploy = "deploy"
    stop = "stop"
    list = "list"


@dataclass
class DeployConfig:
    """An app that outlives runs, so that its containers may still be warm for the next one."""

    gpu: GpuConfig = field(default_factory=GpuConfig)
    evaluator: EvaluatorConfig = field(default_factory=EvaluatorConfig)
    action: DeployAction = DeployAction.deploy
