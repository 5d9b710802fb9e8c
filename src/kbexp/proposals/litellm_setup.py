"""Importing LiteLLM and Trace: late, once, quietly, and with nothing sent anywhere."""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from types import ModuleType

_LOCK = threading.RLock()
# httpx writes whole addresses, and some providers take the key in the address.
_LOGGERS = (
    "LiteLLM",
    "LiteLLM Proxy",
    "LiteLLM Router",
    "httpx",
    "httpcore",
    "openai",
    "anthropic",
)
_CALLBACKS = (
    "callbacks",
    "input_callback",
    "success_callback",
    "failure_callback",
    "service_callback",
    "_async_input_callback",
    "_async_success_callback",
    "_async_failure_callback",
)
_ready = False


@contextlib.contextmanager
def _kept() -> Iterator[None]:
    """Look for no garbage in what is imported meanwhile, neither now nor at the program's end.

    Modules stay as long as the program does. Looking took 1.5 s of 3.9 s of processor time.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.freeze()
            gc.enable()


def import_litellm() -> ModuleType:
    """Return LiteLLM with its price map read from the package, no callbacks and no log lines."""
    global _ready
    # Otherwise the import asks the network for the price map.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    with _LOCK, _kept():
        # Trace asks `inspect` about each of its operators, which then looks through every module
        # there is: 1 s before LiteLLM has brought its thousands, 13 s after.
        import opto.trace  # noqa: F401  # isort: skip
        import litellm

        if not _ready:
            litellm.suppress_debug_info = True
            litellm.telemetry = False
            litellm.drop_params = True
            # Embeddings take a wish for no retries as none at all, and try again on their own.
            litellm.DEFAULT_MAX_RETRIES = 0
            # A malformed answer is refused where it is read; the terminal need not hear of it.
            warnings.filterwarnings("ignore", message="Pydantic serializer warnings")
            for name in _CALLBACKS:
                setattr(litellm, name, [])
            for logger in _LOGGERS:
                logging.getLogger(logger).setLevel(logging.CRITICAL)
            _ready = True
    module: ModuleType = litellm
    return module


def import_opto() -> None:
    """Import Trace, whose language-model module greets on standard output."""
    with _LOCK, _kept():
        # What takes time is imported first, so that standard output is turned away for a moment.
        import_litellm()
        with contextlib.redirect_stdout(io.StringIO()):
            import opto.utils.llm
        import opto.optimizers
        import opto.trace  # noqa: F401
