"""Trace's optimizers, adapted so that a kernel survives the way to the model and back.

As they come, they want the new value inside a JSON object, drop a value that looks like Python and
does not parse as such (CUDA with `#define`), throw a reply away that contains the word TERMINATE,
ask twice where a call fails, and number their variables from a global count. Here the answer is
one fenced block that is taken as it stands, and a call that fails, fails once.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from kbexp.errors import KbexpError
from kbexp.proposals.agent import KernelAgent
from kbexp.proposals.answer import Answer, extract_kernel
from kbexp.proposals.litellm_setup import import_opto
from kbexp.proposals.prompt import Prompt, section, without_tags

if TYPE_CHECKING:
    from kbexp.proposals.llm import Session

OPTIMIZERS = ("optoprime", "opro", "textgrad")

_MAX_CRITICISM_CHARS = 16_000

_OBJECTIVE = (
    "Change the kernel in #Variables so that, in accordance with #Feedback, it is correct and "
    "faster than it is now."
)
_REPRESENTATION = """\
A problem has these parts:
- #Instruction: what is to be done.
- #Code: how the variable is used.
- #Documentation: what the functions in #Code do.
- #Variables: the variable that you can change, its value between kernel tags.
- #Constraints: what the variable must be.
- #Feedback: what came of judging it, between feedback tags.
- #Others: other kernels that were judged, each with its feedback, and a summary of what was \
learned so far, where there are any."""


class KernelQuestion:
    """What the adapted optimizers share; mixed in before one of Trace's optimizers.

    `ask` writes the question, calls the model and returns {parameter: new source}, or {} where
    the answer held no kernel; nothing is applied. `answer` says what came of the last call.
    """

    parameters: list[Any]
    llm: Session
    objective: str
    question: Prompt
    answer: Answer = Answer(None, "Nothing was asked.")

    def call_llm(
        self,
        system_prompt: str,
        user_prompt: str,
        verbose: bool | str = False,
        max_tokens: int | None = None,
    ) -> str:
        """Call once, with no wish for JSON, and return the reply as it came."""
        response = self.llm(
            messages=[
                {"role": "system", "content": system_prompt},
                {"role": "user", "content": user_prompt},
            ]
        )
        return str(response.choices[0].message.content or "")

    def extract_llm_suggestion(self, response: str) -> dict[str, str]:
        """Return {variable: source} from the reply's fenced block, byte for byte."""
        self.answer = extract_kernel(response, truncated=self.llm.truncated)
        if self.answer.source is None:
            return {}
        return {self.parameters[0].py_name: self.answer.source}

    def construct_update_dict(self, suggestion: dict[str, str]) -> dict[Any, str]:
        """Return {parameter: source} with nothing reformatted."""
        return {
            node: suggestion[node.py_name]
            for node in self.parameters
            if node.trainable and node.py_name in suggestion
        }

    def _learned(self) -> str:
        """The other candidates and the summary."""
        return "\n\n".join(part for part in (*self.question.others, self.question.summary) if part)


class OptoPrimeQuestion(KernelQuestion):
    """OptoPrime: the graph, the variable and the feedback on it, as a problem to be solved."""

    def _step(
        self, verbose: bool = False, mask: Any = None, *args: Any, **kwargs: Any
    ) -> dict[Any, str]:
        system, user = self.construct_prompt(self.summarize(), mask=mask)  # type: ignore[attr-defined]
        return self.construct_update_dict(self.extract_llm_suggestion(self.call_llm(system, user)))

    def construct_prompt(
        self, summary: Any, mask: Any = None, *args: Any, **kwargs: Any
    ) -> tuple[str, str]:
        """Write the question from what came back along the graph."""
        node = self.parameters[0]
        problem = self.problem_instance(summary, mask=mask)  # type: ignore[attr-defined]
        learned = self._learned()
        parts = [
            f"#Instruction\n{self.objective}",
            f"#Code\n{problem.code}",
            f"#Documentation\n{problem.documentation}",
            f"#Variables\n(str) {node.py_name}=\n{self.question.parent}",
            f"#Constraints\n{problem.constraints}",
            f"#Feedback\n{section('feedback', str(summary.user_feedback))}",
            f"#Others\n{learned}" if learned else "",
            f"Your response, with the new value of {node.py_name} in a fenced block:",
        ]
        system = f"{self.question.context}\n\n{_REPRESENTATION}"
        return system, "\n\n".join(part for part in parts if part)


class OproQuestion(OptoPrimeQuestion):
    """OPRO: kernels and their feedback as examples, and the wish for a better one."""

    def construct_prompt(
        self, summary: Any, mask: Any = None, *args: Any, **kwargs: Any
    ) -> tuple[str, str]:
        """Write the examples, the kernel to improve first."""
        parts = [
            "Below are kernels for the task and what came of judging them.",
            self.question.parent,
            section("feedback", str(summary.user_feedback)),
            *self.question.others,
            self.question.summary,
            "Come up with a new kernel that is correct and faster than all of these, in "
            "accordance with the feedback, and give it in a fenced block.",
        ]
        return self.question.context, "\n\n".join(part for part in parts if part)


class TextGradQuestion(KernelQuestion):
    """TextGrad: one call criticises the kernel, a second one improves it by that criticism."""

    def _step(self, verbose: bool = False) -> dict[Any, str]:
        from opto.optimizers.textgrad import GradientInfo

        graph = self.trace_graph  # type: ignore[attr-defined]
        node, judged = self.parameters[0], graph.graph[-1][1]
        given = GradientInfo(str(graph.user_feedback), None)
        gradients = self._grad(judged, [node], given)  # type: ignore[attr-defined]
        question = self._update_prompt(given.gradient, [g.gradient for g in gradients])
        reply = self.call_llm(self.question.context, question)
        return self.construct_update_dict(self.extract_llm_suggestion(reply))

    def _construct_chain_backward_prompt(self, backward_info: dict[str, Any]) -> str:
        """Ask for criticism; called by TextGrad's own step backward along the graph."""
        return self._sections(
            backward_info["response_gradient"].gradient,
            "Criticise the kernel above: what keeps it from being correct, or what it does more "
            "of than it must, and which changes would help most, with their reasons. Be concrete "
            "and short. Only strategies and explanations are wanted now; the new kernel is "
            "written in a second step.",
        )

    def _update_prompt(self, given: str, criticisms: list[str]) -> str:
        """Ask for the new kernel by the feedback and the criticism of it."""
        criticism = without_tags("\n\n".join(criticisms)[:_MAX_CRITICISM_CHARS])
        return self._sections(
            given,
            f"Criticism of the kernel to improve:\n{criticism}\n\n"
            "Improve the kernel by the feedback and the criticism, and give the whole new kernel "
            "in a fenced block.",
        )

    def call_llm(
        self,
        system_prompt: str,
        user_prompt: str,
        verbose: bool | str = False,
        max_tokens: int | None = None,
    ) -> str:
        """Call once; both questions begin with the context alone, so that one finds it cached."""
        if system_prompt != self.question.context:
            user_prompt = f"{system_prompt}\n\n{user_prompt}"
        return super().call_llm(self.question.context, user_prompt)

    def _sections(self, given: str, request: str) -> str:
        parts = [self.question.parent, section("feedback", given), self._learned(), request]
        return "\n\n".join(part for part in parts if part)


@cache
def _classes() -> dict[str, Any]:
    """Mix the questions into Trace's optimizers; the first call imports Trace."""
    import_opto()
    from opto.optimizers import OPRO, OptoPrime, TextGrad

    return {
        "optoprime": type("KernelOptoPrime", (OptoPrimeQuestion, OptoPrime), {}),
        "opro": type("KernelOpro", (OproQuestion, OPRO), {}),
        "textgrad": type("KernelTextGrad", (TextGradQuestion, TextGrad), {}),
    }


def new_optimizer(name: str, agent: KernelAgent, llm: Session, question: Prompt) -> Any:
    """Return a Trace optimizer of an agent's parameter, for one request in one thread.

    Its `propose()` returns {parameter: new source} and applies nothing; its `answer` says why
    there is none. Raises KbexpError for a name that is not in `OPTIMIZERS`.
    """
    check_optimizer(name)
    optimizer = _classes()[name]([agent.kernel], llm=llm, objective=_OBJECTIVE, log=False)
    optimizer.question = question
    return optimizer


def check_optimizer(name: str) -> None:
    """Raise KbexpError where there is no such optimizer."""
    if name not in OPTIMIZERS:
        raise KbexpError(f"llm.optimizer={name} is not known: use {', '.join(OPTIMIZERS)}.")
