"""Problems that nobody can foresee: fresh seeds, inputs, weights and answers for one evaluation."""

from __future__ import annotations

import random
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kbexp.worker.examination import Examination
from kbexp.worker.memory import trials_for
from kbexp.worker.promises import Promise
from kbexp.worker.reference import Problem, Reference, Trial
from kbexp.worker.variants import defined, vary


def new_seed() -> int:
    """Return a seed that nobody can foresee."""
    return secrets.randbelow(2**63)


def secret_chance() -> random.Random:
    """Return a source of numbers of which none can be worked out from others.

    A kernel sees much of what is drawn, such as the slots that it is called on; from some hundred
    numbers of Python's own generator all that follow can be computed.
    """
    return random.SystemRandom()


def new_problem(reference: Reference, examined: Examination, room: int, trials: int) -> Problem:
    """Return a problem that nobody can foresee, with as many trials as fit into `room` bytes.

    Of `trials` and one more, two are of the task's own inputs, which timed calls need to draw
    from, and the others are varied. Nothing depends on a kernel, so that it can be made ahead.
    """
    count = trials_for(examined.layout, max(1, trials) + 1, room)
    problem = reference.problem(iter(new_seed, None), min(count, 2))
    chance = secret_chance()
    for _ in range(count - 2 if examined.kinds else 0):
        trial = varied_trial(problem, chance.choice(examined.kinds), chance, examined.promised)
        if trial is not None:
            problem.varied.append(trial)
    return problem


class Ahead:
    """Makes each problem before it is asked for: time in which the device would only wait.

    All of them have the same `room`, however much of a device's memory is free at the time: a
    kernel's process may not have ended yet, and what it holds is not to leave the next kernel with
    fewer trials.
    """

    def __init__(self, reference: Reference, examined: Examination, device: str, room: int) -> None:
        self._reference = reference
        self._examined = examined
        self._device = device
        self._room = room
        self._trials = 0
        self._made: Problem | None = None
        self._error: BaseException | None = None

    def make(self, trials: int) -> None:
        """Have a problem of so many trials ready, unless one is."""
        if self._made is None or self._trials != trials:
            self._made = None  # Two at a time, the one in use and the next, are enough.
            self._made = new_problem(self._reference, self._examined, self._room, trials)
            self._trials = trials

    def try_make(self, trials: int) -> None:
        """The same, unless a device has too little memory now: `take` makes it then."""
        import torch

        try:
            self.make(trials)
        except RuntimeError:  # OutOfMemoryError, or a library's own word for it
            if self._device != "cpu":
                torch.cuda.empty_cache()

    def take(self, trials: int) -> Problem:
        """Return a problem that was not given out before."""
        self.make(trials)
        made, self._made = self._made, None
        assert made is not None
        return made

    @contextmanager
    def meanwhile(self) -> Iterator[None]:
        """Make the next problem on a CPU beside what is done within, which nobody may time.

        Not on a CUDA device, where it would share the device with both runners.
        """
        if self._device != "cpu":
            yield
            return
        thread = threading.Thread(target=self._make_quietly, args=(self._trials,))
        thread.start()
        try:
            yield
        finally:
            thread.join()
        if self._error is not None:
            raise self._error

    def _make_quietly(self, trials: int) -> None:
        try:
            self.make(trials)
        except BaseException as error:  # a task may raise anything
            self._error = error


def varied_trial(
    problem: Problem, kind: str, chance: random.Random, promised: Sequence[Promise] = ()
) -> Trial | None:
    """Return a trial of varied inputs, and the answers to them.

    None where nothing would vary, or where the reference has no answer to these.
    """
    base = chance.choice(problem.trials)
    inputs = vary(kind, base.inputs, promised)
    if inputs is None:
        return None
    try:
        answers = problem.answers([tensor.clone() for tensor in inputs])
    except Exception:  # such as a matrix that is not positive definite any more
        return None
    return Trial(inputs, answers, kind) if defined(answers, base.expected) else None
