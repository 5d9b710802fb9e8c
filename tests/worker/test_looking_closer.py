"""A closer look at real processes, with a CPU in the place of the CUDA device."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kernels import quick
from runners import DeviceLending, OnDevice, fork, pretend_device, serve_on_device

from kbexp.verdict import Status
from kbexp.worker.bare import Bare, compare_bare
from kbexp.worker.clocks import Agreement
from kbexp.worker.judgement import Judgement
from kbexp.worker.outcome import Stop
from kbexp.worker.problems import new_problem, new_seed
from kbexp.worker.reference import Reference
from kbexp.worker.scrutiny import Scrutiny

TASK = """
import torch

class Model(torch.nn.Module):
    def __init__(self, cols):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.rand(cols) + 0.5)

    def forward(self, x):
        return torch.cumsum(x * self.weight, -1)

def get_inputs():
    return [torch.randn(64, 256)]

def get_init_inputs():
    return [256]
"""

KERNEL = TASK.replace("class Model(", "class ModelNew(")


def kernel(forward: str) -> str:
    """Return a kernel whose forward has other lines."""
    body = forward.strip().replace("\n", "\n        ")
    return KERNEL.replace("return torch.cumsum(x * self.weight, -1)", body)


ALL_AT_ONCE = kernel("""
import sys
frame = sys._getframe(1)
while "staged" not in frame.f_locals and frame.f_code.co_name != "_work":
    frame = frame.f_back
made = self.__dict__.setdefault("made", {})
if x.data_ptr() not in made:
    inputs = [given[0] for given in frame.f_locals.get("staged", [[x]])]
    made.update((one.data_ptr(), torch.cumsum(one * self.weight, -1)) for one in inputs)
return made.pop(x.data_ptr())
""")

NO_GRAPH = kernel("""
import sys
frame = sys._getframe(1)
while frame is not None:
    if frame.f_code.co_name in ("_capture", "_record"):
        raise RuntimeError("operation not permitted when stream is capturing")
    frame = frame.f_back
return torch.cumsum(x * self.weight, -1)
""")

ONE_BUFFER = kernel("""
if "buffer" not in self.__dict__:
    self.__dict__["buffer"] = torch.empty_like(x)
return torch.cumsum(x * self.weight, -1, out=self.__dict__["buffer"])
""")

Look = Callable[..., Bare]


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Look]:
    """Looks at a kernel as at one that came out faster than the reference."""
    pretend_device(monkeypatch)
    for name, few in {"MOST_BARE_CALLS": 8, "TIMES": 3, "MOST_TURNS": 16}.items():
        monkeypatch.setattr(f"kbexp.worker.scrutiny.{name}", few)
    settings = quick(max_calls=5, run_timeout_s=60.0)
    reference = Reference(TASK, "cpu", str(tmp_path))
    examined = reference.try_out(new_seed())
    problem = new_problem(reference, examined, 2**28, 3)
    with contextlib.ExitStack() as ends:

        def looked(source: str, kind: type[OnDevice] = OnDevice) -> Bare:
            lent = [
                fork(serve_on_device(str(tmp_path / name), who), ends)
                for name, who in (("kernel", kind), ("reference", OnDevice))
            ]
            descriptors = [lent[side][end] for end in (0, 1) for side in (0, 1)]
            judgement = Judgement(
                problem, examined, settings, "cuda:0", DeviceLending(), descriptors, 0.001
            )
            ends.callback(judgement.close)
            judgement._loading.load(source, TASK)
            sides = judgement._kernel, judgement._baseline
            scrutiny = Scrutiny(judgement._caller, *sides, settings, 5, 1.0)
            judgement._enter_timing()
            scrutiny.look_at_kernel()
            judgement._enter_timing()
            return scrutiny.look_at_reference()

        yield looked


def figures(bare: Bare) -> dict[str, float]:
    charged = compare_bare(Agreement(0.01), bare).unreported
    assert charged.low <= charged.value <= charged.high
    found = bare.figures()
    assert all(math.isfinite(ms) and ms > 0 for ms in found.values())
    return found


def test_an_honest_kernel_is_called_in_every_way(look: Look) -> None:
    bare = look(KERNEL)
    assert bare.many.in_graph
    assert bare.lone.in_graph
    assert not bare.uses_again
    assert bare.many.reference is not None
    assert bare.many.reference.replayed_ms is not None
    ways = ("bare_ms", "kept_ms", "replayed_ms", "lone_bare_ms", "lone_replayed_ms")
    nothing = [way.replace("_ms", "_nothing_ms") for way in ways]
    assert {*ways, *nothing, "replayed_reference_ms"} <= figures(bare).keys()


def test_of_a_kernel_that_cannot_be_recorded_the_host_counts(look: Look) -> None:
    bare = look(NO_GRAPH)
    assert not bare.many.in_graph
    assert not bare.lone.in_graph
    assert bare.many.asked_later
    assert {"kept_reference_ms", "lone_bare_reference_ms"} <= figures(bare).keys()


def test_a_kernel_that_uses_its_output_again_is_right_where_it_is_called_alone(look: Look) -> None:
    bare = look(ONE_BUFFER)
    assert bare.uses_again
    assert bare.lone.in_graph
    assert "kept_ms" not in figures(bare)


def test_whoever_works_on_all_inputs_together_is_wrong_where_they_come_one_by_one(
    look: Look,
) -> None:
    with pytest.raises(Stop) as raised:
        look(ALL_AT_ONCE)
    assert raised.value.outcome.status is Status.INCORRECT
    assert "made alone" in raised.value.outcome.reasons[0]


def test_a_runner_that_ends_when_it_is_recorded_leaves_what_was_seen_before(look: Look) -> None:
    class Ends(OnDevice):
        def _record(self, slots: list[int]) -> Any:
            raise SystemExit(3)

    bare = look(KERNEL, Ends)
    assert bare.many.in_graph
    assert not bare.lone.in_graph
    assert bare.lone.kernel.in_blocks_ms is not None
