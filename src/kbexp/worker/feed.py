"""What stands in the slots that a runner is called on: values that are new at every call.

Filling a slot anew before every call would cost more than most calls. So a slot is filled once,
and before each further call a thousandth of its elements, at places that nobody can foresee, are
taken over from other inputs. Whoever answers from memory must notice every such change, which
costs a full look at the inputs. The judge keeps only the list of changes, and works out what a
slot holds when it wants to know the answer.

Whoever works on single elements or rows could still keep its answers and work out the changes
alone. So before a kernel is called faster, it is called on slots that were written anew as a
whole: a new set from the task's generator (see `draws`) or, where there is no time for that, a
mixture of two sets with weights that are drawn for that call.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kbexp.worker.arena import Arena
from kbexp.worker.variants import mixing_power

if TYPE_CHECKING:
    import torch

    from kbexp.worker.reference import Trial

CHANGED_SHARE = 1024
"""One element in so many is changed before a call."""

FEWEST_CHANGED = 64
MOST_CHANGED = 512
"""Elements that are changed, however small or large a tensor: each lies in a page and a cache line
of its own, so that changing more of them costs more than most calls. Whoever looks at one element
in a hundred misses all of so many once in 170 calls, and has then to find the others."""

LEAST_ANGLE = 0.2
"""In radians; no mixture is nearer to one of its two parts."""

QUICK_S = 0.002
"""What drawing new inputs may take for each call of the usual blocks."""

MOST_CHANGES = 50
"""A slot is filled anew after so many changes, so that the list of them stays short."""


@dataclass(frozen=True, slots=True)
class Change:
    """Places in every input tensor and the values that were written there."""

    places: list[torch.Tensor]
    values: list[torch.Tensor]


@dataclass(frozen=True, slots=True)
class Mixture:
    """A trial's inputs and another's, weighted by the cosine and sine of `angle`.

    Where a task is so large that there is no other, the one is weighted alone. `powers` holds a
    `mixing_power` for every tensor; where it is 0, the other's is taken as it is. Neither weight is
    negative, since many properties of matrices outlive sums but not differences.
    """

    other: Trial | None
    angle: float
    powers: tuple[int, ...]

    def write(self, trial: Trial, places: list[torch.Tensor]) -> None:
        """Write the mixed inputs to `places`."""
        import torch

        others = (trial if self.other is None else self.other).inputs
        for place, one, two, power in zip(places, trial.inputs, others, self.powers, strict=True):
            if not power:
                place.copy_(two)
                continue
            torch.mul(one, math.cos(self.angle) ** power, out=place)
            if self.other is not None:
                place.add_(two, alpha=math.sin(self.angle) ** power)


@dataclass(slots=True)
class Content:
    """What a slot holds: a trial's inputs, mixed with another's or not, and the changes since."""

    trial: Trial
    mixture: Mixture | None = None
    changes: list[Change] = field(default_factory=list)

    @property
    def plain(self) -> bool:
        """True where the trial's own answers are those to what the slot holds."""
        return self.mixture is None and not self.changes

    def inputs(self) -> list[torch.Tensor]:
        """Return the inputs as the runner was given them; not to be written to."""
        import torch

        if self.plain:
            return self.trial.inputs
        tensors = [torch.empty_like(tensor) for tensor in self.trial.inputs]
        self.write(tensors)
        for change in self.changes:
            for tensor, places, values in zip(tensors, change.places, change.values, strict=True):
                tensor.view(-1)[places] = values
        return tensors

    def write(self, places: list[torch.Tensor]) -> None:
        """Write the inputs to `places`, but for the changes."""
        if self.mixture is not None:
            self.mixture.write(self.trial, places)
            return
        for place, tensor in zip(places, self.trial.inputs, strict=True):
            place.copy_(tensor)


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """Return a contiguous tensor's elements in a row, as integers, so that NaN equals itself."""
    import torch

    whole = getattr(torch, f"int{8 * tensor.element_size()}", torch.int64)  # complex128 is two
    return tensor.view(-1).view(whole)


def _same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    import torch

    return torch.equal(bits(one), bits(other))


class Feed:
    """Fills and changes one runner's slots.

    `overwritten` is set where the runner writes to its inputs (as it may): then every call finds
    its slot filled anew. What makes values new is written only by what `prepared` returns, or by
    who takes it `aside`. Whoever finds the inputs of many calls could work on all of them together;
    and a held process runs no more, but what it has queued on a device does, while slot after slot
    is written. `arena` holds the slots. `whole` says of which inputs no element is changed alone;
    () of none. Drawing inputs anew takes `draw_s`.
    """

    def __init__(
        self,
        arena: Arena,
        trials: list[Trial],
        chance: random.Random,
        more: Callable[[], list[torch.Tensor]] | None = None,
        whole: tuple[bool, ...] = (),
        draw_s: float = 0.0,
    ) -> None:

        self.overwritten = False
        self.arena = arena
        self._trials = trials
        self._random = chance
        self._more = more
        self._whole = whole or (False,) * len(trials[0].inputs)
        self._draw_s = draw_s
        self._unwritten: dict[int, Change] = {}
        self._unwritten_whole: set[int] = set()
        self._spoilt: dict[int, Change] = {}
        self._contents: dict[int, Content] = {}

    @functools.cached_property
    def _powers(self) -> tuple[int, ...]:
        # A look at every input, which most evaluations never need.
        return tuple(mixing_power(tensor) for tensor in self._trials[0].inputs)

    @functools.cached_property
    def _renews(self) -> bool:
        """True where every call finds new inputs as a whole, there being nothing to change."""
        quick = self.can_mix or (self._more is not None and self._draw_s < QUICK_S)
        return bool(self._whole) and all(self._whole) and quick

    @property
    def can_renew(self) -> bool:
        """True where there is something to mix, or a generator of new inputs."""
        return self.can_mix or self._more is not None

    @property
    def can_mix(self) -> bool:
        """True where there is something to mix, which takes the device next to no time."""
        return any(self._powers)

    def fill(self, slot: int, trial: Trial) -> None:
        """Write a trial's inputs into a slot."""
        self._contents[slot] = Content(trial)
        self._contents[slot].write(self.arena.inputs(slot))

    def freshen(self, slot: int) -> None:
        """Give a slot values that it never held before, once they are written (`prepared`)."""
        if self._renews:
            self.renew(slot)
            return
        content = self._contents.get(slot)
        if content is None or self.overwritten or len(content.changes) >= MOST_CHANGES:
            self.fill(slot, self._random.choice(self._trials))
        self._change_some(slot)

    def prepared(self, slots: Iterable[int] | None = None) -> Callable[[], None]:
        """Get ready what is still to be written to slots, to all of them unless they are named.

        Whoever calls the result writes it: in as few operations as can be, so that a device has no
        time to do anything in between.
        """
        import torch

        arena = self.arena
        wanted = set(self._contents if slots is None else slots)
        renewed = self._unwritten_whole & wanted
        self._unwritten_whole -= renewed
        whole = [(self._contents[slot], arena.inputs(slot)) for slot in renewed]
        made = {slot: change for slot, change in self._unwritten.items() if slot in wanted}
        for slot in made:
            del self._unwritten[slot]
        changes = []
        if made:
            for index in range(len(arena.layout.inputs)):
                places = [arena.first(index, slot) + made[slot].places[index] for slot in made]
                values = [change.values[index] for change in made.values()]
                changes.append((arena.elements(index), torch.cat(places), torch.cat(values)))

        def write() -> None:
            for content, inputs in whole:
                content.write(inputs)
            for elements, where, new in changes:
                elements[where] = new

        return write

    def aside(self, slot: int) -> list[torch.Tensor]:
        """Return what is to be written to a slot, in memory of its own, for others to write it."""
        self._unwritten.pop(slot, None)
        self._unwritten_whole.discard(slot)
        content = self._contents[slot]
        given = content.inputs()
        return [tensor.clone() for tensor in given] if content.plain else given

    def _change_some(self, slot: int) -> None:
        change = self._drawn_change(slot)
        self._contents[slot].changes.append(change)
        self._unwritten[slot] = change

    def _drawn_change(self, slot: int, entirely: bool = False) -> Change:
        # Of another trial than stands there: of the same one it would mostly change nothing.
        here = self._contents[slot].trial
        others = [trial for trial in self._trials if trial is not here]
        return self._change(self._random.choice(others or self._trials), entirely)

    def spoil(self, slot: int) -> None:
        """Change what stands in a slot after the call on it, until `settle` not in its content.

        Where no element may be changed alone, all are.
        """
        change = self._spoilt[slot] = self._drawn_change(slot, entirely=all(self._whole))
        pairs = zip(change.places, change.values, strict=True)
        for place, (places, values) in zip(self.arena.inputs(slot), pairs, strict=True):
            place.view(-1)[places] = values

    def settle(self, slot: int) -> Change | None:
        """Have a slot's content be what stands there; return by what it was spoilt."""
        change = self._spoilt.pop(slot, None)
        if change is not None:
            self._contents[slot].changes.append(change)
        return change

    def renew(self, slot: int, drawn: list[torch.Tensor] | None = None) -> None:
        """Give a slot values of which none was in any slot before, as far as can be, likewise.

        Those that were `drawn` for it; else a mixture, or what the generator draws now.
        """
        if drawn is not None:
            content = Content(replace(self._trials[0], inputs=drawn, expected=[]))
        elif self.can_mix:
            first, *others = self._random.sample(self._trials, min(2, len(self._trials)))
            angle = self._random.uniform(LEAST_ANGLE, math.pi / 2 - LEAST_ANGLE)
            mixture = Mixture(others[0] if others else None, angle, self._powers)
            content = Content(first, mixture)
        else:
            assert self._more is not None
            content = Content(replace(self._trials[0], inputs=self._more(), expected=[]))
        self._contents[slot] = content
        self._unwritten_whole.add(slot)
        self._change_some(slot)

    def other_bytes(self, index: int, first: int, count: int) -> torch.Tensor:
        """Return so many bytes, from `first` on, of some trial's input `index`."""
        import torch

        trial = self._random.choice(self._trials)
        return trial.inputs[index].view(-1).view(torch.uint8)[first : first + count]

    def forget(self) -> None:
        """Have every slot filled anew before it is used again."""
        self._contents.clear()
        self._unwritten.clear()
        self._unwritten_whole.clear()
        self._spoilt.clear()

    def content(self, slot: int) -> Content:
        """Return what a slot held when it was last filled or changed here."""
        return self._contents[slot]

    def look(self, slot: int) -> bool:
        """Note and return whether the runner has written to inputs, here or before."""
        pairs = zip(self.arena.inputs(slot), self.content(slot).inputs(), strict=True)
        self.overwritten |= not all(_same_bits(place, tensor) for place, tensor in pairs)
        return self.overwritten

    def _change(self, source: Trial, entirely: bool) -> Change:
        import torch

        if entirely:
            rows = [tensor.view(-1) for tensor in source.inputs]
            return Change([torch.arange(row.numel(), device=row.device) for row in rows], rows)

        places, values = [], []
        for tensor, whole in zip(source.inputs, self._whole, strict=True):
            flat = tensor.view(-1)
            count = min(max(flat.numel() // CHANGED_SHARE, FEWEST_CHANGED), MOST_CHANGED)
            count = 0 if whole else min(count, flat.numel())
            where = self._places(flat.numel(), count)
            # A place that is drawn twice gets one and the same value. With one trial only, values
            # come from elsewhere in it, and then no place may be drawn twice.
            alone = len(self._trials) == 1
            where = (torch.unique(where) if alone else where).to(flat.device)
            origin = where.flip(0) if alone else where
            places.append(where)
            values.append(flat[origin])
        return Change(places, values)

    def _places(self, elements: int, count: int) -> torch.Tensor:
        """Return so many places that nobody can work out, torch's own seeds having 32 bits."""
        import numpy as np
        import torch

        drawn = np.frombuffer(self._random.randbytes(8 * count), np.uint64)
        return torch.from_numpy((drawn % np.uint64(max(elements, 1))).astype(np.int64))
