"""What goes wrong at Modal reaches the client as `local_modal.faults` says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from local_modal import LocalModal

pytestmark = pytest.mark.timeout(120)


def test_an_image_that_does_not_build(
    local_modal: LocalModal, capfd: pytest.CaptureFixture[str]
) -> None:
    import modal
    import sample_app

    local_modal.fail_images("pip failed with exit code 1", log="ERROR: No matching version\n")
    app, _ = sample_app.make_app()
    with (
        modal.enable_output(),
        pytest.raises(modal.exception.ImageBuildError, match="pip failed with exit code 1"),
        app.run(),
    ):
        pass
    assert "No matching version" in capfd.readouterr().out
    local_modal.fail_images()
    with pytest.raises(modal.exception.ImageBuildError, match="View the build logs"), app.run():
        pass
    assert not any(one["running"] for one in local_modal.apps())


def test_a_container_that_cannot_start(local_modal: LocalModal) -> None:
    import sample_app

    app, broken = sample_app.make_app(sample_app.Broken)
    with app.run(), pytest.raises(RuntimeError, match="no device here"):
        broken().work.remote()


def test_preemption_begins_the_same_input_again(local_modal: LocalModal, tmp_path: Path) -> None:
    import sample_app

    note = tmp_path / "note"
    app, sample = sample_app.make_app()
    with app.run():
        call = sample().sleep_at_first.spawn(60, str(note))
        container = busy(local_modal, note)
        local_modal.set_faults(grace_s=30.0)  # As on Modal: `@exit` is to be seen to its end.
        local_modal.preempt(container["task_id"])
        pid = call.get(timeout=60)
    assert note.read_text().split() == [str(container["pid"]), str(pid)]
    assert "left" in local_modal.output(container["task_id"])  # `@exit` ran.
    assert local_modal.inputs() == {"total": 1, "done": 1, "deliveries": 2}


def test_containers_that_keep_running_out_of_memory(
    local_modal: LocalModal, tmp_path: Path
) -> None:
    import modal
    import sample_app

    local_modal.set_faults(crashes=1)
    app, sample = sample_app.make_app()
    with app.run():
        call = sample().sleep.spawn(60, str(tmp_path / "note"))
        for _ in range(2):
            container = local_modal.wait_busy()
            local_modal.run_out_of_memory(container["task_id"])
            ended(local_modal, container["task_id"])
        with pytest.raises(modal.exception.RemoteError, match="out of memory"):
            call.get(timeout=30)
    killed = [c for c in local_modal.containers(live=False) if c["killed"] == "out of memory"]
    assert [c["exit_code"] for c in killed] == [137, 137]


def test_two_hundred_inputs_while_containers_are_killed(
    local_modal: LocalModal, tmp_path: Path
) -> None:
    import sample_app

    def killed() -> int:
        ended = local_modal.containers(live=False)
        return sum(one["killed"] == "killed by the test" for one in ended)

    app, sample = sample_app.make_app(max_containers=4)
    marks, all_killed = tmp_path / "marks", tmp_path / "all killed"
    marks.mkdir()
    with app.run():
        # Some are left to be killed in, however slowly that goes.
        calls = [
            sample().mark.spawn(str(marks), number, str(all_killed) if number >= 150 else "")
            for number in range(200)
        ]
        for number in (1, 2, 3):
            while killed() < number:  # One that has just ended is not killed any more.
                local_modal.kill(local_modal.wait_busy()["task_id"])
        all_killed.touch()
        assert [call.get(timeout=60) for call in calls] == list(range(200))
    assert local_modal.inputs()["done"] == local_modal.inputs()["total"] == 200
    assert len(list(marks.iterdir())) == 200
    assert killed() == 3


def test_containers_that_keep_crashing(local_modal: LocalModal) -> None:
    import modal
    import sample_app

    local_modal.set_faults(crashes=1)
    app, sample = sample_app.make_app()
    with app.run(), pytest.raises(modal.exception.RemoteError, match="keep crashing: exit code 3"):
        sample().leave.remote(3)


def test_a_lost_input(local_modal: LocalModal) -> None:
    import modal
    import sample_app

    local_modal.set_faults(lost_inputs_fail=True)
    app, sample = sample_app.make_app()
    with app.run():
        call = sample().sleep.spawn(60)
        local_modal.kill(local_modal.wait_busy()["task_id"])
        with pytest.raises(modal.exception.InternalFailure, match="was lost"):
            call.get(timeout=30)


def test_a_function_with_retries_tries_again(local_modal: LocalModal, tmp_path: Path) -> None:
    import modal
    import sample_app

    retries = modal.Retries(max_retries=2, initial_delay=0.0, backoff_coefficient=1.0)
    app, sample = sample_app.make_app(retries=retries)
    with app.run():
        for name, run in (
            ("remote", lambda note: sample().fail_twice.remote(note)),
            ("spawn", lambda note: sample().fail_twice.spawn(note).get(timeout=30)),
        ):
            note = tmp_path / name
            assert run(str(note)) == 3, name
            assert len(note.read_text()) == 3


def test_a_function_without_access_to_modal(local_modal: LocalModal) -> None:
    import modal
    import sample_app

    local_modal.set_faults(refuse_untrusted=True)
    app, sample = sample_app.make_app(restrict_modal_access=True)
    with app.run():
        assert sample().add.remote(1) == 1
        with pytest.raises(modal.exception.PermissionDeniedError, match="no access to Modal"):
            sample().last_one.remote()


def test_an_output_that_has_expired(local_modal: LocalModal) -> None:
    import modal
    import sample_app

    app, sample = sample_app.make_app()
    with app.run():
        call = sample().add.spawn(1)
        assert call.get() == 1
        local_modal.expire_outputs()
        with pytest.raises(modal.exception.OutputExpiredError):
            call.get(timeout=0.1)
        local_modal.forget_calls()
        with pytest.raises(modal.exception.NotFoundError, match="Function call"):
            call.get(timeout=0.1)


def test_what_is_too_large(local_modal: LocalModal) -> None:
    import modal
    import sample_app

    local_modal.set_faults(max_blob_bytes=3 << 20)
    app, sample = sample_app.make_app()
    with app.run():
        with pytest.raises(modal.exception.InvalidError, match="larger than the limit"):
            sample().double.remote(bytes(2 << 20))  # Its result is.
        with pytest.raises(modal.exception.InvalidError, match="larger than the limit"):
            sample().double.remote(bytes(4 << 20))
        assert sample().add.remote(1) == 1


def test_an_app_that_is_stopped_from_outside(local_modal: LocalModal) -> None:
    import modal
    import sample_app

    app, sample = sample_app.make_app()
    with app.run():
        call = sample().sleep.spawn(60)
        container = local_modal.wait_busy()
        local_modal.stop_app(container["app_id"])
        with pytest.raises(modal.exception.RemoteError, match="stopped from outside"):
            call.get(timeout=30)
        with pytest.raises(modal.exception.ConflictError, match="is stopped"):
            sample().add.remote(1)
        assert local_modal.wait_containers(0) == []


def test_a_call_that_is_cancelled(local_modal: LocalModal, tmp_path: Path) -> None:
    import modal
    import sample_app

    app, sample = sample_app.make_app()
    with app.run():
        note = tmp_path / "note"
        call = sample().sleep.spawn(60, str(note))
        pid = busy(local_modal, note)["pid"]
        call.cancel()
        with pytest.raises(modal.exception.RemoteError):
            call.get(timeout=30)
        assert sample().whoami.remote()["pid"] == pid
        call = sample().cling.spawn(60)
        container = local_modal.wait_busy()
        call.cancel(terminate_containers=True)
        with pytest.raises(modal.exception.RemoteError, match="cancelled"):
            call.get(timeout=30)
        assert sample().whoami.remote()["pid"] != pid
    assert ended(local_modal, container["task_id"])["exit_code"] == 137


def busy(local_modal: LocalModal, note: Path) -> dict[str, Any]:
    """The container that has begun with the call that leaves the note."""
    container = local_modal.wait_busy()
    while not note.exists() or not note.read_text():
        assert local_modal.wait_busy()
    return container


def ended(local_modal: LocalModal, task_id: str) -> dict[str, Any]:
    """Wait until a container has ended; what it was."""
    while True:
        (one,) = [c for c in local_modal.containers(live=False) if c["task_id"] == task_id]
        if not one["live"]:
            return one
