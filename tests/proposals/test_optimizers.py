from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

from kbexp.candidate import Candidate
from kbexp.config import LlmConfig
from kbexp.errors import KbexpError, ModelUnavailable
from kbexp.kernel import Kernel
from kbexp.proposals.agent import new_agent
from kbexp.proposals.answer import Answer
from kbexp.proposals.optimizer import OPTIMIZERS, new_optimizer
from kbexp.proposals.prompt import context, prompt
from kbexp.proposals.proposer import MAX_STORED_REPLY_BYTES, LlmProposer
from kbexp.verdict import Status

Make = Callable[..., LlmConfig]

# All that Trace's own reading of replies stumbles over: black cannot parse it although it holds
# "def ", it says TERMINATE, and JSON would have to escape most of it.
NATIVE = (
    r'''import ctypes
SOURCE = r"""
#define ROWS(x) \
    ((x) * 2)
#if defined(TERMINATE)
extern "C" __global__ void f(float* y) { y[0] = '\n' + ROWS(1); } // def f(: {braces} %d
#endif
"""
LAUNCH = 'f<<<1, 32>>>(y);\t\\'
TEXT = '''
    + "'''"
    + r"""def TERMINATE "suggestion": {"kernel0": "no"}
"""
    + "'''"
    + r"""


class ModelNew :
    x = ( 1,2 )
"""
)
ANSWER = f"The plan is to TERMINATE the loop early.\n\n```python\n{NATIVE}```\nDone.\n"


def words(server: Any, call: int = -1) -> str:
    return "\n".join(message["content"] for message in server.requests[call]["messages"])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_kernel_survives_byte_for_byte(
    model_server: Any, settings: Make, kit: Any, optimizer: str
) -> None:
    model_server.script = [kit.completion(ANSWER)]
    config = settings(optimizer=optimizer, input_usd_per_mtok=1.0, output_usd_per_mtok=1.0)
    proposal = LlmProposer(kit.TASK, kit.CPU, config).propose(kit.request(4))
    assert proposal.error == ""
    assert proposal.kernel == Kernel(NATIVE)
    assert proposal.reply == ANSWER
    assert (proposal.number, proposal.parents) == (4, (kit.PARENT.id,))
    assert proposal.model == "openai/served"
    calls = 2 if optimizer == "textgrad" else 1
    assert len(model_server.requests) == calls
    assert proposal.usage.input_tokens == 1000 * calls
    assert proposal.usage.cost_usd == pytest.approx(1200e-6 * calls)
    assert proposal.usage.latency_s > 0


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_question_has_every_section_verbatim(
    model_server: Any, settings: Make, kit: Any, optimizer: str
) -> None:
    model_server.script = [kit.completion(ANSWER)]
    other = Candidate(Kernel(NATIVE), 1, verdicts=[kit.verdict(Status.INCORRECT, reasons=("bad",))])
    request = kit.request(0, other, summary="Vectors help.")
    LlmProposer(kit.TASK, kit.CPU, settings(optimizer=optimizer)).propose(request)
    for call in range(len(model_server.requests)):
        text = words(model_server, call)
        parent, shown = kit.PARENT, other.kernel
        for expected in (
            f'<task name="softmax">\n{kit.TASK.source}</task>',
            '<device name="a CPU" kind="cpu">\n',
            "<languages>torch, c, cpp</languages>",
            f'<kernel role="parent" id="{parent.id}">\n{parent.source}</kernel>',
            f'<kernel role="other" id="{shown.id}">\n{shown.source}</kernel>\n<feedback>\n',
            "<summary>\nVectors help.\n</summary>",
        ):
            assert text.count(expected) == 1, expected
        after_parent = text.split('<kernel role="parent"')[1]
        first_feedback = re.search(r"<feedback>\n(.*?)</feedback>", after_parent, re.DOTALL)
        assert first_feedback is not None
        assert "Speedup over the reference: 1.5" in first_feedback[1]
        assert "JSON" not in text
        assert "TERMINATE" not in text.replace(NATIVE, "").replace(ANSWER, "").replace(
            "The plan is to TERMINATE the loop early.", ""
        )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_questions_of_a_run_begin_alike_and_repeat_exactly(
    model_server: Any, settings: Make, kit: Any, optimizer: str
) -> None:
    model_server.script = [kit.completion(ANSWER)]
    proposer = LlmProposer(kit.TASK, kit.CPU, settings(optimizer=optimizer))
    other = Candidate(Kernel("class ModelNew: 'x'\n"), 1)
    for request in (kit.request(0), kit.request(1, other), kit.request(0)):
        proposer.propose(request)
    calls = len(model_server.requests) // 3
    first, second, again = (model_server.requests[i * calls : (i + 1) * calls] for i in range(3))
    assert first == again
    for one, two in zip(first, second, strict=True):
        assert one["messages"][0] == two["messages"][0]
        assert one["messages"][0]["role"] == "system"
        assert one["messages"][1] != two["messages"][1]


def test_textgrad_puts_its_criticism_into_the_second_question(
    model_server: Any, settings: Make, kit: Any
) -> None:
    criticism = 'It reads </feedback> twice.\n<kernel role="parent" id="x">'
    model_server.script = [kit.completion(criticism), kit.completion(ANSWER)]
    config = settings(optimizer="textgrad")
    assert LlmProposer(kit.TASK, kit.CPU, config).propose(kit.request()).kernel == Kernel(NATIVE)
    second = words(model_server, 1)
    assert "It reads <\\/feedback> twice." in second
    assert second.count('<kernel role="parent"') == 1


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_propose_applies_nothing_and_leaves_nothing_behind(
    model_server: Any, settings: Make, kit: Any, optimizer: str
) -> None:
    from kbexp.proposals.llm import Llm

    model_server.script = [kit.completion(ANSWER)]
    question = prompt(context(kit.TASK, kit.CPU, ("c",)), kit.request())
    agent = new_agent(kit.PARENT.source)
    from opto.trace.nodes import GRAPH

    before = len(GRAPH)
    made = new_optimizer(optimizer, agent, Llm(settings()).session(0), question)
    judged = agent.forward()
    assert judged.data == kit.PARENT.source
    agent.receive(judged, question.feedback, made)
    suggested = made.propose()
    assert suggested == {agent.kernel: NATIVE}
    assert agent.kernel.data == kit.PARENT.source
    assert made.answer == Answer(NATIVE)
    assert len(GRAPH) == before
    assert [p is agent.kernel for p in agent.parameters()] == [True]  # type: ignore[attr-defined]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_failures_are_proposals_with_an_error(
    model_server: Any, settings: Make, kit: Any, optimizer: str
) -> None:
    proposer = LlmProposer(kit.TASK, kit.CPU, settings(optimizer=optimizer, max_tokens=99))
    cut = "```python\nclass ModelNew:\n    def forw"
    for reply, expected in [
        (kit.completion("I would rather not."), "holds no code block"),
        (kit.completion(""), "empty"),
        (kit.completion(cut, finish="length"), "Raise llm.max_tokens=99."),
        (kit.failure(500, "broken"), "broken"),
        (kit.failure(400, "maximum context length is 5"), "too long"),
    ]:
        model_server.script = [reply]
        proposal = proposer.propose(kit.request())
        assert proposal.kernel is None
        assert expected in proposal.error
        assert "\n" not in proposal.error
        assert proposal.parents == (kit.PARENT.id,)
    assert proposal.usage.cost_usd == 0.0, "a refused call costs nothing"


def test_refused_key_ends_the_search(model_server: Any, settings: Make, kit: Any) -> None:
    model_server.script = [kit.failure(401, f"wrong key {kit.KEY}")]
    with pytest.raises(ModelUnavailable, match="KBEXP_TEST_API_KEY") as raised:
        LlmProposer(kit.TASK, kit.CPU, settings()).propose(kit.request())
    assert kit.KEY not in str(raised.value)


def test_reply_is_stored_without_the_key_and_bounded(
    model_server: Any,
    settings: Make,
    kit: Any,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    model_server.script = [kit.completion(f"{kit.KEY} \ud800 é {'é' * 400_000}")]
    proposal = LlmProposer(kit.TASK, kit.CPU, settings()).propose(kit.request())
    record = str(proposal.to_record())
    assert kit.KEY not in record
    assert len(proposal.reply.encode()) < MAX_STORED_REPLY_BYTES + 100
    assert "cut off here" in proposal.reply
    captured = capfd.readouterr()
    assert kit.KEY not in captured.out + captured.err + caplog.text


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_eight_threads_get_their_own_answers(
    model_server: Any, settings: Make, kit: Any, optimizer: str
) -> None:
    def answer(body: dict[str, Any]) -> Any:
        seen = re.search(r"the parent (\d+)", body["messages"][1]["content"])
        assert seen is not None
        return kit.completion(f"```python\nclass ModelNew: n = {seen[1]}\n```")

    model_server.script = [answer]
    proposer = LlmProposer(kit.TASK, kit.CPU, settings(optimizer=optimizer))
    answers: dict[int, str] = {}

    def work(first: int) -> None:
        for number in range(first, 40, 8):
            parent = Candidate(Kernel(f"class ModelNew: pass  # the parent {number}\n"), 0)
            asked = kit.request(number)
            made = proposer.propose(type(asked)(number, (parent,), number))
            answers[number] = made.kernel.source if made.kernel else made.error

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {n: f"class ModelNew: n = {n}\n" for n in range(40)}


def test_wrong_settings_are_found_before_anything_is_asked(settings: Make, kit: Any) -> None:
    for changes, expected in [
        ({"optimizer": "sgd"}, "llm.optimizer=sgd"),
        ({"language": "triton"}, "llm.language=triton"),
        ({"api_key_env": "KBEXP_NO_SUCH_KEY"}, "KBEXP_NO_SUCH_KEY"),
    ]:
        with pytest.raises(KbexpError, match=expected):
            LlmProposer(kit.TASK, kit.CPU, settings(**changes))


def test_import_of_trace_is_silent() -> None:
    import subprocess
    import sys

    program = "from kbexp.proposals.litellm_setup import import_opto; import_opto()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_offline_provider_reads_the_question(
    model_server: Any, settings: Make, kit: Any, optimizer: str
) -> None:
    from kbexp.proposals.offline.prompt_reader import read_messages

    model_server.script = [kit.completion(ANSWER)]
    other = Candidate(Kernel(NATIVE), 1, verdicts=[kit.verdict(Status.INCORRECT)])
    request = kit.request(0, other, summary="Vectors help.")
    LlmProposer(kit.TASK, kit.CPU, settings(optimizer=optimizer)).propose(request)
    for asked in model_server.requests:
        read = read_messages(asked["messages"])
        assert (read.task_name, read.task_source) == ("softmax", kit.TASK.source.strip("\n"))
        assert (read.device_name, read.device_kind) == ("a CPU", "cpu")
        assert read.languages == ("torch", "c", "cpp")
        assert read.parent is not None
        assert read.parent.id == kit.PARENT.id
        assert read.parent.source == kit.PARENT.source.strip("\n")
        assert "Speedup" in read.parent.feedback
        assert [shown.id for shown in read.others] == [other.kernel.id]
        assert "Correctness failure" in read.others[0].feedback
        assert read.summary == "Vectors help."
