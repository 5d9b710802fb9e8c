"""The proposer that a search asks: a request becomes a question, an answer, a proposal."""

from __future__ import annotations

import time
from dataclasses import replace

from kbexp.candidate import Proposal, ProposalRequest
from kbexp.config import LlmConfig
from kbexp.kernel import Kernel
from kbexp.proposals.agent import new_agent
from kbexp.proposals.answer import Answer
from kbexp.proposals.device import DeviceFacts, allowed_languages
from kbexp.proposals.failures import CallFailed
from kbexp.proposals.llm import Llm, Session
from kbexp.proposals.optimizer import check_optimizer, new_optimizer
from kbexp.proposals.prompt import Prompt, context, prompt
from kbexp.task import Task

MAX_STORED_REPLY_BYTES = 256 * 1024


class LlmProposer:
    """Improves kernels with a Trace optimizer and a model behind LiteLLM.

    Shared by all threads: every request gets an agent, an optimizer and a session of its own.
    Raises KbexpError for settings that cannot work and ModelUnavailable for a key that is named
    and not there, before anything is asked.
    """

    def __init__(self, task: Task, device_facts: DeviceFacts, config: LlmConfig) -> None:
        check_optimizer(config.optimizer)
        languages = allowed_languages(config.language, device_facts)
        self._config = config
        self._context = context(task, device_facts, languages)
        self.llm = open_llm(config)

    def propose(self, request: ProposalRequest) -> Proposal:
        """Ask once; a failed call or an unusable answer is a proposal with an `error`.

        Raises ModelUnavailable where no further call can succeed.
        """
        question = prompt(self._context, request)
        session = self.llm.session(request.seed)
        started = time.monotonic()
        try:
            answer = self._ask(request.parents[0].kernel.source, question, session)
        except CallFailed as failed:
            answer = Answer(None, str(failed))
        return Proposal(
            number=request.number,
            parents=tuple(parent.kernel.id for parent in request.parents),
            kernel=None if answer.source is None else Kernel(answer.source),
            error="" if answer.source is not None else self._explained(answer, session),
            reply=_bounded(session.reply),
            model=self._config.model,
            usage=replace(session.usage, latency_s=time.monotonic() - started),
        )

    def _ask(self, source: str, question: Prompt, session: Session) -> Answer:
        """Forward gives the kernel, feedback goes backward, the optimizer proposes."""
        agent = new_agent(source)
        optimizer = new_optimizer(self._config.optimizer, agent, session, question)
        judged = agent.forward()
        agent.receive(judged, question.feedback, optimizer)
        suggested = optimizer.propose()
        answer: Answer = optimizer.answer
        return replace(answer, source=suggested.get(agent.kernel))

    def _explained(self, answer: Answer, session: Session) -> str:
        if session.truncated and session.reply:
            return f"{answer.error} Raise llm.max_tokens={self._config.max_tokens}."
        return answer.error


def open_llm(config: LlmConfig) -> Llm:
    """Return a model by its settings; `offline` registers its provider with LiteLLM first."""
    if config.model.startswith("offline/"):
        from kbexp.proposals.litellm_setup import import_litellm
        from kbexp.proposals.offline import register

        import_litellm()
        register()
    return Llm(config)


def _bounded(reply: str) -> str:
    """Return at most so many bytes of a reply, as text that can be written as UTF-8."""
    data = reply.encode("utf-8", "replace")
    if len(data) <= MAX_STORED_REPLY_BYTES:
        return data.decode("utf-8")
    kept = data[:MAX_STORED_REPLY_BYTES].decode("utf-8", "ignore")
    return f"{kept}\n[cut off here: {len(data)} bytes in all]"
