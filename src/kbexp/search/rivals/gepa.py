"""GEPA's `optimize_anything` (https://github.com/gepa-ai/gepa), on a thread of this process.

A search for a single text: GEPA reflects on the feedback of one candidate of its frontier, takes a
new text from the answer, and keeps it where it scores higher.
"""

from __future__ import annotations

import logging
from typing import Any

from kbexp.search.rivals.catalog import Settings
from kbexp.search.rivals.talk import Closed, Talk

log = logging.getLogger(__name__)

OBJECTIVE = "A kernel that computes what the task does and is as fast as possible on the device."
BACKGROUND = (
    "The rules for kernels, the task, the languages that may be used and the facts of the device "
    "stand at the beginning of this conversation."
)
"""Our own text, which every algorithm's questions begin with, is put before GEPA's prompt."""


class _Log:
    """Takes GEPA's lines, which would else be printed."""

    def log(self, message: str) -> None:
        log.debug("%s", message)


def play(talk: Talk, settings: Settings) -> None:
    """Search until the talk is closed; raises whatever GEPA itself fails with."""
    from gepa.optimize_anything import (
        EngineConfig,
        GEPAConfig,
        ReflectionConfig,
        TrackingConfig,
        optimize_anything,
    )

    def model(prompt: str | list[dict[str, Any]]) -> str:
        # GEPA takes what stands between the first and the last fence.
        return f"```python\n{talk.ask('', _text(prompt))}\n```"

    def evaluator(candidate: str, **_: Any) -> tuple[float, dict[str, Any]]:
        told = talk.judge(candidate)
        return told.score, {"Feedback": told.feedback}

    config = GEPAConfig(
        engine=EngineConfig(
            seed=settings.seed,
            # One question at a time and a verdict for every text: the run can be repeated.
            parallel=False,
            max_workers=1,
            cache_evaluation=True,
            cache_evaluation_storage="memory",
            # Skips an iteration whose call failed, as a search of ours does.
            raise_on_exception=False,
            # Nothing here is pickled.
            use_cloudpickle=False,
            track_best_outputs=False,
        ),
        reflection=ReflectionConfig(reflection_lm=model),
        tracking=TrackingConfig(logger=_Log()),
        merge=None,
        refiner=None,
        # GEPA swallows what a model or an evaluator raises: this alone ends it.
        stop_callbacks=lambda _: talk.closed,
    )
    optimize_anything(
        settings.first,
        evaluator=evaluator,
        objective=OBJECTIVE,
        background=BACKGROUND,
        config=config,
    )
    if talk.closed:
        raise Closed


def _text(prompt: str | list[dict[str, Any]]) -> str:
    """Return a prompt as one text; GEPA may give it as messages."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(str(message.get("content", "")) for message in prompt)
