"""A Modal of one's own: the service that the real client and containers talk to, on loopback.

`LocalModal` runs it in a thread of the test's process, `python -m local_modal` in one of its own.
Both start the client's real container entry point as local processes. It serves the calls that the
tests need and notes every other one that comes. What is a guess about the real service says so, in
`faults` above all.

`state` and `world` hold what the service knows; `apps`, `deployed`, `functions`, `objects`, `calls`
and `blobs` serve clients, `containers` serves containers; `scheduler` decides and `launch` does,
with `rooms` for what a container finds and `cell` as the wall around it; `server` opens the
sockets, `control` and `driver` let a test look and order.
"""

from local_modal.driver import Driver, OverHttp
from local_modal.server import LocalModal

__all__ = ["Driver", "LocalModal", "OverHttp"]
