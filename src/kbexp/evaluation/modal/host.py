"""What happens inside a container: it holds a worker, and never runs a kernel itself.

Nothing here knows Modal. The worker is a process of its own, as everywhere else; with it go the
zygote, the judge, the runners and the builders. This process only hands requests on, so that it
outlives them all.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from kbexp.config import EvaluatorConfig
from kbexp.errors import EvaluatorUnavailable
from kbexp.evaluation.modal.arguments import BUILDS, NOT_SHIPPED, PACKAGE, sources_fingerprint
from kbexp.evaluation.modal.messages import Report
from kbexp.evaluation.process import WorkerLost, WorkerProcess
from kbexp.verdict import Record, Status
from kbexp.worker.parcel import pack
from kbexp.worker.processes import clean_environment

MOST_ANSWERS = 64
"""Answers that are kept, so that an input that comes a second time is not judged again."""

MAX_BUILDS_BYTES = 16 * 2**30
"""Of the volume; Modal charges for what lies there."""

PROBE_TIMEOUT_S = 120.0
PROBE = "import sys, torch; torch.ones(8, device=sys.argv[1]).sum().item()"


def builds_folder() -> Path:
    """Return where this container sees the volume of builds."""
    return Path(os.environ.get("KBEXP_BUILDS", BUILDS))


class Host:
    """The life of one container: a worker for `device`, and what it has answered.

    A worker that dies is started again once for each request. Where that does not help, or its
    device fails, the host retires: its answer says so, and whoever holds it should end it.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._folder = Path(tempfile.mkdtemp(prefix="kbexp-container-"))
        self._worker: WorkerProcess | None = None
        self._isolation = EvaluatorConfig(name="").isolation
        self._broken = ""
        self._cold_s = 0.0
        self._name = ""
        self._judged = 0
        self._retiring = False
        self._answers: OrderedDict[str, Record] = OrderedDict()
        self._sources = sources_fingerprint()

    def start(self) -> None:
        """Start the worker; what fails is said in answer to every request."""
        # Where the package lies, unprivileged processes may not be allowed to look.
        self._folder.chmod(0o755)
        ignored = shutil.ignore_patterns("__pycache__", *NOT_SHIPPED)
        shutil.copytree(PACKAGE, self._folder / "source" / PACKAGE.name, ignore=ignored)
        self._start_worker()
        self._cold_s = process_age_s()

    def close(self) -> None:
        """End the worker and all that belongs to it."""
        self._end_worker()
        shutil.rmtree(self._folder, ignore_errors=True)

    def report(self) -> Report:
        """Return what this container is."""
        worker = self._worker
        return Report(
            container=os.environ.get("MODAL_TASK_ID") or socket.gethostname(),
            age_s=process_age_s(),
            cold_s=self._cold_s,
            isolation=worker.isolation if worker is not None else "",
            device=self._name,
            sources=self._sources,
            judged=self._judged,
            retiring=self._retiring,
        )

    def judge(self, request: Record, refresh: Callable[[], object] | None = None) -> Record:
        """Judge one kernel; the same request again gets the same answer.

        The answer holds `verdict`, `error` (what no other container would do better) or `lost`
        (what one may), and the container's report. `refresh` makes new builds visible; a request
        that names a `build` wants it first.
        """
        name = str(request["id"])
        if name not in self._answers:
            order = self._order(request)
            if request.get("build"):
                order |= self._parcel(str(request["build"]), refresh)
            self._answers[name] = {"id": name, **self._ask(order)}
            while len(self._answers) > MOST_ANSWERS:
                self._answers.popitem(last=False)
        return {**self._answers[name], "container": asdict(self.report())}

    def build(self, request: Record, commit: Callable[[], object]) -> Record:
        """Compile one kernel ahead; `commit` makes what was built visible to other containers.

        The answer holds `build` (its name, or null where there is nothing to build or it must not
        be done here), or what `judge` answers where the evaluation ends with it.
        """
        name = str(request["id"])
        order = self._order(request)
        key = f"{order['kernel_id']}.{str(request['ahead']['capability']) or 'cpu'}"
        parcel = builds_folder() / key
        answer: Record = {"id": name, "build": None}
        # Without walls around it, a compiler run by a kernel could write to the volume.
        walled = self._worker is not None and self._worker.isolation != "process"
        if walled and parcel.exists():
            answer["build"] = key
        elif walled:
            said = self._ask({**order, "ahead": request["ahead"]})
            if said.get("built"):
                kept = _keep(Path(said["built"]), parcel, commit)
                answer["build"] = key if kept else None
            elif "built" not in said:
                answer = {"id": name, **said}
        return {**answer, "container": asdict(self.report())}

    def _order(self, request: Record) -> Record:
        """Return a request as the worker takes it, with this container's own folders."""
        known = {entry.name for entry in fields(EvaluatorConfig)}
        given = {key: value for key, value in request["settings"].items() if key in known}
        settings = EvaluatorConfig(**given)
        if settings.isolation != self._isolation:
            self._isolation = settings.isolation
            self._start_worker()
        return {
            "id": str(request["id"]),
            "task": request["task"],
            "kernel": request["kernel"],
            "kernel_id": str(request["kernel_id"]),
            "settings": asdict(settings),
        }

    def _parcel(self, key: str, refresh: Callable[[], object] | None) -> Record:
        """Return the worker's word for a build, nothing where it is not to be seen here."""
        path = builds_folder() / Path(key).name
        if not path.exists() and refresh is not None:
            try:
                refresh()
            except Exception as error:
                print(f"The volume of builds cannot be read again: {error}", file=sys.stderr)
        return {"parcel": str(path)} if path.exists() else {}

    def _ask(self, order: Record) -> Record:
        """Ask the worker, once more where it dies; decide whether this container goes on."""
        if self._broken:
            return self._lost(self._broken)
        said, died = None, ""
        for _ in range(2):
            if self._worker is None:
                self._start_worker()
            if self._worker is None:
                return self._lost(self._broken)
            try:
                said = self._worker.ask(order)
                break
            except WorkerLost as error:
                died = f"the worker died twice ({error})"
                self._end_worker()
            except BaseException:
                # Cancelled, or to be preempted: the answer is not waited for any more.
                self._end_worker()
                raise
        if said is None:
            return self._lost(died)
        self._judged += 1
        verdict = said.get("verdict")
        if verdict is not None:
            self._name = str(verdict["device"])
            self._retiring |= verdict["status"] == Status.INFRASTRUCTURE_ERROR
        if "error" in said and not device_answers(self._device):
            return self._lost(f"the device {self._device} does not answer any more")
        return {key: said[key] for key in ("verdict", "built", "error") if key in said}

    def _lost(self, why: str) -> Record:
        self._retiring = True
        return {"lost": why}

    def _start_worker(self) -> None:
        self._end_worker()
        settings = EvaluatorConfig(
            name="container", isolation=self._isolation, cache_dir=str(self._folder / "builds")
        )
        worker = WorkerProcess(self._device, None, settings, self._folder / "source")
        try:
            worker.wait_ready()
        except (EvaluatorUnavailable, WorkerLost) as error:
            worker.close()
            self._broken = f"the worker does not start ({error})"
            return
        self._worker, self._broken = worker, ""

    def _end_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()


def _keep(built: Path, parcel: Path, commit: Callable[[], object]) -> bool:
    """Put a build where other containers find it, at once and as a whole; false where not."""
    part = parcel.with_name(f"{parcel.name}.{os.environ.get('MODAL_TASK_ID', '')}.part")
    try:
        pack(built, part)
        part.rename(parcel)
        prune(parcel.parent)
        commit()
    except Exception as error:  # whatever it is, the kernel can still be built elsewhere
        print(f"The build {parcel.name} is not kept: {error}", file=sys.stderr, flush=True)
        part.unlink(missing_ok=True)
        parcel.unlink(missing_ok=True)
        return False
    return True


def prune(folder: Path, most_bytes: int = MAX_BUILDS_BYTES) -> None:
    """Delete the oldest builds, above so many bytes."""
    total = 0
    found = [path for path in folder.iterdir() if path.is_file()]
    for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
        total += path.stat().st_size
        if total > most_bytes:
            path.unlink(missing_ok=True)


def device_answers(device: str, command: str = PROBE) -> bool:
    """Whether a new process can still use the device; a processor always answers."""
    if device == "cpu":
        return True
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", command, device],
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def process_age_s() -> float:
    """Return the seconds since this process was started."""
    try:
        text = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace")
        ticks = int(text.rpartition(")")[2].split()[19])
        uptime_s = float(Path("/proc/uptime").read_text(encoding="utf-8").split()[0])
        return max(0.0, uptime_s - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return time.monotonic() - _IMPORTED


_IMPORTED = time.monotonic()


def printed(record: dict[str, Any]) -> str:
    """Return a line for the container's log: what was asked or answered, without its texts."""
    told = ("id", "build", "lost")
    shown: dict[str, Any] = {key: record[key] for key in told if key in record}
    if "verdict" in record:
        shown["status"] = record["verdict"]["status"]
    return json.dumps(shown)
