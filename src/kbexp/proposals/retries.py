"""Trying a call again where that can help, and giving it up where it cannot."""

from __future__ import annotations

import contextvars
import random
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from kbexp.config import LlmConfig
from kbexp.errors import ModelUnavailable
from kbexp.proposals.failures import CallFailed, Failure, Remedy, classify

T = TypeVar("T")


class _Failed(Exception):
    """Carries a failure through tenacity."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.sentence)
        self.failure = failure


def with_retries(
    call: Callable[[], T], config: LlmConfig, rng: random.Random, key: str | None
) -> T:
    """Return what a call of LiteLLM's returns, trying again as the settings say.

    `rng` draws the waits; `key` is the key that the configuration names, so that no error shows it.
    Raises CallFailed where this call brought nothing, ModelUnavailable where none can.
    """
    import tenacity

    def attempt() -> T:
        try:
            return call()
        except Exception as error:
            failure = classify(error, config, key)
        # Outside of the handler: the original error, which may hold the key, is not kept.
        raise _Failed(failure)

    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(max(0, config.max_retries) + 1),
        retry=tenacity.retry_if_exception(_can_retry),
        wait=lambda state: wait_s(state, config, rng),
        reraise=True,
    )
    try:
        return retrying(attempt)
    except _Failed as failed:
        failure = failed.failure
    remedy = failure.remedy if failure.remedy is not Remedy.RETRY else failure.after_retries
    if remedy is Remedy.GIVE_UP_MODEL:
        raise ModelUnavailable(failure.sentence)
    raise CallFailed(failure.sentence)


def wait_s(state: Any, config: LlmConfig, rng: random.Random) -> float:
    """Return the wait before the next attempt: what the server asks for, else doubling.

    The jitter keeps threads that failed together from coming back together.
    """
    failure: Failure = state.outcome.exception().failure
    if failure.retry_after_s is not None:
        return failure.retry_after_s * (1.0 + 0.1 * rng.random())
    doubled_s = config.retry_initial_s * 2.0 ** (state.attempt_number - 1)
    return float(min(doubled_s, config.retry_max_s) * rng.uniform(0.5, 1.0))


def _can_retry(error: BaseException) -> bool:
    return isinstance(error, _Failed) and error.failure.remedy is Remedy.RETRY


def within(timeout_s: float, call: Callable[[], T]) -> T:
    """Return what a call returns; raise TimeoutError where it takes longer than it may.

    The client's own timeout starts anew with every byte, so a server that drips could hold a run
    for ever. Some grace lets the client's better-worded timeout come first.
    """
    results: list[T] = []
    errors: list[BaseException] = []
    scope = contextvars.copy_context()

    def run() -> None:
        try:
            results.append(scope.run(call))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="kbexp-llm-call", daemon=True)
    thread.start()
    thread.join(timeout_s + min(5.0, timeout_s))
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"no whole answer within {timeout_s:g} s")
    return results[0]
