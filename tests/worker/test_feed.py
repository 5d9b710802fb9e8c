"""What a judge writes into slots, and that it knows afterwards what stands there."""

from __future__ import annotations

import itertools
import random

import torch

from kbexp.worker.arena import Arena, Layout, create_host, leaf_of
from kbexp.worker.feed import MOST_CHANGES, Feed
from kbexp.worker.reference import Trial
from kbexp.worker.variants import mixing_power


def trial(seed: int) -> Trial:
    generator = torch.Generator().manual_seed(seed)
    inputs = [
        torch.randn(64, 64, generator=generator),
        torch.rand(300, generator=generator),
        torch.randint(0, 9, (50,), generator=generator),
        (torch.rand(128, generator=generator) > 0.5).float(),
    ]
    return Trial(inputs, [torch.zeros(4)])


def fed(trials: list[Trial]) -> tuple[Feed, Arena]:
    layout = Layout(
        tuple(leaf_of(tensor) for tensor in trials[0].inputs),
        tuple(leaf_of(tensor) for tensor in trials[0].expected),
    )
    arena, _ = create_host(layout, 3)
    return Feed(arena, trials, random.Random(1)), arena


def freshened(feed: Feed, slot: int) -> None:
    feed.freshen(slot)
    feed.prepared()()


def renewed(feed: Feed, slot: int) -> None:
    feed.renew(slot)
    feed.prepared()()


def stands(feed: Feed, arena: Arena, slot: int) -> bool:
    """Return whether a slot holds, to the bit, what the feed says."""
    pairs = zip(arena.inputs(slot), feed.content(slot).inputs(), strict=True)
    return all(torch.equal(place, tensor) for place, tensor in pairs)


def test_a_slot_holds_what_the_feed_says() -> None:
    feed, arena = fed([trial(1), trial(2)])
    for _ in range(2 * MOST_CHANGES):
        freshened(feed, 0)
        assert stands(feed, arena, 0)
    for _ in range(5):
        renewed(feed, 1)
        assert stands(feed, arena, 1)
        freshened(feed, 1)
        assert stands(feed, arena, 1)
    assert stands(feed, arena, 0)


def test_what_is_written_later_is_not_there_before() -> None:
    feed, arena = fed([trial(1), trial(2)])
    for whole in (0, 1, 2, 1):
        feed.renew(whole)
        for slot in {0, 1, 2} - {whole}:
            feed.freshen(slot)
        write = feed.prepared()
        before = [[tensor.clone() for tensor in arena.inputs(slot)] for slot in range(3)]
        assert not any(stands(feed, arena, slot) for slot in range(3))
        assert all(
            torch.equal(tensor, place)
            for slot in range(3)
            for tensor, place in zip(before[slot], arena.inputs(slot), strict=True)
        )
        write()
        assert all(stands(feed, arena, slot) for slot in range(3))
        feed.prepared()()  # Nothing is left.
        assert all(stands(feed, arena, slot) for slot in range(3))


def test_slots_are_written_one_by_one() -> None:
    feed, arena = fed([trial(1), trial(2)])
    for slot in range(3):
        feed.renew(slot)
    for slot in (1, 2, 0):
        assert not stands(feed, arena, slot)
        write = feed.prepared([slot])
        assert not stands(feed, arena, slot)
        others = {other: stands(feed, arena, other) for other in range(3) if other != slot}
        write()
        assert stands(feed, arena, slot)
        assert others == {other: stands(feed, arena, other) for other in others}


def test_freshening_changes_something_and_renewing_everything() -> None:
    feed, arena = fed([trial(1), trial(2)])
    freshened(feed, 0)
    before = [tensor.clone() for tensor in arena.inputs(0)]
    freshened(feed, 0)
    assert all(bool((a != b).any()) for a, b in zip(before, arena.inputs(0), strict=True))
    renewed(feed, 0)
    after = arena.inputs(0)
    # 64 elements of 4096 are changed, which may be to what stood there before.
    assert (before[0] != after[0]).float().mean() > 0.98
    # In so small a tensor a fifth of the elements is then changed to values that stood before.
    assert (before[1] != after[1]).float().mean() > 0.7
    # A mixture keeps what may be promised: the interval from 0 to 1, indices, masks.
    assert 0 <= after[1].min() <= after[1].max() <= 1
    assert set(after[2].tolist()) <= set(range(9))
    assert set(after[3].tolist()) <= {0.0, 1.0}


def test_a_mixture_is_spread_as_its_parts() -> None:
    feed, arena = fed([trial(1), trial(2)])
    for _ in range(20):
        renewed(feed, 0)
        assert 0.9 < float(arena.inputs(0)[0].std()) < 1.1


def test_what_can_be_mixed() -> None:
    first = trial(3).inputs
    assert [mixing_power(tensor) for tensor in first] == [1, 2, 0, 0]
    assert mixing_power(torch.zeros(0)) == 0
    assert fed([trial(1)])[0].can_renew
    assert fed([trial(1), trial(2)])[0].can_renew


def test_a_single_trial_is_weighted() -> None:
    feed, arena = fed([trial(1)])
    seen = []
    for _ in range(3):
        renewed(feed, 0)
        assert stands(feed, arena, 0)
        seen.append(arena.inputs(0)[0].clone())
        assert 0 <= arena.inputs(0)[1].min() <= arena.inputs(0)[1].max() <= 1
        assert set(arena.inputs(0)[3].tolist()) <= {0.0, 1.0}
    for one, other in itertools.combinations(seen, 2):
        assert (one != other).float().mean() > 0.95


def test_a_runner_that_writes_to_its_inputs_is_seen() -> None:
    feed, arena = fed([trial(1), trial(2)])
    freshened(feed, 0)
    feed.look(0)
    assert not feed.overwritten
    arena.inputs(0)[0][3, 3] = 77.0
    feed.look(0)
    assert feed.overwritten
    freshened(feed, 0)
    assert stands(feed, arena, 0)


def test_what_cannot_be_mixed_is_renewed_by_the_generator() -> None:
    generator = torch.Generator().manual_seed(5)
    trials = [Trial([torch.randint(0, 9, (500,), generator=generator)], [torch.zeros(4)])] * 2
    layout = Layout((leaf_of(trials[0].inputs[0]),), (leaf_of(trials[0].expected[0]),))
    arena, _ = create_host(layout, 3)
    assert not Feed(arena, trials, random.Random(1)).can_renew
    feed = Feed(
        arena,
        trials,
        random.Random(1),
        lambda: [torch.randint(100, 1000, (500,), generator=generator)],
    )
    assert feed.can_renew
    seen = []
    for _ in range(3):
        renewed(feed, 0)
        assert stands(feed, arena, 0)
        assert not feed.content(0).plain
        seen.append(arena.inputs(0)[0].clone())
    assert all((one != other).float().mean() > 0.7 for one, other in itertools.pairwise(seen))


def test_every_change_changes_something() -> None:
    trials = [trial(1), trial(2), trial(3)]
    feed, arena = fed(trials)
    for number in range(60):
        feed.fill(0, trials[number % 3])
        freshened(feed, 0)
        assert not torch.equal(arena.inputs(0)[0], trials[number % 3].inputs[0])


def test_a_spoilt_slot_is_known_to_be_so_once_it_is_settled() -> None:
    feed, arena = fed([trial(1), trial(2)])
    for _ in range(30):
        freshened(feed, 0)
        before = [tensor.clone() for tensor in feed.content(0).inputs()]
        feed.spoil(0)
        assert all(torch.equal(a, b) for a, b in zip(before, feed.content(0).inputs(), strict=True))
        assert not torch.equal(before[0], arena.inputs(0)[0])
        assert feed.settle(0) is not None
        assert stands(feed, arena, 0)
        assert feed.settle(0) is None
