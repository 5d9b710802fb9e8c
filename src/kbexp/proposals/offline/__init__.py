"""The offline provider: answers LiteLLM calls from a playbook, with no network and no model.

It is no language model. It draws a known implementation of the task, sets its numbers at random
or near those of the parent, and now and then makes a mistake, as a model would. With it every
part of a search runs anywhere, at no cost, and the same seed gives the same run.
"""

from __future__ import annotations

MODEL = "offline/playbook"
"""The model's name, as LiteLLM is asked for it."""


def register() -> None:
    """Put the provider into LiteLLM's map of custom providers; a second call changes nothing."""
    from kbexp.proposals.offline import provider

    provider.register(MODEL)


__all__ = ["MODEL", "register"]
