"""A Modal of one's own: the service that the real client and containers talk to, on loopback.

`LocalModal` runs it in a thread of the test's process, `python -m local_modal` in one of its own.
Both start the client's real container entry point as local processes. Nothing here was told to
imitate more of the service than the tests need; what is a guess about the real one says so.
"""

from local_modal.driver import Driver, OverHttp
from local_modal.server import LocalModal

__all__ = ["Driver", "LocalModal", "OverHttp"]
