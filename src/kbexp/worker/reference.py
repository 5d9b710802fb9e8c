"""The judge's side of a task: its module, its inputs, its answers."""

from __future__ import annotations

import inspect
import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from kbexp.worker.arena import Layout, leaf_of
from kbexp.worker.dependence import fixed_inputs, idle_inputs, idle_parameters
from kbexp.worker.examination import Examination, examine
from kbexp.worker.hints import hint
from kbexp.worker.operators import Watched, watch
from kbexp.worker.promises import apart, promises
from kbexp.worker.runner import Call, construct, load_module, sow
from kbexp.worker.tree import Unsupported, flatten, output_tensors, unflatten

if TYPE_CHECKING:
    import torch


class BadTask(Exception):
    """The task cannot be judged on; the text is one sentence."""


@dataclass(slots=True)
class Trial:
    """A set of inputs (on the device, in the order of `Layout.inputs`) and the answers to it.

    `kind` is that of varied inputs, see `kbexp.worker.variants`; "" for the task's own.
    """

    inputs: list[torch.Tensor]
    expected: list[torch.Tensor]
    kind: str = ""


@dataclass(slots=True)
class Problem:
    """Everything that one evaluation needs of a task and that no kernel has an influence on.

    `init` and `weights` are constructor arguments and the seed to construct under; `tree` is the
    arguments of `forward` less their tensors; numbers among them are the same in all trials.
    `varied` are trials with other inputs than the task's generator makes; `more` makes further
    inputs with it, which has taken `draw_s` at least so far.
    """

    init: dict[str, Any]
    weights: int
    tree: Any
    trials: list[Trial]
    model: Call
    varied: list[Trial] = field(default_factory=list)
    more: Callable[[], list[torch.Tensor]] | None = None
    draw_s: float = 0.0
    _watched: Watched | None = None

    def draw(self) -> list[torch.Tensor]:
        """Return further inputs of the task's generator."""
        assert self.more is not None
        return self.more()

    def watched(self) -> Watched:
        """Return what one call of the reference consists of; it is called at the first asking."""
        if self._watched is None:
            self._watched = watch(self)
        return self._watched

    def outputs(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        """Call the reference on inputs, which it may overwrite, as a later call may its outputs."""
        import torch

        with torch.no_grad():
            return output_tensors(self.model(*unflatten(self.tree, inputs)))

    def answers(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        """Return the reference's answers to inputs, which it may overwrite."""
        return [output.detach().clone() for output in self.outputs(inputs)]


class Reference:
    """A task's module, loaded in the judge; makes constructor arguments, inputs and answers."""

    def __init__(self, source: str, device: str, folder: str) -> None:
        import torch

        self._device = torch.device(device)
        self._draw_s = math.inf
        try:
            self._module: ModuleType = load_module(source, folder)
        except BaseException as error:  # a task may raise anything
            raise BadTask(f"The task cannot be imported: {_short(error)}.") from error
        for name in ("Model", "get_inputs", "get_init_inputs"):
            if not hasattr(self._module, name):
                raise BadTask(f"The task defines no {name}.")

    def init_record(self, seed: int) -> dict[str, Any]:
        """Return `get_init_inputs()` as JSON."""
        sow(seed)
        tensors: list[torch.Tensor] = []
        tree = flatten(list(self._module.get_init_inputs()), tensors)
        return {
            "tree": tree,
            "tensors": [
                [leaf_of(tensor).dtype, list(tensor.shape), tensor.reshape(-1).tolist()]
                for tensor in tensors
            ],
        }

    def model(self, init: dict[str, Any], seed: int) -> Call:
        """Return the reference constructed under a seed, on the device."""
        return construct(self._module.Model, init, seed, self._device)

    def inputs(self, seed: int) -> tuple[Any, list[torch.Tensor]]:
        """Return fresh inputs as JSON and tensors, made on the device by the task's generator."""
        import torch

        sow(seed)
        begun = time.perf_counter()
        if self._device.type == "cuda":
            with torch.device(self._device):
                made = self._module.get_inputs()
            torch.cuda.synchronize(self._device)
        else:
            made = self._module.get_inputs()
        self._draw_s = min(self._draw_s, time.perf_counter() - begun)
        if isinstance(made, (torch.Tensor, dict)):
            kind = type(made).__name__
            raise Unsupported(f"get_inputs returned a {kind}; give a list of forward's arguments")
        tensors: list[torch.Tensor] = []
        tree = flatten(list(made), tensors)
        return tree, [tensor.detach().to(self._device).contiguous() for tensor in tensors]

    def problem(self, seeds: Iterator[int], trials: int) -> Problem:
        """Return a fresh problem with this many trials; every part of it has a seed of its own."""
        init = self.init_record(next(seeds))
        weights = next(seeds)
        model = self.model(init, weights)
        tree, inputs = self.inputs(next(seeds))
        problem = Problem(init, weights, tree, [], model)
        problem.more, problem.draw_s = lambda: self.inputs(next(seeds))[1], self._draw_s
        while True:
            expected = problem.answers([tensor.clone() for tensor in inputs])
            problem.trials.append(Trial(inputs, expected))
            if len(problem.trials) == trials:
                return problem
            inputs = self.inputs(next(seeds))[1]

    def try_out(self, seed: int) -> Examination:
        """Run the reference a few times and return what it is like.

        Raises `BadTask` where anything in it fails.
        """
        try:
            problem = self.problem(itertools.count(seed), 1)
            layout = layout_of(problem.trials[0])
            draws = [problem.trials[0].inputs, problem.draw()]
            found = examine(problem, layout, draws[1], apart(problem, draws, promises(draws)))
            faults = (
                *found.faults,
                *fixed_inputs(problem, draws[1]),
                *idle_inputs(problem, found, draws[1]),
                *idle_parameters(problem, found.tolerances),
            )
            return replace(found, faults=faults)
        except BaseException as error:  # a task may raise anything
            raise BadTask(f"The task's reference does not run: {_short(error)}.") from error


def layout_of(trial: Trial) -> Layout:
    """Return the layout of a trial's inputs and outputs."""
    layout = Layout(
        inputs=tuple(leaf_of(tensor) for tensor in trial.inputs),
        outputs=tuple(leaf_of(tensor) for tensor in trial.expected),
    )
    _ = layout.slot_bytes  # Raises ValueError for types that cannot cross.
    if not layout.outputs:
        raise ValueError("forward returns no tensor")
    return layout


def _short(error: BaseException) -> str:
    text = inspect.cleandoc(str(error)).splitlines()
    if isinstance(error, Unsupported):
        return text[0][:300]
    said = f"{type(error).__name__}: {text[0][:300]}" if text else type(error).__name__
    return said + hint(said, "task")
