"""What a test drives the service with, in process (`LocalModal`) or from another (`OverHttp`)."""

from __future__ import annotations

import json
import urllib.request
from typing import Any


class Driver:
    """Look at the service, and make things go wrong: `faults` says what a client makes of it."""

    def do(self, command: str, **arguments: Any) -> Any:
        """Carry out a command of `control.Control`."""
        raise NotImplementedError

    def reset(self) -> None:
        """End all apps, take all faults back; returns when no container is left."""
        self.do("reset")

    def forget(self) -> None:
        """Know nothing more of what has ended; not while anything runs."""
        self.do("forget")

    def set_faults(self, **changes: Any) -> None:
        """Change settings of `faults.Faults`, by name."""
        self.do("set_faults", **changes)

    def fail_images(
        self, exception: str = "", log: str = "E: nothing built\n", status: str = "FAILURE"
    ) -> None:
        """Let every build of an image end so."""
        failure = {"exception": exception, "log": log, "status": status}
        self.do("set_faults", image_failure=failure)

    def listening(self, on: bool) -> None:
        """Accept connections or refuse them, also those that there are."""
        self.do("listening", on=on)

    def containers(self, live: bool = True) -> list[dict[str, Any]]:
        """Those that live, or all that ever did."""
        return self.do("containers", live=live)  # type: ignore[no-any-return]

    def wait_containers(self, count: int, timeout_s: float = 20) -> list[dict[str, Any]]:
        """Wait until so many live and are ready; those that live in the end."""
        return self.do("wait_containers", count=count, timeout_s=timeout_s)  # type: ignore[no-any-return]

    def wait_busy(self, timeout_s: float = 20) -> dict[str, Any]:
        """Wait until a container works on an input; the container."""
        found = self.do("wait_busy", timeout_s=timeout_s)
        assert found is not None, "no container works on anything"
        return found  # type: ignore[no-any-return]

    def kill(self, task_id: str) -> None:
        """SIGKILL a container's main process."""
        self.do("kill", task_id=task_id)

    def run_out_of_memory(self, task_id: str) -> None:
        """Kill a container as the service does when it uses too much memory."""
        self.do("run_out_of_memory", task_id=task_id)

    def preempt(self, task_id: str) -> None:
        """Interrupt a container, kill it after `grace_s`; its input begins again on a new one."""
        self.do("preempt", task_id=task_id)

    def expire_outputs(self) -> None:
        """Forget all outputs."""
        self.do("expire_outputs")

    def forget_calls(self) -> None:
        """Know no function call any more."""
        self.do("forget_calls")

    def stop_app(self, app_id: str) -> None:
        """Stop an app as `modal app stop` does."""
        self.do("stop_app", app_id=app_id)

    def apps(self) -> list[dict[str, Any]]:
        """All apps that ever were."""
        return self.do("apps")  # type: ignore[no-any-return]

    def functions(self) -> list[dict[str, Any]]:
        """All functions, as the client defined them."""
        return self.do("functions")  # type: ignore[no-any-return]

    def images(self) -> list[list[str]]:
        """The commands of each image's layer."""
        return self.do("images")  # type: ignore[no-any-return]

    def volumes(self) -> list[dict[str, Any]]:
        """Name, folder and commits of each volume."""
        return self.do("volumes")  # type: ignore[no-any-return]

    def inputs(self) -> dict[str, int]:
        """`total`, `done` and `deliveries` of inputs."""
        return self.do("inputs")  # type: ignore[no-any-return]

    def output(self, task_id: str) -> str:
        """What a container printed."""
        return self.do("output", task_id=task_id)  # type: ignore[no-any-return]

    def record(self) -> dict[str, Any]:
        """`requests` by name, calls that were `unserved`, `errors` of the service itself."""
        return self.do("record")  # type: ignore[no-any-return]


class OverHttp(Driver):
    """Drives a service in another process, by the address in its `LOCAL_MODAL_CONTROL`."""

    def __init__(self, url: str) -> None:
        self.url = url

    def do(self, command: str, **arguments: Any) -> Any:
        request = urllib.request.Request(
            f"{self.url}/{command}",
            data=json.dumps(arguments).encode(),
            headers={"Content-Type": "application/json"},
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.loads(response.read())
