"""What can be made to go wrong, and what the client then raises.

Exceptions are of `modal.exception` where nothing else is said. (D): the service does so by its own
guide. (G): that the real service does this, or words it so, is a guess. The rest follows from the
client's code, or is said by the client alone.

Before anything runs
  token not valid: `refuse_tokens`: AuthError, "Token ID or secret is not valid" (G), at once.
  no token; MODAL_PROFILE names no profile: AuthError by the client alone, at once.
  nobody listens: `listening(False)`: ConnectionError; after about a minute ("Could not connect to
    the Modal server.") at a process's first call, after 0.7 s once it was connected.
  no answer: `silent`: nothing is raised, most calls wait for ever; all are answered afterwards.
  image does not build: `fail_images(text)`: ImageBuildError (a RemoteError), "Image build for im-…
    failed with the exception:" and the text; with no text, where to read the log. The log itself
    goes to `enable_output`. `status="TIMEOUT"` and `"TERMINATED"` have sentences of their own.
  import or `@enter` fails: the exception itself, once `start_failures` containers more than one
    have failed so (D); in a deployed app never, new ones are started ever slower (D).

While an input is in work
  container crashes: `kill`: nothing is raised, the input begins again (D).
  containers keep crashing: more than `crashes` in a row: RemoteError, "Containers keep crashing:
    exit code 137" (D, wording G); in a deployed app never (D).
  out of memory: `run_out_of_memory`: a crash with exit code 137 (D); more than `crashes` in a row:
    RemoteError, "Container ran out of memory and was killed" (wording G).
  crash loses the input: `lost_inputs_fail`: InternalFailure, "Input in-… was lost with its
    container" (G). With `retries`, a client that waits asks again.
  preemption: `preempt`: nothing is raised; KeyboardInterrupt in the container, `@exit` runs,
    SIGKILL after `grace_s`; the input begins again on another one (D).
  function timeout: `timeout=` of the class or `timeout_s`: FunctionTimeoutError (a TimeoutError of
    Modal's, not Python's), "Task's current input in-… hit its timeout of 0.3s". In the container
    InputCancellation; it lives on if it lets go, else SIGINT and SIGKILL, `grace_s` apart.
  app stopped from outside, or its client not heard of: `stop_app`, `heartbeat_timeout_s`:
    RemoteError, "App ap-… is stopped: …" (G); for calls made after that ConflictError (an
    InvalidError), "App ap-… is stopped" (G). Containers: KeyboardInterrupt or, idle, `@exit`.
  call cancelled: `FunctionCall.cancel`: RemoteError with no text, or "The call was cancelled".

  no access to Modal: `refuse_untrusted`, for functions with `restrict_modal_access`:
    PermissionDeniedError in the container for whatever is no part of answering inputs (G).

Inputs and outputs
  waiting was too short: `get(timeout=)`: Python's TimeoutError, with no text.
  output expired: `expire_outputs`: OutputExpiredError (a TimeoutError of Modal's), with no text,
    when the timeout of `get` is over; without a timeout `get` waits for ever.
  call forgotten: `forget_calls`: NotFoundError, "Function call 'fc-…' not found" (G).
  argument or result too large: `max_blob_bytes`: InvalidError, "Object of … bytes is larger than
    the limit of …" (G); for a result it was raised in the container, which lives on.
  result too large for the service: `max_result_bytes`: the container's client raises InvalidError
    (wording G) where it hands the output over; what a client gets is what comes of that.

The client itself
  killed: its app ends `heartbeat_timeout_s` after the last heartbeat, of which it sends one each
    MODAL_HEARTBEAT_INTERVAL seconds (15). Ctrl-C and exceptions end the app at once.
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
    """Settings of the service; as they stand here nothing goes wrong."""

    image_failure: ImageFailure | None = None
    refuse_tokens: bool = False
    silent: bool = False  # Takes requests of clients and answers them when this is over.
    max_blob_bytes: int = 1 << 30
    max_result_bytes: int = 1 << 30  # Of one answer, whether it goes through a blob or not.
    lost_inputs_fail: bool = False  # A dead container's inputs fail instead of going elsewhere.
    crashes: int = 8  # In a row, of one function of an ephemeral app, that are put up with.
    start_failures: int = 1  # The same for failing imports and `@enter`.
    heartbeat_timeout_s: float = 60.0  # After that long in silence an ephemeral app is ended.
    grace_s: float = 5.0  # From asking a container to end to killing it; 30 on Modal.
    timeout_s: float = 0.0  # In place of the functions' own, where above 0.
    scaledown_s: float = 0.0  # In place of the functions' own window, where above 0.
    max_containers: int = 8  # Of functions that name no maximum.
    refuse_untrusted: bool = False  # Calls on volumes and stops by functions without Modal access.
