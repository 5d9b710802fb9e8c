"""What a kernel should have answered to what it was given, and whether it did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kbexp.worker.feed import Change, Content, bits
from kbexp.worker.reference import Problem
from kbexp.worker.tolerance import Difference, Tolerance, compare, passes, wrong_elements
from kbexp.worker.variants import KINDS

if TYPE_CHECKING:
    import torch

NEARLY_ALL = 0.95


@dataclass(frozen=True, slots=True)
class Answers:
    """The reference's answers, and the `tolerances` by which every output may differ."""

    problem: Problem
    tolerances: tuple[Tolerance, ...]

    def expected(self, content: Content) -> list[torch.Tensor]:
        """Return the answers to what a slot held when the kernel was called."""
        if content.plain:
            return content.trial.expected
        return [output.detach() for output in self.problem.outputs(content.inputs())]

    def differences(
        self, given: list[torch.Tensor], expected: list[torch.Tensor]
    ) -> list[Difference]:
        """Say what is wrong with outputs, to which the runner may still write; [] for nothing."""
        found = []
        for number, (place, answer) in enumerate(zip(given, expected, strict=True)):
            name = "the output" if len(expected) == 1 else f"output {number}"
            difference = compare(place, answer, name, self.tolerances[number])
            if difference:
                found.append(difference)
        return found

    def reasons(self, found: list[Difference], content: Content) -> list[str]:
        """Return what is wrong in words, and what may help to see why."""
        import torch

        reasons = [difference.text for difference in found]
        model = self.problem.model
        parameters = isinstance(model, torch.nn.Module) and any(True for _ in model.parameters())
        if content.trial.kind:
            kind = KINDS[content.trial.kind]
            reasons.append(f"its inputs were not the task's own: their values were {kind}")
        if parameters and all(one.wrong > NEARLY_ALL * one.total for one in found):
            reasons.append(
                "where nearly all is wrong, parameters may be other ones: they have to be drawn in "
                "the reference's order and by its calls"
            )
        return reasons

    def stand_in(self, places: list[torch.Tensor], content: Content) -> bool:
        """Return whether all answers already stand in a kernel's inputs, after a call on them."""
        return all(
            any(
                (place.shape, place.dtype) == (answer.shape, answer.dtype)
                and passes(place, answer, tolerance)
                for place in places
            )
            for answer, tolerance in zip(self.expected(content), self.tolerances, strict=True)
        )

    def only_spoilt(
        self,
        given: list[torch.Tensor],
        expected: list[torch.Tensor],
        change: Change,
        content: Content,
    ) -> bool:
        """Return whether outputs are wrong only since inputs were changed after the call.

        So it is where the kernel hands over a part of its inputs: what is wrong was written there
        by the `change`. Or it hands the part over as something else, such as its conjugate: then
        the outputs are the answers to the `content` with the change.
        """
        import torch

        unclear = []
        for number, (place, answer) in enumerate(zip(given, expected, strict=True)):
            tolerance = self.tolerances[number]
            wrong = wrong_elements(place, answer, tolerance)
            written = [bits(values) for values in change.values if values.dtype == place.dtype]
            known = int(torch.isin(bits(wrong), torch.cat(written)).sum().item()) if written else 0
            if wrong.numel() - known > tolerance.spare:
                unclear.append(number)
        # Only now: calling the reference again may overwrite what it answered before.
        later = self.expected(content) if unclear else []
        return all(
            passes(given[number], later[number], self.tolerances[number]) for number in unclear
        )
