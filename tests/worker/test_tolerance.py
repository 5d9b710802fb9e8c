"""Right and wrong outputs, and what is said of the wrong ones."""

from __future__ import annotations

import pytest
import torch

from kbexp.worker.tolerance import Difference, Tolerance, passes, relative_error, tolerance_of
from kbexp.worker.tolerance import compare as compare_in_words


def expected(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def compare(
    actual: torch.Tensor, want: torch.Tensor, name: str, tolerance: Tolerance
) -> Difference | None:
    """Compare, and see that the short answer is the same."""
    found = compare_in_words(actual, want, name, tolerance)
    assert passes(actual, want, tolerance) is (found is None)
    return found


def test_rounding_is_forgiven_and_zeros_are_not() -> None:
    want = torch.softmax(expected(16, 4096), -1)
    assert compare(want * (1 + 3e-6), want, "the output", tolerance_of(want)) is None
    different = compare(torch.zeros_like(want), want, "the output", tolerance_of(want))
    assert different is not None
    assert "everywhere" in different.text or different.wrong > 0.9 * want.numel()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_share_of_the_scale_counts_at_every_scale(dtype: torch.dtype) -> None:
    for scale in (1e-3, 1.0, 100.0):
        want = (expected(64, 64) * scale).to(dtype)
        assert compare(want.clone(), want, "o", tolerance_of(want)) is None
        assert compare(want + scale * 0.05, want, "o", tolerance_of(want)) is not None


def test_the_place_is_named() -> None:
    want = expected(100, 130)
    got = want.clone()
    got[:, 128:] = 0
    different = compare(got, want, "the output", tolerance_of(want))
    assert different is not None
    assert "index 128 and above of dimension 1 (size 130)" in different.text
    assert different.wrong <= 200
    got = want.clone()
    got[3, 17] = 1e6
    different = compare(got, want, "the output", tolerance_of(want))
    assert different is not None
    assert "worst at [3, 17]: got 1e+06" in different.text


def test_nan_is_right_only_where_it_is_expected() -> None:
    want = expected(10)
    want[3] = float("nan")
    want[4] = float("inf")
    assert compare(want.clone(), want, "o", tolerance_of(want)) is None
    for wrong in (1.0, float("-inf"), float("nan")):
        got = want.clone()
        got[4] = wrong
        assert compare(got, want, "o", tolerance_of(want)) is not None
    got = want.clone()
    got[5] = float("nan")
    different = compare(got, want, "o", tolerance_of(want))
    assert different is not None
    assert different.wrong == 1


def test_integers_and_booleans_must_be_equal() -> None:
    want = torch.arange(10)
    assert compare(want.clone(), want, "o", tolerance_of(want)) is None
    different = compare(want + (want == 9), want, "o", tolerance_of(want))
    assert different is not None
    assert "expected 9 exactly" in different.text
    no = torch.zeros(3, dtype=torch.bool)
    assert compare(~no, no, "o", Tolerance(None))


def test_empty_scalar_and_complex_outputs() -> None:
    assert compare(torch.zeros(0, 4), torch.zeros(0, 4), "o", Tolerance(1e-4)) is None
    assert compare(torch.tensor(2.0), torch.tensor(1.0), "o", Tolerance(1e-4)) is not None
    want = torch.complex(expected(8), expected(8))
    assert compare(want.clone(), want, "o", tolerance_of(want)) is None
    assert compare(want.conj().resolve_conj(), want, "o", tolerance_of(want)) is not None


def test_large_outputs_are_compared_to_the_last_element() -> None:
    want = expected(1000, 301)
    for index in (0, 65535, 65536, want.numel() - 1):
        got = want.clone()
        got.view(-1)[index] += 1
        different = compare(got, want, "o", tolerance_of(want))
        assert different is not None
        assert different.wrong == 1
        assert f"[{index // 301}, {index % 301}]" in different.text


def test_a_view_that_is_not_contiguous_is_compared_in_order() -> None:
    want = expected(50, 60)
    assert compare(want.t(), want.t().contiguous(), "o", tolerance_of(want)) is None
    assert compare(want.t().contiguous(), want.t(), "o", tolerance_of(want)) is None


def test_the_error_of_an_answer_is_the_least_share_with_which_it_passes() -> None:
    truth = expected(64, 64).double()
    answer = (truth + 1e-3 * expected(64, 64).flip(0)).float()
    share = relative_error(answer, truth)
    assert share is not None
    assert passes(answer.double(), truth, Tolerance(share * 1.001))
    assert not passes(answer.double(), truth, Tolerance(share * 0.999))
    # What is infinite or NaN in truth says nothing of the others.
    holes = truth.clone()
    holes[0, 0], holes[1, 1] = float("inf"), float("nan")
    assert relative_error(answer, holes) == pytest.approx(share, rel=0.01)
    assert relative_error(answer, torch.full_like(truth, float("nan"))) is None
    broken = answer.clone()
    broken[2, 2] = float("nan")
    assert relative_error(broken, truth) is None
