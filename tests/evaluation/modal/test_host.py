"""Inside a container: a worker is held, looked after, and given up with the container."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from kernels import KERNEL, SOFTMAX_C, TASK, compiled_kernel, kernel, quick

from kbexp.config import Isolation
from kbexp.evaluation.modal import host as host_module
from kbexp.evaluation.modal.arguments import sources_fingerprint
from kbexp.evaluation.modal.host import Host, device_answers
from kbexp.evaluation.modal.messages import Report, verdict_of
from kbexp.kernel import Kernel
from kbexp.task import Task
from kbexp.worker.parcel import pack, unpack

SMALL = Task("small", TASK)


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("builds")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KBEXP_BUILDS", str(folder))
        patch.setenv("MODAL_TASK_ID", "ta-test")
        yield folder


@pytest.fixture(scope="module")
def host(builds: Path) -> Iterator[Host]:
    held = Host("cpu")
    held.start()
    yield held
    folder = held._folder
    held.close()
    assert not folder.exists()


def request(subject: Kernel, name: str, task: Task = SMALL, **more: Any) -> dict[str, Any]:
    settings = more.pop("settings", quick())
    order = {
        "id": name,
        "task": {"name": task.name, "source": task.source},
        "kernel": subject.source,
        "kernel_id": subject.id,
        "settings": asdict(settings),
        **more,
    }
    return json.loads(json.dumps(order))  # type: ignore[no-any-return]


def worker_pid(host: Host) -> int:
    assert host._worker is not None
    return host._worker.pid


def test_a_request_is_judged_once_however_often_it_comes(host: Host) -> None:
    subject = Kernel(KERNEL)
    first = host.judge(request(subject, "one"))
    again = host.judge(request(subject, "one"))
    assert verdict_of(first["verdict"], SMALL, subject).correct
    assert again["verdict"] == first["verdict"]
    reports = [Report.of(answer["container"]) for answer in (first, again)]
    assert [report.judged for report in reports] == [1, 1]
    report = reports[0]
    assert report.container == "ta-test"
    assert 0 < report.cold_s <= report.age_s
    assert report.device == first["verdict"]["device"]
    assert report.sources == sources_fingerprint()
    assert report.isolation == first["verdict"]["isolation"]
    assert not report.retiring


def test_a_faulty_task_is_an_error_and_the_container_goes_on(host: Host) -> None:
    broken = Task("broken", "raise SystemExit")
    answer = host.judge(request(Kernel(KERNEL), "broken", broken))
    assert answer["error"]["kind"] == "TaskError"
    assert not answer["container"]["retiring"]


def test_a_worker_that_dies_is_started_again_and_the_kernel_judged(host: Host) -> None:
    before = worker_pid(host)
    slow = kernel("time.sleep(0.2)\nreturn torch.softmax(x * self.weight, dim=-1)")
    killer = threading.Timer(0.5, os.kill, (before, signal.SIGKILL))
    killer.start()
    answer = host.judge(request(slow, "killed"))
    killer.join()
    assert verdict_of(answer["verdict"], SMALL, slow).correct
    assert worker_pid(host) != before


def test_what_is_cancelled_is_not_answered_by_the_next_request(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> Any:
        raise KeyboardInterrupt

    assert host._worker is not None
    monkeypatch.setattr(host._worker, "_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        host.judge(request(kernel("return x"), "cancelled"))
    subject = Kernel(KERNEL)
    answer = host.judge(request(subject, "after"))
    assert verdict_of(answer["verdict"], SMALL, subject).correct


def test_walls_that_are_asked_for_are_built_again(host: Host) -> None:
    subject = Kernel(KERNEL)
    plain = quick(isolation=Isolation.process)
    answer = host.judge(request(subject, "plain", settings=plain))
    assert answer["verdict"]["isolation"] == "process"
    # Where nothing walls a compiler in, it is given no volume to write to.
    built = host.build(request(compiled_kernel(), "b0", settings=plain, ahead=AHEAD), fail)
    assert built["build"] is None
    answer = host.judge(request(subject, "walled"))
    assert answer["verdict"]["isolation"] != "process"


AHEAD = {"device": "cpu", "capability": ""}


def fail() -> None:
    raise AssertionError("nothing was to be made visible")


def test_a_build_is_made_once_and_what_was_built_is_run(
    host: Host, builds: Path, tmp_path: Path
) -> None:
    subject = compiled_kernel()
    commits: list[int] = []
    answer = host.build(request(subject, "b1", ahead=AHEAD), lambda: commits.append(1))
    key = answer["build"]
    assert [path.name for path in builds.iterdir()] == [key]
    assert commits == [1]
    assert host.build(request(subject, "b2", ahead=AHEAD), fail)["build"] == key

    # Other code under the same name and time: only what was built elsewhere can give its answers.
    folder = tmp_path / "out"
    unpack(builds / key, folder)
    (library,) = folder.rglob("*.so")
    times = library.stat().st_mtime_ns
    wrong = SOFTMAX_C.replace("/= sum", "*= 0")
    (tmp_path / "wrong.cpp").write_text(wrong)
    subprocess.run(
        ["c++", "-shared", "-fPIC", "-o", str(library), str(tmp_path / "wrong.cpp")], check=True
    )
    os.utime(library, ns=(times, times))
    pack(folder, builds / "other")

    fresh = Host("cpu")
    fresh.start()
    try:
        judged = fresh.judge(request(subject, "j1", build="other"), fail)
        assert judged["verdict"]["status"] == "incorrect", judged
    finally:
        fresh.close()


def test_a_build_that_is_not_seen_is_looked_for_again_and_then_made_here(
    host: Host, builds: Path
) -> None:
    looked: list[int] = []
    subject = compiled_kernel(name="unseen")
    answer = host.judge(request(subject, "j2", build="nowhere"), lambda: looked.append(1))
    assert looked == [1]
    assert verdict_of(answer["verdict"], SMALL, subject).correct

    def refused() -> None:
        raise PermissionError("not allowed")

    again = host.judge(request(subject, "j3", build="../../etc/passwd"), refused)
    assert verdict_of(again["verdict"], SMALL, subject).correct


def test_what_does_not_compile_ends_where_it_is_built(host: Host) -> None:
    subject = compiled_kernel(SOFTMAX_C + "\nthis is no C;", "broken")
    answer = host.build(request(subject, "b3", ahead=AHEAD), fail)
    verdict = verdict_of(answer["verdict"], SMALL, subject)
    assert verdict.status == "compile_error"
    assert "error" in verdict.log


def test_a_build_that_cannot_be_made_visible_is_not_promised(host: Host, builds: Path) -> None:
    subject = compiled_kernel(name="unkept")
    before = set(builds.iterdir())
    answer = host.build(request(subject, "b4", ahead=AHEAD), fail)
    assert answer["build"] is None
    assert set(builds.iterdir()) == before


def test_a_worker_that_does_not_start_is_said_and_the_container_retires(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(host_module.sys, "executable", "/bin/false")
    monkeypatch.setattr("kbexp.evaluation.process.sys.executable", "/bin/false")
    held = Host("cpu")
    held.start()
    answer = held.judge(request(Kernel(KERNEL), "one"))
    held.close()
    assert "does not start" in answer["lost"]
    assert answer["container"]["retiring"]


def test_the_oldest_builds_make_room(tmp_path: Path) -> None:
    for age, name in enumerate(("newest", "middle", "oldest")):
        (tmp_path / name).write_bytes(b"x" * 100)
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    host_module.prune(tmp_path, 250)
    assert {path.name for path in tmp_path.iterdir()} == {"newest", "middle"}


def test_a_device_answers_or_does_not() -> None:
    assert device_answers("cpu", "raise SystemExit(1)")
    assert device_answers("cuda:0", "import sys; assert sys.argv[1] == 'cuda:0'")
    assert not device_answers("cuda:0", "raise SystemExit(1)")


def test_the_age_of_a_process_grows() -> None:
    before = host_module.process_age_s()
    time.sleep(0.05)
    assert before < host_module.process_age_s() < 3600 * 24
