"""What a generator promises of whole inputs is seen, and outlives all that a judge changes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from kbexp.worker.arena import Arena, create_host
from kbexp.worker.examination import Examination
from kbexp.worker.feed import Feed
from kbexp.worker.promises import Promise, promises
from kbexp.worker.reference import Problem, Reference, layout_of
from kbexp.worker.variants import KINDS, vary

PLAIN = {
    "normal": "torch.randn(64, 64)",
    "uniform": "torch.rand(64, 64)",
    "lower": "torch.randn(64, 64).tril()",
    "indices": "torch.randint(0, 100, (4096,))",
    "far_indices": "torch.randint(0, 2**40, (4096,))",
    "mask": "torch.rand(64, 64) > 0.5",
    "short": "torch.arange(4) + torch.randint(0, 9, ())",
    "scalar": "torch.randn(())",
    "nothing": "torch.randn(0, 5)",
    "few_columns": "torch.randn(64, 4)",
    "complex": "torch.randn(64, 64, dtype=torch.complex64)",
}
WHOLE = {
    "offsets": "torch.randint(1, 9, (256,)).cumsum(0)",
    "few_offsets": "torch.randint(1, 9, (5,)).cumsum(0)",
    "few_places": "torch.randperm(16)",
    "edges": "torch.randn(256).sort().values",
    "descending": "torch.randn(4, 256).sort(dim=1, descending=True).values",
    "permutation": "torch.randperm(1024)",
    "permuted_rows": "torch.rand(32, 64).argsort(1)",
    "places": "torch.randperm(4096)[:2048]",
    "prefix_mask": "torch.arange(64)[None] < torch.randint(8, 65, (32, 1))",
    "prefix_mask_first": "torch.arange(64)[:, None] < torch.randint(8, 65, (1, 32))",
    "one_hot": "F.one_hot(torch.randint(0, 9, (512,)), 9)",
    "one_hot_floats": "F.one_hot(torch.randint(0, 9, (512,)), 9).float()",
    "symmetric": "(lambda x: x + x.T)(torch.randn(64, 64))",
    "positive_definite": "(lambda x: x @ x.T + 64 * torch.eye(64))(torch.randn(64, 64))",
    "pairs_by_the_second": "(lambda e: e[:, e[1].argsort()])(torch.randint(0, 99, (2, 512)))",
    "rows_by_the_first": "(lambda e: e[e[:, 0].argsort()])(torch.randint(0, 99, (512, 3)))",
    "shares": "torch.softmax(torch.randn(64, 64), dim=1)",
    "narrow_shares": "torch.softmax(torch.randn(64, 64), dim=0).half()",
    "boxes": "(lambda x: torch.cat([x, x + torch.rand(64, 2) + 0.1], 1))(torch.randn(64, 2))",
    "intervals": "torch.randn(2, 64).sort(dim=0).values + torch.tensor([[0.0], [0.1]])",
    "repeated": "torch.randn(1, 64).expand(8, -1)",
}


def drawn(text: str) -> list[list[torch.Tensor]]:
    draws = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        made = eval(text, {"torch": torch, "F": torch.nn.functional})
        draws.append([made.contiguous()])
    return draws


@pytest.mark.parametrize("name", PLAIN)
def test_nothing_is_promised_of_independent_elements(name: str) -> None:
    (found,) = promises(drawn(PLAIN[name]))
    assert not found.whole
    assert not found.ordered


@pytest.mark.parametrize("name", WHOLE)
def test_what_belongs_together_is_seen(name: str) -> None:
    (found,) = promises(drawn(WHOLE[name]))
    assert found.whole
    in_order = name.endswith("offsets") or name in ("edges", "descending") or "prefix" in name
    in_order |= name in ("boxes", "intervals")
    assert found.ordered == in_order


def test_a_mask_of_ones_fits_what_other_draws_promise() -> None:
    ones, prefix = torch.ones(64, dtype=torch.bool), torch.arange(64) < 40
    for draws in ([[ones], [prefix]], [[prefix], [ones]]):
        assert promises(draws)[0].whole
        assert promises(draws)[0].ordered
    assert not promises([[ones], [ones]])[0].ordered


def test_one_draw_of_two_is_no_promise() -> None:
    ascending, plain = torch.arange(64.0), torch.randn(64)
    assert promises([[ascending], [plain]]) == (Promise(),)


def test_labels_masks_and_shares_keep_their_values() -> None:
    signs = torch.randint(0, 2, (512,)).float() * 2 - 1
    shares, edges = torch.softmax(torch.randn(64, 9), dim=1), torch.randn(64).sort().values
    x, y = torch.randn(64), torch.randn(32, 32)
    definite = y @ y.T + 32 * torch.eye(32)
    inputs = [signs, shares, edges, x, definite, y + y.T]
    promised = promises([inputs, inputs])
    for kind in KINDS:
        made = vary(kind, inputs, promised)
        assert made is not None
        assert torch.equal(made[0], signs)
        assert torch.equal(made[1], shares)
        assert bool((made[2][1:] >= made[2][:-1]).all())
        assert not torch.equal(made[3], x)
        assert torch.equal(made[4], definite)
        assert not torch.equal(made[5], y + y.T)
    assert promised[0] == Promise(values=True)  # Each label may be another one.


TASK = """
import torch
import torch.nn.functional as F


class Model(torch.nn.Module):
    def forward(self, *inputs):
        return {forward}


def get_inputs():
    return [{inputs}]


def get_init_inputs():
    return []
"""


def fed(forward: str, inputs: str, folder: Path) -> tuple[Examination, Problem, Feed, Arena]:
    reference = Reference(TASK.format(forward=forward, inputs=inputs), "cpu", str(folder))
    examined = reference.try_out(5)
    problem = reference.problem(iter(range(100, 900)), 2)
    arena, _ = create_host(layout_of(problem.trials[0]), 2)
    whole = tuple(promise.whole for promise in examined.promised)
    return (
        examined,
        problem,
        Feed(arena, problem.trials, random.Random(1), problem.more, whole=whole),
        arena,
    )


@pytest.mark.parametrize("name", WHOLE)
def test_no_call_breaks_a_promise(name: str, tmp_path: Path) -> None:
    forward = "inputs[0] * (inputs[1].sum() + 1)"
    for inputs in (f"torch.randn(256), {WHOLE[name]}", f"torch.randn(1), {WHOLE[name]}"):
        examined, _, feed, arena = fed(forward, inputs, tmp_path)
        for _ in range(4):
            for write in (feed.freshen, feed.renew, feed.spoil, feed.settle):
                write(0)
                feed.prepared()()
                held = [arena.inputs(0)[1].clone()]
                assert promises([held, held])[0].whole
        assert examined.promised[1].whole


def test_where_all_belongs_together_every_call_has_new_inputs(tmp_path: Path) -> None:
    _, _, feed, arena = fed("inputs[0].cumsum(0)", WHOLE["permutation"], tmp_path)
    seen = set()
    for _ in range(8):
        feed.freshen(0)
        feed.prepared()()
        assert torch.equal(arena.inputs(0)[0], feed.content(0).inputs()[0])
        seen.add(tuple(arena.inputs(0)[0].tolist()))
        feed.spoil(0)
        spoilt = arena.inputs(0)[0].clone()
        assert not torch.equal(spoilt, feed.content(0).inputs()[0])
        assert sorted(spoilt.tolist()) == list(range(1024))
        feed.settle(0)
        assert torch.equal(spoilt, feed.content(0).inputs()[0])
    assert len(seen) == 8


def test_what_inputs_promise_together_shows_in_a_reference_that_fails(tmp_path: Path) -> None:
    lengths = (
        "(lambda n: torch.cat([n, 2048 - n.sum(0, keepdim=True)]))(torch.randint(1, 8, (99,)))"
    )
    forward = "torch.stack([part.mean(0) for part in inputs[0].split(inputs[1].tolist())])"
    examined, problem, feed, arena = fed(forward, f"torch.randn(2048, 4), {lengths}", tmp_path)
    assert [promise.whole for promise in examined.promised] == [False, True]
    for _ in range(4):
        feed.freshen(0)
        feed.prepared()()
        assert int(arena.inputs(0)[1].sum()) == 2048
        problem.answers(feed.content(0).inputs())
    # Without it, indices change one by one as before.
    examined, *_ = fed(
        "inputs[0][inputs[1]]", "torch.randn(99), torch.randint(0, 99, (50,))", tmp_path
    )
    assert [promise.whole for promise in examined.promised] == [False, False]
