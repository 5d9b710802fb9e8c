"""The proposer that a search asks: a request becomes a question, an answer, a proposal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

from kbexp.candidate import Proposal, ProposalRequest, Question
from kbexp.config import LlmConfig, ModelChoice
from kbexp.errors import ModelUnavailable
from kbexp.events import Event
from kbexp.kernel import Kernel
from kbexp.proposals.agent import new_agent
from kbexp.proposals.answer import Answer, extract_kernel
from kbexp.proposals.choice import Chooser
from kbexp.proposals.device import DeviceFacts, allowed_languages
from kbexp.proposals.failures import CallFailed
from kbexp.proposals.llm import Llm, Session
from kbexp.proposals.model_settings import left_out, plays
from kbexp.proposals.models import models_of
from kbexp.proposals.optimizer import check_optimizer, new_optimizer
from kbexp.proposals.prompt import Prompt, context, prompt
from kbexp.proposals.texts import Texts
from kbexp.score import score_for
from kbexp.task import Task
from kbexp.verdict import Verdict

MAX_STORED_REPLY_BYTES = 256 * 1024

NO_ENTRY = (
    "The playbook has no entry for this task: its kernels are the reference with few changes, such "
    "as another number of threads."
)


class LlmProposer:
    """Improves kernels with a Trace optimizer and one or several models behind LiteLLM.

    Shared by all threads: every request gets an agent, an optimizer and a session of its own.
    `score` is what the search maximises; with `by_steps` the choice among several models knows of
    finished steps only. `notes` say in a sentence each which settings were left out, and, once
    something was asked, that the playbook does not know the task.
    Raises KbexpError for settings that cannot work and ModelUnavailable for a key that is named
    and not there, before anything is asked.
    """

    def __init__(
        self,
        task: Task,
        device_facts: DeviceFacts,
        config: LlmConfig,
        *,
        score: Callable[[Verdict], float] | None = None,
        by_steps: bool = True,
    ) -> None:
        check_optimizer(config.optimizer)
        languages = allowed_languages(config.language, device_facts)
        self._config = config
        self._context = context(task, device_facts, languages, Texts(config.prompt_dir))
        models = models_of(config)
        self._llms = {model.name: open_llm(model.config) for model in models}
        self._chooser = Chooser(
            models,
            score or score_for("speedup"),
            bandit=config.choice is ModelChoice.bandit,
            by_steps=by_steps,
        )
        self._gone: dict[str, ModelUnavailable] = {}
        self.notes = [note for model in models for note in left_out(model.config)]
        unknown = any(plays(model.config) and not knows(task) for model in models)
        self._unsaid = [NO_ENTRY] if unknown else []

    @property
    def llm(self) -> Llm:
        """The first of the models."""
        return next(iter(self._llms.values()))

    def apply(self, event: Event) -> None:
        """Take in an event of the run, in order: what proposals brought may decide whom to ask."""
        self._chooser.apply(event)

    def propose(self, request: ProposalRequest) -> Proposal:
        """Ask once; a failed call or an unusable answer is a proposal with an `error`.

        Raises ModelUnavailable where no further call to any of the models can succeed.
        """
        with contextlib.suppress(IndexError):  # Of several threads one says it.
            self.notes.append(self._unsaid.pop())
        name = self._chosen(request)
        llm = self._llms[name]
        session = llm.session(request.seed)
        started = time.monotonic()
        try:
            if request.question is not None:
                answer = self._ask_as_it_stands(request.question, session)
            else:
                question = prompt(self._context, request)
                answer = self._ask(request.parents[0].kernel.source, question, session)
        except CallFailed as failed:
            answer = Answer(None, str(failed))
        except ModelUnavailable as unavailable:
            answer = Answer(None, self._without(name, unavailable))
        return Proposal(
            number=request.number,
            parents=tuple(parent.kernel.id for parent in request.parents),
            kernel=None if answer.source is None else Kernel(answer.source),
            error="" if answer.source is not None else _explained(answer, session, llm.config),
            reply=_bounded(session.reply),
            model=name,
            usage=replace(session.usage, latency_s=time.monotonic() - started),
        )

    def _chosen(self, request: ProposalRequest) -> str:
        """Return the model for a request; the next one in order where that one is gone."""
        name = self._chooser.choose(request.number, request.seed)
        left = [other for other in self._llms if other not in self._gone]
        if not left:
            raise next(iter(self._gone.values()))
        return name if name in left else left[0]

    def _without(self, name: str, error: ModelUnavailable) -> str:
        """Go on with the other models and say so; raises the error where none is left."""
        self._gone[name] = error
        if len(self._gone) == len(self._llms):
            raise error
        return f"{error} The run goes on with its other models."

    def _ask_as_it_stands(self, question: Question, session: Session) -> Answer:
        """Ask a search method's own question, after what every question of the run begins with."""
        system = f"{self._context}\n\n{question.system}".rstrip()
        session(
            messages=[
                {"role": "system", "content": system},
                {"role": "user", "content": question.user},
            ]
        )
        return extract_kernel(session.reply, truncated=session.truncated)

    def _ask(self, source: str, question: Prompt, session: Session) -> Answer:
        """Forward gives the kernel, feedback goes backward, the optimizer proposes."""
        agent = new_agent(source)
        optimizer = new_optimizer(self._config.optimizer, agent, session, question)
        judged = agent.forward()
        agent.receive(judged, question.feedback, optimizer)
        suggested = optimizer.propose()
        answer: Answer = optimizer.answer
        return replace(answer, source=suggested.get(agent.kernel))


def _explained(answer: Answer, session: Session, config: LlmConfig) -> str:
    if session.truncated and session.reply:
        return f"{answer.error} Raise llm.max_tokens={config.max_tokens}."
    return answer.error


def open_llm(config: LlmConfig) -> Llm:
    """Return a model by its settings; `offline` registers its provider with LiteLLM first."""
    if plays(config):
        from kbexp.proposals.litellm_setup import import_litellm
        from kbexp.proposals.offline import register

        import_litellm()
        register()
    return Llm(config)


def knows(task: Task) -> bool:
    """True where the playbook has an entry for a task."""
    from kbexp.proposals.offline.recognise import recognise

    return recognise(task.name, task.source) is not None


def _bounded(reply: str) -> str:
    """Return at most so many bytes of a reply, as text that can be written as UTF-8."""
    data = reply.encode("utf-8", "replace")
    if len(data) <= MAX_STORED_REPLY_BYTES:
        return data.decode("utf-8")
    kept = data[:MAX_STORED_REPLY_BYTES].decode("utf-8", "ignore")
    return f"{kept}\n[cut off here: {len(data)} bytes in all]"
