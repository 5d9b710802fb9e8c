"""The local Modal does what the tests of the evaluator take for granted of Modal."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from local_modal import LocalModal

pytestmark = pytest.mark.timeout(120)

MIB = 1 << 20


def test_the_folder_named_modal_does_not_hide_the_library() -> None:
    import modal

    assert Path(modal.__file__).parent.parent.name == "site-packages"


def test_one_process_is_entered_once_and_answers_many_calls(local_modal: LocalModal) -> None:
    import sample_app

    app, sample = sample_app.make_app()
    with app.run():
        seen = [sample().whoami.remote() for _ in range(3)]
        (container,) = local_modal.containers()
    assert {one["pid"] for one in seen} == {container["pid"]}
    assert [one["calls"] for one in seen] == [1, 2, 3]
    assert {one["entered"] for one in seen} == {1}
    assert local_modal.wait_containers(0) == []
    assert local_modal.output(container["task_id"]).split() == ["entered", "left"]


def test_a_container_has_its_mounts_and_nothing_of_the_client(
    local_modal: LocalModal, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sample_app

    import kbexp

    monkeypatch.setenv("SECRET_OF_THE_CLIENT", "sk-1")
    app, sample = sample_app.make_app()
    with app.run():
        seen = sample().whoami.remote()
        with pytest.raises(ModuleNotFoundError, match="kbexp"):
            sample().import_module.remote("kbexp")  # Installed in editable form, and not mounted.
    environment = seen["environment"]
    assert seen["file"] == f"{environment['HOME']}/sample_app.py"
    source = str(Path(kbexp.__file__).parent.parent)
    assert source not in seen["path"]
    assert environment["FROM_IMAGE"] == "a b"
    assert "SECRET_OF_THE_CLIENT" not in environment
    assert "MODAL_TOKEN_ID" not in environment
    assert "MODAL_TOKEN_SECRET" not in environment


def test_calls_of_every_kind(local_modal: LocalModal) -> None:
    import sample_app

    app, sample = sample_app.make_app()
    with app.run():
        one = sample()
        assert one.add.remote(1, b=2) == 3
        call = one.add.spawn(3, 4)
        assert call.get() == 7
        assert call.get(timeout=1) == 7
        assert list(one.add.starmap([(1, 2), (3, 4)])) == [3, 7]
        assert list(one.add.map(range(5), kwargs={"b": 1})) == [1, 2, 3, 4, 5]
        assert list(one.count.remote_gen(3)) == [0, 1, 2]
        with pytest.raises(ValueError, match="so be it"):
            one.fail.remote("so be it")
        late = one.sleep.spawn(0.5)
        with pytest.raises(TimeoutError):
            late.get(timeout=0)


def test_large_arguments_and_results_go_through_blobs(local_modal: LocalModal) -> None:
    import sample_app

    data = os.urandom(3 * MIB)
    app, sample = sample_app.make_app()
    with app.run():
        assert sample().double.remote(data) == data + data
        assert sample().double.spawn(data[:9000]).get() == data[:9000] * 2
    requests = local_modal.record()["requests"]
    assert requests["BlobCreate"] >= 2


def test_inputs_go_to_free_containers_and_never_to_more_than_there_may_be(
    local_modal: LocalModal, tmp_path: Path
) -> None:
    import sample_app

    app, sample = sample_app.make_app(max_containers=2)
    with app.run():
        pids = list(sample().meet.starmap([(str(tmp_path), 2)] * 6))
        assert len(local_modal.containers()) == 2
    assert len(set(pids)) == 2


def test_containers_are_kept_warm_and_others_end_when_idle(
    local_modal: LocalModal, tmp_path: Path
) -> None:
    import sample_app

    app, sample = sample_app.make_app(min_containers=1, max_containers=2)
    with app.run():
        (first,) = local_modal.wait_containers(1)
        list(sample().meet.starmap([(str(tmp_path), 2)] * 2))
        assert len(local_modal.containers()) == 2
        local_modal.set_faults(scaledown_s=0.2)
        (kept,) = local_modal.wait_containers(1)
    assert first["live"]
    ended = local_modal.containers(live=False)
    (idle,) = [c for c in ended if c["task_id"] != kept["task_id"]]
    assert idle["stopping"] == "idle for the scaledown window"
    assert "left" in local_modal.output(idle["task_id"])


def test_a_late_input_is_answered_and_its_container_goes_on(local_modal: LocalModal) -> None:
    import modal
    import sample_app

    app, sample = sample_app.make_app(timeout=30)
    with app.run():
        pid = sample().whoami.remote()["pid"]
        local_modal.set_faults(timeout_s=1.0)
        with pytest.raises(modal.exception.FunctionTimeoutError, match="hit its timeout of 1s"):
            sample().sleep.remote(60)
        local_modal.set_faults(timeout_s=0)
        assert sample().whoami.remote()["pid"] == pid


def test_a_container_that_does_not_let_go_is_killed(local_modal: LocalModal) -> None:
    import modal
    import sample_app

    local_modal.set_faults(timeout_s=0.2, grace_s=0.2)
    app, sample = sample_app.make_app()
    with app.run():
        with pytest.raises(modal.exception.FunctionTimeoutError):
            sample().cling.remote(60)
        local_modal.set_faults(timeout_s=0)
        assert sample().add.remote(1) == 1
    first, second = local_modal.containers(live=False)
    assert first["killed"] == "an input went on after its time"
    assert first["exit_code"] == 137
    assert second["answered"] == 1


def test_an_input_of_a_killed_container_begins_again(
    local_modal: LocalModal, tmp_path: Path
) -> None:
    import sample_app

    note = tmp_path / "note"
    app, sample = sample_app.make_app(max_containers=1)
    with app.run():
        call = sample().sleep_at_first.spawn(60, str(note))
        wait_for(note)
        (container,) = local_modal.containers()
        local_modal.kill(container["task_id"])
        pid = call.get(timeout=30)
    begun = [int(line) for line in note.read_text().split()]
    assert begun == [container["pid"], pid]
    first, second = local_modal.containers(live=False)
    assert first["exit_code"] == 137
    assert (first["answered"], second["answered"]) == (0, 1)


def test_nothing_that_a_container_started_outlives_it(
    local_modal: LocalModal, tmp_path: Path
) -> None:
    import sample_app

    app, sample = sample_app.make_app()
    with app.run():
        strays = [sample().leave_a_process.remote(), *sample().leave_a_namespace.remote()]
        assert all(psutil.pid_exists(stray) for stray in strays)
        (container,) = local_modal.containers()
        local_modal.kill(container["task_id"])
        assert local_modal.wait_containers(0) == []
        assert not any(psutil.pid_exists(stray) for stray in strays)


def test_volumes_are_seen_by_others_once_committed_and_reloaded(
    local_modal: LocalModal, tmp_path: Path
) -> None:
    import modal
    import sample_app

    volume = modal.Volume.from_name("cache", create_if_missing=True)
    app, sample = sample_app.make_app(
        volumes={sample_app.CACHE: volume}, max_containers=2, min_containers=2
    )
    with app.run():
        local_modal.wait_containers(2)
        one = sample()
        note, until = tmp_path / "note", tmp_path / "until"
        first = one.write.spawn("a", "text", str(note), str(until))
        wait_for(note)
        assert one.read.remote("a", False) is None  # By the other container: this one is busy.
        until.touch()
        assert first.get()
        results = list(one.read.map(["a", "a"], [True, True]))
    assert results == ["text", "text"]
    assert local_modal.volumes()[0]["commits"] >= 1


def test_a_deployed_app_stays_and_is_found_by_name(local_modal: LocalModal) -> None:
    import modal
    import sample_app

    app, _ = sample_app.make_app(name="stays")
    app.deploy()
    found = modal.Cls.from_name("stays", "Sample")
    pid = found().whoami.remote()["pid"]
    assert modal.Cls.from_name("stays", "Sample")().whoami.remote()["pid"] == pid
    smaller = found.with_options(max_containers=1, timeout=2)
    assert smaller().add.remote(1, 2) == 3
    assert len(local_modal.containers()) == 2

    again, _ = sample_app.make_app(name="stays")
    again.deploy()
    assert modal.Cls.from_name("stays", "Sample")().whoami.remote()["pid"] != pid
    (known,) = local_modal.apps()
    assert known["version"] == 2
    modal.App.lookup("stays").stop()
    assert local_modal.wait_containers(0) == []
    with pytest.raises(modal.exception.NotFoundError):
        modal.App.lookup("stays")
    with pytest.raises(modal.exception.NotFoundError, match="'stays'"):
        modal.Cls.from_name("stays", "Sample").hydrate()


def test_a_container_may_ask_for_no_more_inputs(local_modal: LocalModal) -> None:
    import sample_app

    app, sample = sample_app.make_app()
    with app.run():
        first = sample().last_one.remote()
        assert sample().whoami.remote()["pid"] != first


def wait_for(path: Path, timeout_s: float = 30) -> None:
    end = time.monotonic() + timeout_s
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.02)
