"""Inputs that are moved by a hair."""

from __future__ import annotations

import itertools

import torch

from kbexp.worker.nudges import nudged


def test_inputs_are_moved_in_order_towards_zero_or_away_from_it() -> None:
    signed = torch.cat([torch.randn(1000) * 10, torch.rand(1000), torch.zeros(3)])
    for x in (signed, torch.cat([torch.rand(2000), torch.ones(1), torch.zeros(1)])):
        for far, outward in itertools.product((False, True), repeat=2):
            moved = nudged(x, far, outward)
            assert torch.equal(moved.sign(), x.sign())
            assert bool(((moved.abs() >= x.abs()) if outward else (moved.abs() <= x.abs())).all())
            assert bool((moved[x.argsort()].diff() >= 0).all())
            assert not torch.equal(moved, x)
            assert x.max() > 1 or moved.max() <= 1
            assert (nudged(x, far, outward, 1) - x).abs().sum() < (moved - x).abs().sum()
    whole = torch.arange(5)
    assert torch.equal(nudged(whole, far=True), whole)
    assert nudged(torch.zeros(0), far=True).shape == (0,)


def test_infinities_stay_where_inputs_are_moved() -> None:
    mask = torch.tensor([0.0, -torch.inf, 1.0, torch.inf])
    moved = nudged(mask)
    assert torch.equal(moved.isinf(), mask.isinf())
    assert not moved.isnan().any()
    assert moved[2] != mask[2]
