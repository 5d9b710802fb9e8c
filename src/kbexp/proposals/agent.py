"""The kernel as a trainable module of Trace: its parameter is the kernel's source text."""

from __future__ import annotations

import threading
from functools import cache
from typing import TYPE_CHECKING, Any

from kbexp.proposals.litellm_setup import import_opto

if TYPE_CHECKING:
    from opto.optimizers.optimizer import Optimizer
    from opto.trace.nodes import MessageNode

# Trace keeps every node it ever made in one global registry, which is neither locked nor emptied.
_REGISTRY = threading.Lock()


class KernelAgent:
    """Holds a kernel's source as a trainable parameter and gives it out to be judged.

    `agent()` returns the node whose `data` is the kernel to judge; `receive` sends what came of
    it back along Trace's graph to the parameter, where an optimizer finds it. Made by
    `new_agent`, which adds Trace's `Module`. One agent serves one request, in one thread.
    """

    def __init__(self, source: str) -> None:
        from opto.trace.nodes import ParameterNode

        with _REGISTRY:
            self.kernel = ParameterNode(
                source,
                name="kernel",
                description="[ParameterNode] The source text of the kernel's module.",
                constraint="a complete Python module that defines the class ModelNew",
            )
            _release(self.kernel, "kernel")

    def forward(self) -> MessageNode[str]:
        """Return the kernel to judge, as a node that remembers where it came from."""
        from opto.trace.nodes import MessageNode

        with _REGISTRY:
            judged = MessageNode(
                self.kernel.data,
                inputs={"source": self.kernel},
                name="judge",
                description="[judge] Builds the kernel, compares its outputs with the reference's "
                "on fresh inputs, and times both in turn.",
            )
            _release(judged, "judge")
        return judged

    def receive(self, judged: MessageNode[str], feedback: str, optimizer: Optimizer) -> None:
        """Send feedback on a judged kernel backward to the parameter."""
        with _REGISTRY:
            optimizer.zero_feedback()
            optimizer.backward(judged, feedback)
            _release_oracles()


@cache
def _agent_class() -> Any:
    import_opto()
    from opto.trace import model

    return model(KernelAgent)


def new_agent(source: str) -> KernelAgent:
    """Return a Trace module around a kernel's source; the first call imports Trace (seconds)."""
    agent: KernelAgent = _agent_class()(source)
    return agent


def _release(node: Any, name: str) -> None:
    """Take a node out of Trace's registry and give it a name that does not count up.

    A run asks thousands of times: the registry would hold every kernel for good, and the counter
    in the names would make two equal questions differ.
    """
    from opto.trace.nodes import GRAPH

    nodes = GRAPH._nodes[node.name.split(":")[0]]
    # By identity: `==` between nodes is traced and makes new ones.
    nodes[:] = [other for other in nodes if other is not node]
    node._name = f"{name}:0"


def _release_oracles() -> None:
    """Take the nodes that stand for the feedback's giver out of the registry."""
    from opto.trace.nodes import GRAPH

    nodes = GRAPH._nodes["str"]
    nodes[:] = [other for other in nodes if other._data != "FEEDBACK_ORACLE"]
