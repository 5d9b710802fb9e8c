"""What a judge finds out about a task, and the inputs that it makes of the task's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kbexp.tasks.catalog import NAMES, bundled
from kbexp.worker import examination
from kbexp.worker.examination import Examination
from kbexp.worker.reference import Reference
from kbexp.worker.tolerance import Tolerance, passes
from kbexp.worker.variants import KINDS, TIES, vary

TASK = """
import torch
class Model(torch.nn.Module):
    def forward(self, x):
        return {expression}
def get_inputs():
    return [{inputs}]
def get_init_inputs():
    return []
"""


@pytest.fixture(autouse=True)
def however_busy_the_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all variants looked at, and not those that there is time for."""
    monkeypatch.setattr(examination, "TIME_S", 600.0)


def examined(expression: str, inputs: str, folder: Path) -> Examination:
    source = TASK.format(expression=expression, inputs=inputs)
    return Reference(source, "cpu", str(folder)).try_out(7)


@pytest.mark.parametrize(
    ("expression", "inputs", "fault"),
    [
        ("torch.zeros_like(x) + 1e-9 * x.clamp(-1e-12, 1e-12)", "torch.ones(64)", "constant"),
        ("x * 0", "torch.randn(64)", "zeros"),
        ("x + 1e-7", "torch.randn(64)", "input 0"),
        ("torch.ones_like(x) + 1e-6 * x", "torch.randn(64)", "constant"),
    ],
)
def test_an_answer_that_takes_no_work_is_named(
    expression: str, inputs: str, fault: str, tmp_path: Path
) -> None:
    assert any(fault in text for text in examined(expression, inputs, tmp_path).faults)


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("torch.nn.functional.dropout(x, 0.5)", "answers differently"),
        ("torch.where(x > 0, x, float('nan'))", "NaN or infinities"),
        ("x * 3e38", "NaN or infinities"),
        ("torch.where(x * 3e38 > 0, x, float('-inf')) - x * 3e38", "NaN or infinities"),
    ],
)
def test_an_answer_that_cannot_be_compared_is_a_fault(
    expression: str, fault: str, tmp_path: Path
) -> None:
    assert any(fault in text for text in examined(expression, "torch.randn(64)", tmp_path).faults)


@pytest.mark.parametrize(
    ("expression", "aliases"),
    [("x.split(16)", True), ("(x + 1, x)", True), ("x.sort(dim=0)", False), ("x.neg()", False)],
)
def test_answers_that_are_parts_of_the_inputs_are_known(
    expression: str, aliases: bool, tmp_path: Path
) -> None:
    # Whoever hands such a part over does no late work: nothing is spoilt before.
    assert examined(expression, "torch.randn(64, 64)", tmp_path).aliases is aliases


def test_what_passes_on_the_tasks_own_inputs_alone_is_no_fault(tmp_path: Path) -> None:
    # The inputs are never below zero, so that leaving out the maximum would pass; varied, they are.
    found = examined("torch.relu(x)", "torch.rand(64, 64) + 0.1", tmp_path)
    assert found.faults == ()
    assert "negated" in found.kinds


def test_a_sound_task_has_no_fault_and_the_tolerance_of_its_type(tmp_path: Path) -> None:
    found = examined("torch.softmax(x, -1)", "torch.randn(64, 64)", tmp_path)
    assert found.faults == ()
    assert found.tolerances == (Tolerance(1e-4),)
    assert set(found.kinds) == set(KINDS)


def test_a_reference_that_is_far_from_the_truth_widens_the_tolerance(tmp_path: Path) -> None:
    found = examined("(x + 3e3) - 3e3", "torch.randn(4096)", tmp_path)
    share = found.tolerances[0].share
    assert share is not None
    assert 2e-4 < share < 1e-3
    # Ten times the type's tolerance is the most.
    most = examined("(x + 1e7) - 1e7", "torch.randn(4096)", tmp_path).tolerances
    assert most == (Tolerance(pytest.approx(1e-3)),)


def test_infinities_that_a_task_asks_for_are_no_fault(tmp_path: Path) -> None:
    found = examined("torch.where(x > 0, x, float('-inf'))", "torch.randn(64, 64)", tmp_path)
    assert found.faults == ()
    assert {"scaled", "heavy"} <= set(found.kinds)


def test_a_type_that_is_written_into_a_task_does_not_hide_its_error(tmp_path: Path) -> None:
    angles = "(1000 * x.float() / 10000 ** torch.linspace(0, 1, 64)).sin()"
    found = examined(angles, "torch.randn(1024, 64)", tmp_path)
    x = torch.randn(1024, 64, generator=torch.Generator().manual_seed(1))
    own = (1000 * x / 10000 ** torch.linspace(0, 1, 64)).sin()
    rates = 10000 ** torch.linspace(0, 1, 64, dtype=torch.float64)
    exact = (1000 * x.double() / rates).sin().float()
    assert not passes(exact, own, Tolerance(1e-4))
    assert passes(exact, own, found.tolerances[0])


@pytest.mark.parametrize("inputs", ["torch.randn(256, 128).bfloat16()", "torch.randn(256, 128)"])
def test_what_is_made_of_bfloat16_is_no_more_exact_for_being_float32(
    inputs: str, tmp_path: Path
) -> None:
    product = "(x.bfloat16()[:128] @ x.bfloat16()[128:].T).float()"
    found = examined(product, inputs, tmp_path)
    x = torch.randn(256, 128, generator=torch.Generator().manual_seed(1)).bfloat16()
    own, exact = (x[:128] @ x[128:].T).float(), x[:128].float() @ x[128:].float().T
    assert not passes(exact, own, Tolerance(1e-3))
    assert passes(exact, own, found.tolerances[0])
    assert "negated" in found.kinds
    # Where nothing is lost to the type, the tolerance is that of the output.
    plain = examined("x.float().sum(1)", inputs, tmp_path)
    assert plain.tolerances == (Tolerance(1e-4),)


@pytest.mark.parametrize("inner", [27, 2304])
def test_who_is_more_exact_than_a_reference_in_tf32_passes(inner: int, tmp_path: Path) -> None:
    # As a device rounds what it multiplies: to 10 bits, to the nearest.
    rounded = "(({0}.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)"
    precise = "{0} if {0}.dtype == torch.float64 else " + rounded
    one, two = (precise.format(f"x.split({inner}, 1)[{n}]") for n in (0, 1))
    found = examined(
        f"({one}) @ ({two}).T", f"torch.randn(256, {2 * inner}) / {inner**0.25}", tmp_path
    )
    torch.manual_seed(2)
    x = torch.randn(256, 2 * inner) / inner**0.25
    whole = (x.view(torch.int32) + 0x1000) & ~0x1FFF
    left, right = whole.view(torch.float32).split(inner, 1)
    reference = left @ right.T
    exact = x[:, :inner] @ x[:, inner:].T
    assert not passes(exact, reference, Tolerance(1e-3))
    assert passes(exact, reference, found.tolerances[0])
    # Half of the bits are too few, as before, and inputs are varied all the same.
    rough = (x[:, :inner].bfloat16() @ x[:, inner:].bfloat16().T).float()
    assert not passes(rough, reference, found.tolerances[0])
    assert {"scaled", "negated"} <= set(found.kinds)


@pytest.mark.parametrize(
    "expression",
    ["torch.softmax(x, -1)", "x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)"],
)
def test_few_bits_leave_no_task_without_variants(expression: str, tmp_path: Path) -> None:
    # What the worst element of other inputs is off by is chance, as it is for the first ones.
    found = examined(expression, "torch.randn(512, 256).bfloat16()", tmp_path)
    (tolerance,) = found.tolerances
    assert tolerance.share is not None
    assert 1e-2 < tolerance.share < 1e-1
    assert {"scaled", "negated", "rounded", "thinned"} <= set(found.kinds)


def test_a_variant_whose_answer_is_not_defined_is_not_used(tmp_path: Path) -> None:
    found = examined("torch.log(x)", "torch.rand(4096) + 0.5", tmp_path)
    assert "thinned" not in found.kinds  # The logarithm of zero.
    assert "negated" not in found.kinds  # And of what is below.
    assert "scaled" in found.kinds


def test_whole_numbers_must_be_equal(tmp_path: Path) -> None:
    assert examined("x + 1", "torch.arange(64)", tmp_path).tolerances == (Tolerance(None),)


@pytest.mark.parametrize("name", NAMES)
def test_bundled_tasks_have_no_fault_and_are_varied(name: str, tmp_path: Path) -> None:
    found = Reference(bundled(name).source, "cpu", str(tmp_path)).try_out(11)
    assert found.faults == ()
    # Inputs that are all indices stay as they are.
    assert len(found.kinds) >= 2 or name == "embedding_bag"
    assert all(tolerance == Tolerance(1e-4) for tolerance in found.tolerances)


def test_variants_keep_what_a_generator_promises() -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(32, 32, generator=generator)
    symmetric, lower, unit = x + x.T, x.tril(), torch.rand(64, generator=generator)
    counts = torch.arange(5)
    for kind in KINDS:
        made = vary(kind, [symmetric, lower, unit, counts])
        assert made is not None
        assert torch.equal(made[0], made[0].T)
        assert torch.equal(made[1], made[1].tril())
        if kind != "negated":
            assert 0 <= made[2].min() <= made[2].max() <= 1
        assert torch.equal(made[3], counts)
        assert not torch.equal(made[0], symmetric)
        assert torch.isfinite(made[0]).all()


def test_ties_leave_a_spread_to_values_far_from_zero() -> None:
    x = torch.randn(64, 64) + 1000
    varied = vary("rounded", [x])
    assert varied is not None
    assert 4 < varied[0].unique().numel() < 64
    assert varied[0].std() == pytest.approx(1, abs=0.1)
    assert vary("thinned", [x]) is None


def test_a_variant_that_changes_nothing_is_none() -> None:
    for kind in KINDS:
        assert vary(kind, [torch.arange(3), torch.zeros(4), torch.zeros(0)]) is None


def test_variants_make_ties_zeros_and_large_values() -> None:
    x = torch.randn(4096, generator=torch.Generator().manual_seed(5))
    made = {kind: (vary(kind, [x]) or [x])[0] for kind in KINDS}
    assert made["rounded"].unique().numel() < 64
    assert (made["thinned"] == 0).float().mean() > 0.2
    assert made["heavy"].abs().max() > 2 * x.abs().max()
    assert torch.equal(made["negated"], -x)
    assert torch.equal(made["scaled"], 3 * x)


@pytest.mark.parametrize(
    ("forward", "faults"),
    [
        ("x.square().mean()", ()),
        ("x.square().sum().long()", ()),
        ("x.softmax(0).sum()", ("a constant answer passes",)),
        ("x.mean() * 0", ("an answer of zeros passes",)),
    ],
)
def test_a_single_number_is_no_constant_for_being_one(
    forward: str, faults: tuple[str, ...], tmp_path: Path
) -> None:
    assert examined(forward, "torch.randn(64, 64)", tmp_path).faults == faults


@pytest.mark.parametrize(
    ("forward", "ties"),
    [
        ("x.topk(3)", False),
        ("x.sort(dim=1)", False),
        ("x.argsort(dim=1)", False),
        ("x.median(dim=1)", False),
        ("torch.sort(x, dim=1, stable=True)", True),
        ("x.topk(3).values", True),
        ("x.argmax(dim=1)", True),
    ],
)
def test_there_are_no_ties_where_any_of_equal_values_may_be_named(
    forward: str, ties: bool, tmp_path: Path
) -> None:
    kinds = examined(forward, "torch.randn(64, 64)", tmp_path).kinds
    assert set(TIES).issubset(kinds) == ties
    assert set(TIES).isdisjoint(kinds) != ties
    assert {"scaled", "negated", "heavy"} <= set(kinds)
