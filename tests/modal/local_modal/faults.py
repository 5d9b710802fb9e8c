"""What can be made to go wrong, and how fast the service loses patience.

The table of what the client raises for each is in the docstring of `driver.Driver`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class ImageFailure:
    """How builds of images end: `status` is FAILURE, TERMINATED or TIMEOUT."""

    exception: str
    log: str
    status: str = "FAILURE"


@dataclass
class Faults:
    """Settings of the service, none of them a fault by default."""

    image_failure: ImageFailure | None = None
    refuse_tokens: bool = False
    silent: bool = False  # Takes requests of clients and does not answer them.
    max_blob_bytes: int = 1 << 30
    lost_inputs_fail: bool = False  # A dead container's inputs fail instead of going elsewhere.
    crashes: int = 8  # In a row, of one function of an ephemeral app, that are put up with.
    start_failures: int = 1  # The same for failing imports and `@enter`.
    heartbeat_timeout_s: float = 60.0  # After that long in silence an ephemeral app is ended.
    grace_s: float = 5.0  # From asking a container to end to killing it; 30 on Modal.
    timeout_s: float = 0.0  # In place of the functions' own, where above 0.
    scaledown_s: float = 0.0  # In place of the functions' own window, where above 0.
    max_containers: int = 8  # Of functions that name no maximum.
