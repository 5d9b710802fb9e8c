"""Errors that are meant for the person at the terminal."""


class KbexpError(Exception):
    """Something a person can mend; its text is one sentence: what, where, what to do.

    The entry points print the text and exit with `exit_code`, with no traceback.
    """

    exit_code = 2


class ModelUnavailable(KbexpError):
    """No further call to the model can succeed: no key, wrong key, unknown model, server down."""

    exit_code = 3


class EvaluatorUnavailable(KbexpError):
    """No kernel can be judged: no such device, the worker does not start or keeps dying."""

    exit_code = 4


class TaskError(KbexpError):
    """The task itself is at fault: no kernel can be judged on it."""
