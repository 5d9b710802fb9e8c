"""The questions of the real packages: how they are asked, and what the playbook reads in them."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from kbexp.candidate import Candidate, Question
from kbexp.config import LlmConfig
from kbexp.kernel import Kernel
from kbexp.proposals.feedback import feedback
from kbexp.proposals.offline.feedback import Outcome, read_feedback
from kbexp.proposals.offline.prompt_reader import read_text
from kbexp.proposals.prompt import context
from kbexp.proposals.proposer import LlmProposer
from kbexp.search.rivals.catalog import RIVALS, Settings
from kbexp.search.rivals.search import plain
from kbexp.search.rivals.talk import Asking, NoKernel, Talk, Told
from kbexp.verdict import Interval, Status, Verdict

RIVAL_KINDS = sorted(RIVALS)
ANSWERS = 12


def kernel(number: int) -> Kernel:
    """A kernel with much in it that could be taken for a prompt's own words."""
    return Kernel(
        f'"""Kernel {number}.\n\n## Evaluation Results\n\n### Program 9\n"""\n'
        "import torch\n\n\n# Current Program\nclass ModelNew(torch.nn.Module):\n"
        '    """Between ` and `,\n\n```\nand fences,\r\n.\n\n'
        '# Task\n### Program 2 (of 3)\n    """\n'
    )


def judged(kit: Any, number: int) -> Verdict:
    """Every fourth kernel does not build; the others are faster and faster."""
    if number % 4 == 3:
        made: Verdict = kit.verdict(Status.COMPILE_ERROR)
        return made
    speedup = 1.0 + number / 4
    made = kit.verdict(speedup=Interval(speedup, speedup - 0.1, speedup + 0.1))
    return made


def asked_by(kind: str, tell: Callable[[int], Told]) -> list[tuple[Question, set[int]]]:
    """Let a rival ask; return its questions with the kernels that it knew of at each."""
    wishes = threading.Semaphore(0)
    talk = Talk(wishes.release)
    known, questions = set[int](), list[tuple[Question, set[int]]]()
    numbers = {plain(kernel(number).source): number for number in range(ANSWERS + 1)}

    def play() -> None:
        try:
            RIVALS[kind].play(talk, Settings(0, kernel(0).source))
        except Exception as error:
            talk.end(error)

    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    while len(questions) < ANSWERS:
        assert wishes.acquire(timeout=60)
        wish = talk.wish()
        assert wish is not None, talk.error
        if not isinstance(wish, Asking):
            known.add(numbers[plain(wish.text)])
            wish.granted.set_result(tell(numbers[plain(wish.text)]))
            continue
        questions.append((wish.question, set(known)))
        if len(questions) == 2:
            wish.granted.set_exception(NoKernel("The answer was empty."))
        else:
            wish.granted.set_result(kernel(len(questions)).source)
    talk.close()
    thread.join(60)
    assert not thread.is_alive()
    return questions


def test_the_playbook_reads_what_a_rival_shows(kit: Any) -> None:
    def tell(number: int) -> Told:
        verdict = judged(kit, number)
        speedup = verdict.speedup.value if verdict.speedup else None
        return Told(speedup or 0.0, feedback(verdict), speedup)

    numbers = {plain(kernel(number).source): number for number in range(ANSWERS + 1)}
    for kind in RIVAL_KINDS:
        parents, others = set[int](), set[int]()
        for question, known in asked_by(kind, tell):
            text = f"{context(kit.TASK, kit.CPU, ['torch'])}\n{question.system}\n{question.user}"
            prompt = read_text(text)
            assert (prompt.task_name, prompt.languages) == ("softmax", ("torch",))
            assert prompt.parent is not None
            number = numbers[plain(prompt.parent.source)]
            parents.add(number)
            fared = read_feedback(prompt.parent.feedback)
            if number % 4 == 3:
                assert fared.outcome is Outcome.COMPILE_ERROR, question.user
            else:
                assert fared.speedup == pytest.approx(1.0 + number / 4)
            for other in prompt.others:
                number = numbers[plain(other.source)]
                others.add(number)
                said = read_feedback(other.feedback).speedup
                assert said == (None if number % 4 == 3 else pytest.approx(1.0 + number / 4))
            assert {number, *others} <= known
        assert len(parents) > 1
        assert (len(others) > 1) == (kind == "openevolve")


@pytest.mark.parametrize("text", ["## Current Component", "# Current Program\n```python\n", "```"])
def test_pieces_of_such_words_are_no_prompt(text: str) -> None:
    prompt = read_text(f"\n{text}\n" * 3)
    assert (prompt.parent, prompt.others) == (None, ())


def test_a_question_is_asked_as_it_stands(
    kit: Any, model_server: Any, settings: Callable[..., LlmConfig]
) -> None:
    source = "import torch\nclass ModelNew(torch.nn.Module):\n    pass  # better\n"
    model_server.script = [kit.completion(f"Here.\n```python\n{source}```\n")]
    proposer = LlmProposer(kit.TASK, kit.CPU, settings(language="torch"))
    words = Question(user="Improve <kernel> this.", system="You are a rival.")
    proposal = proposer.propose(replace(kit.request(3), question=words))
    assert proposal.kernel == Kernel(source)
    assert (proposal.number, proposal.parents) == (3, (kit.PARENT.id,))
    assert proposal.usage.input_tokens == 1000
    system, user = model_server.requests[0]["messages"]
    shared = context(kit.TASK, kit.CPU, ["torch"])
    assert system == {"role": "system", "content": f"{shared}\n\nYou are a rival."}
    assert user == {"role": "user", "content": "Improve <kernel> this."}
    model_server.script = [kit.completion("No kernel here.")]
    proposal = proposer.propose(replace(kit.request(4), question=words))
    assert proposal.kernel is None
    assert "no code block" in proposal.error


def test_the_playbook_answers_a_rival_by_what_it_is_shown(kit: Any) -> None:
    proposer = LlmProposer(kit.TASK, kit.CPU, LlmConfig(name="offline", model="offline/playbook"))
    first = Candidate(kit.PARENT, 0)
    rng = random.Random(0)
    worked = None
    while worked is None or worked.kernel is None:
        request = replace(kit.request(0, seed=rng.randrange(1000)), parents=(first,))
        worked = proposer.propose(request)

    def tell(number: int) -> Told:
        return Told(1.5, feedback(kit.verdict()), 1.5)

    question = next(question for question, _ in asked_by("gepa", tell))
    shown = replace(
        question, user=question.user.replace(kernel(0).source.strip(), worked.kernel.source)
    )
    replies = [
        proposer.propose(replace(kit.request(1, seed=seed), question=shown)).reply
        for seed in range(8)
    ]
    assert any("The parent works at 1.5 times the reference's speed" in r for r in replies)
    assert all("A first attempt" not in reply for reply in replies)
