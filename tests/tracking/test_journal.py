"""The journal under crashes, full disks, other processes and many threads."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kbexp.errors import KbexpError
from kbexp.events import Event, ProposalAsked, StepDone
from kbexp.tracking import Journal, read
from kbexp.tracking.lines import GROUP_BYTES, encode

HERE = Path(__file__).parent


def step(number: int) -> StepDone:
    return StepDone(step=number, best_kernel_id=None, best_score=None)


def steps(path: Path) -> list[int]:
    return [event.step for event in read(path) if isinstance(event, StepDone)]


def test_what_was_appended_is_read_back(tmp_path: Path, make_events: Any) -> None:
    path = tmp_path / "new" / "folder" / "journal.jsonl"
    events: list[Event] = make_events()
    with Journal(path) as journal:
        for event in events:
            journal.append(event)
            assert path.read_bytes().endswith(encode(event))
    assert [encode(event) for event in read(path)] == [encode(event) for event in events]
    with pytest.raises(KbexpError, match="is closed"):
        journal.append(events[0])


def test_an_existing_journal_is_carried_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    for number in range(3):
        with Journal(path) as journal:
            journal.append(step(number))
    assert steps(path) == [0, 1, 2]


def test_a_torn_last_line_is_cut_off_wherever_it_was_torn(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    whole, last = encode(step(0)), encode(step(1))
    for length in range(len(last) - 1):
        path.write_bytes(whole + last[:length])
        assert steps(path) == [0]
        with Journal(path) as journal:
            journal.append(step(2))
        assert steps(path) == [0, 2]
        assert path.read_bytes().startswith(whole)


@pytest.mark.parametrize("tail", [b"\0" * 500, b'{"event": "st\0\0\0\0\n', b"\n", b"\xff\xfe\xfd"])
def test_rubbish_at_the_end_is_cut_off(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(encode(step(0)) + tail)
    assert steps(path) == [0]
    with Journal(path) as journal:
        journal.append(step(1))
    assert steps(path) == [0, 1]


def test_a_whole_line_that_lacks_its_newline_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(encode(step(0)) + encode(step(1))[:-1])
    assert steps(path) == [0, 1]
    with Journal(path) as journal:
        journal.append(step(2))
    assert steps(path) == [0, 1, 2]


def test_no_two_writers(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    program = (
        "import sys; from kbexp.tracking import Journal\n"
        "from kbexp.errors import KbexpError\n"
        "try: Journal(sys.argv[1])\n"
        "except KbexpError as error: print(error)\n"
        "else: print('opened')\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    with Journal(path) as journal:
        journal.append(step(0))
        with pytest.raises(KbexpError, match="written by another run"):
            Journal(path)
        list(read(path))  # Reading takes no lock and gives none up.
        other = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "written by another run" in other.stdout
        journal.append(step(1))
    other = subprocess.run(command, capture_output=True, text=True, check=True)
    assert other.stdout == "opened\n"


def test_a_forked_child_keeps_no_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.append(step(0))
    ready, hold = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:  # Nothing of pytest may run here.
        refused = False
        try:
            journal.append(step(9))
        except KbexpError:
            refused = True
        os.write(ready[1], b"y" if refused else b"n")
        os.close(hold[1])
        os.read(hold[0], 1)
        os._exit(0)
    assert os.read(ready[0], 1) == b"y"
    journal.append(step(1))
    journal.close()
    with Journal(path) as other:  # The child lives on and holds no lock.
        other.append(step(2))
    os.close(hold[1])
    os.waitpid(child, 0)
    for end in (*ready, hold[0]):
        os.close(end)
    assert steps(path) == [0, 1, 2]


def test_many_threads_append_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:

        def work(worker: int) -> None:
            for number in range(50):
                parents = ("p" * (number * 97 % 5000),)
                journal.append(ProposalAsked(number=number, parents=parents, seed=worker))

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    events = [event for event in read(path) if isinstance(event, ProposalAsked)]
    assert len(events) == 400
    for worker in range(8):
        assert [e.number for e in events if e.seed == worker] == list(range(50))


def test_nothing_acknowledged_is_lost_when_the_writer_is_killed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "killed_writers.py"), str(tmp_path / "j.jsonl"), "40", "1"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 0


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_sentence_and_costs_no_line(tiny_disk: Path) -> None:
    path = tiny_disk / "journal.jsonl"
    filler = tiny_disk / "filler"
    filler.write_bytes(b"x" * 100_000)
    large = ProposalAsked(number=0, parents=("p" * 30_000,), seed=0)
    with Journal(path) as journal:
        written = 0

        def fill() -> None:
            nonlocal written
            while written < 100:
                journal.append(large)
                written += 1

        with pytest.raises(KbexpError, match="cannot be written: No space left on device"):
            fill()
        assert written >= 3
        assert path.read_bytes() == encode(large) * written
        filler.unlink()
        journal.append(step(1))
    assert len(list(read(path))) == written + 1


def _write_past_the_limit(path: Path) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    large = ProposalAsked(number=0, parents=("p" * 30_000,), seed=0)
    with Journal(path) as journal:
        for _ in range(3):
            journal.append(large)
        try:
            journal.append(large)
        except KbexpError as error:
            assert "cannot be written: File too large" in str(error)  # noqa: PT017
        else:
            raise AssertionError("a line past the limit was written")
        journal.append(step(1))


def test_a_half_written_line_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    worker = multiprocessing.get_context("spawn").Process(
        target=_write_past_the_limit, args=(path,)
    )
    worker.start()
    worker.join(60)
    assert worker.exitcode == 0
    events = list(read(path))
    assert len(events) == 4
    assert path.read_bytes().endswith(encode(events[-1]))


def test_places_where_no_journal_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KbexpError, match="cannot be opened"):
        Journal(tmp_path / "file" / "journal.jsonl")
    with pytest.raises(KbexpError, match="cannot be opened: Is a directory"):
        Journal(tmp_path)


def test_a_journal_deleted_under_a_run_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append(step(0))
        path.unlink()
        with pytest.raises(KbexpError, match="it was deleted while the run"):
            journal.append(step(1))


def test_one_commit_serves_all_that_was_written_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.jsonl"
    synced: list[int] = []
    fsync = os.fsync

    def counting(fd: int) -> None:
        fsync(fd)
        synced.append(os.fstat(fd).st_size)

    class Reader:
        name = "reader"

        def __init__(self) -> None:
            self.seen: list[int] = []
            self.news = threading.Event()

        def on_event(self, event: Event) -> None:
            assert isinstance(event, StepDone)
            self.seen.append(event.step)
            self.news.set()

        def close(self, state: str) -> None:
            self.news.set()

    reader = Reader()
    with Journal(path) as journal:
        journal.subscribe(reader)
        monkeypatch.setattr(os, "fsync", counting)
        for number in range(5):
            journal.write(step(number))
            assert steps(path) == list(range(number + 1))  # What kills the process takes nothing.
        assert synced == []
        assert not reader.news.wait(0.05)  # What the disk may still lose, nobody is told of.
        journal.commit()
        journal.commit()
        assert synced == [path.stat().st_size]
        assert reader.news.wait(30)
        large = ProposalAsked(number=0, parents=("p" * (GROUP_BYTES // 2),), seed=0)
        for _ in range(4):
            journal.write(large)
        assert len(synced) == 4  # No more than so much waits, whoever forgets to commit.
        monkeypatch.undo()
        journal.write(step(5))
    assert len(list(read(path))) == 10


def test_what_a_power_cut_took_from_the_last_group_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    lines = [encode(step(number)) for number in range(6)]
    whole = b"".join(lines)
    ends = [sum(map(len, lines[:number])) for number in range(7)]
    for first in range(ends[1], len(whole) - 1, 17):
        for length in (1, 60, 200):  # A block of zeros, and what was written after it.
            lost = min(first + length, len(whole))
            path.write_bytes(whole[:first] + b"\0" * (lost - first) + whole[lost:])
            kept = [number for number in range(6) if ends[number + 1] <= first]
            assert steps(path) == kept
            with Journal(path) as journal:
                journal.append(step(9))
            assert steps(path) == [*kept, 9]
            assert path.read_bytes().startswith(whole[: ends[len(kept)]])


def test_zeros_far_from_the_end_are_no_power_cut(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    filler = encode(ProposalAsked(number=0, parents=("p" * GROUP_BYTES,), seed=0))
    text = encode(step(0)) + b"\0" * 40 + encode(step(1)) + filler
    path.write_bytes(text)
    with pytest.raises(KbexpError, match="Line 2 of the journal"):
        steps(path)
    with Journal(path), pytest.raises(KbexpError, match="Line 2 of the journal"):
        steps(path)
    assert path.read_bytes() == text
