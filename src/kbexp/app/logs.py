"""Where warnings go: to stderr as it is now, which a live view may have taken over."""

from __future__ import annotations

import logging
import sys
from typing import TextIO


class StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to `sys.stderr` as it is when a record comes, not as it was when logging began.

    The live view takes stderr over to print above itself; what passed it by would tear it.
    """

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """The stream of the moment."""
        return sys.stderr
