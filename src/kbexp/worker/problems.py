"""Problems that nobody can foresee: fresh seeds, inputs, weights and answers for one evaluation."""

from __future__ import annotations

import random
import secrets

from kbexp.worker.examination import Examination
from kbexp.worker.memory import trials_for
from kbexp.worker.reference import Problem, Reference, Trial
from kbexp.worker.variants import vary


def new_seed() -> int:
    """Return a seed that nobody can foresee."""
    return secrets.randbelow(2**63)


def new_problem(reference: Reference, examined: Examination, device: str, trials: int) -> Problem:
    """Return a problem that nobody can foresee, with as many trials as memory allows.

    Of `trials` and one more, two are of the task's own inputs, which timed calls need to draw
    from, and the others are varied. Nothing depends on a kernel, so a judge makes the problem
    while it waits for one.
    """
    count = trials_for(examined.layout, max(1, trials) + 1, device)
    problem = reference.problem(iter(new_seed, None), min(count, 2))
    chance = random.Random(new_seed())
    for _ in range(count - 2 if examined.kinds else 0):
        trial = varied_trial(problem, chance.choice(examined.kinds), chance)
        if trial is not None:
            problem.varied.append(trial)
    return problem


def varied_trial(problem: Problem, kind: str, chance: random.Random) -> Trial | None:
    """Return a trial of varied inputs, and the answers to them; None where nothing would vary."""
    inputs = vary(kind, chance.choice(problem.trials).inputs)
    if inputs is None:
        return None
    return Trial(inputs, problem.answers([tensor.clone() for tensor in inputs]))
