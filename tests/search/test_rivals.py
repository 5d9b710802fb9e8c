"""GEPA and OpenEvolve, the real packages, over the made-up landscape."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from kbexp.candidate import Proposal, ProposalRequest
from kbexp.config import BudgetConfig
from kbexp.errors import KbexpError, ModelUnavailable
from kbexp.events import Event, Noted, ProposalAsked, RunStarted
from kbexp.search import Archive, RunState, validate
from kbexp.search.rivals import catalog
from kbexp.search.rivals import search as rivals_search
from kbexp.search.rivals.catalog import Rival, Settings
from kbexp.search.rivals.talk import NoKernel, Talk
from kbexp.search_config import AlgorithmConfig, SearchConfig, SearchMode
from kbexp.tracking import Journal, read
from kbexp.verdict import Verdict

RIVALS = ("gepa", "openevolve")


def settings(kind: str, **more: Any) -> AlgorithmConfig:
    given = {"num_steps": 12, "num_candidates": 1, "num_threads": 1}
    return AlgorithmConfig(name=kind, kind=kind, **(given | more))


def run_of(land: SimpleNamespace, kind: str, steps: int = 12, **more: Any) -> Any:
    given = {"how": SearchConfig(), "tell": words}
    return land.Run(settings(kind, num_steps=steps), **(given | more))


def words(verdict: Verdict) -> str:
    return f"The kernel is {verdict.status}, at {verdict.speedup}."


def running(kind: str) -> list[str]:
    """The threads and processes of a rival that are there now."""
    threads = [thread.name for thread in threading.enumerate() if thread.name == kind]
    children = psutil.Process().children(recursive=True)
    found = [" ".join(c.cmdline()) for c in children if c.status() != psutil.STATUS_ZOMBIE]
    return threads + [command for command in found if "kbexp.search.rivals" in command]


def replaced(monkeypatch: pytest.MonkeyPatch, play: Callable[[Talk, Settings], None]) -> None:
    """Have a rival of our own take GEPA's place."""
    monkeypatch.setitem(catalog.RIVALS, "gepa", Rival("gepa", play))


@pytest.mark.parametrize("kind", RIVALS)
def test_a_rival_searches_as_any_other_algorithm(land: SimpleNamespace, kind: str) -> None:
    run = run_of(land, kind, how=SearchConfig(max_staleness=0))
    outcome = run.go()
    archive = outcome.archive
    assert (outcome.state, outcome.reason) == (RunState.COMPLETE, "All 12 steps are done.")
    assert len(run.proposer.requests) == len(archive.proposals) == archive.steps_done == 12
    # Every new kernel is an evaluation, and nothing else is.
    new = {p.kernel.id for p in archive.proposals.values() if p.kernel is not None}
    assert set(archive.held) == {run.seed_kernel.id, *new}
    assert archive.spending.evaluations == len(archive.held)
    kernels = sum(p.kernel is not None for p in archive.proposals.values())
    assert len(archive.held) - 1 + len(archive.duplicates) == kernels
    # The kernel to improve stands in the rival's own words, and is known as the parent.
    for request in run.proposer.requests:
        assert request.question is not None
        assert request.parents[0].kernel.source.strip() in request.question.user
        assert words(archive.verdicts[request.parents[0].kernel.id][0]) in request.question.user
    assert len({request.parents[0].kernel.id for request in run.proposer.requests}) > 1
    assert not any(isinstance(event, Noted) for event in run.journal)
    assert not running(kind)


def test_the_mode_makes_no_difference(land: SimpleNamespace) -> None:
    stream, steps = (
        run_of(land, "gepa", 30, how=SearchConfig(mode=mode)).go() for mode in SearchMode
    )
    assert steps.reason == "All 30 steps are done."
    assert land.snapshot(steps.archive) == land.snapshot(stream.archive)


@pytest.mark.parametrize(
    ("kind", "limits"),
    [("gepa", limit) for limit in (0, 1, 2, 7)] + [("openevolve", 7)],
)
def test_budgets_are_held_exactly(land: SimpleNamespace, kind: str, limits: int) -> None:
    run = run_of(land, kind, 1000, limits=BudgetConfig(name="", evaluations=limits))
    outcome = run.go()
    assert outcome.state is RunState.COMPLETE
    assert outcome.archive.spending.evaluations == len(run.evaluator.judged) == limits
    if kind == "openevolve":
        return
    run = run_of(land, kind, 1000, limits=BudgetConfig(name="", proposals=limits))
    run.go()
    assert len(run.proposer.requests) == limits
    run = run_of(
        land, kind, 1000, limits=BudgetConfig(name="", llm_usd=limits * land.COST_USD),
        proposer=land.Mutator(faults=False),
    )  # fmt: skip
    assert run.go().archive.spending.llm_usd == limits * land.COST_USD


@pytest.mark.parametrize("kind", RIVALS)
def test_a_model_that_always_fails_pauses_the_run(land: SimpleNamespace, kind: str) -> None:
    class Silent(land.Mutator):  # type: ignore[name-defined, misc]
        def propose(self, request: ProposalRequest) -> Proposal:
            self.requests.append(request)
            raise ConnectionError("nobody there")

    run = run_of(land, kind, 1000, proposer=Silent())
    outcome = run.go()
    assert outcome.state is RunState.STOPPED
    assert isinstance(outcome.error, ModelUnavailable)
    assert len(run.proposer.requests) == 10
    assert not running(kind)


def test_where_no_model_is_left_the_run_fails(land: SimpleNamespace) -> None:
    class Gone(land.Mutator):  # type: ignore[name-defined, misc]
        def propose(self, request: ProposalRequest) -> Proposal:
            if len(self.requests) == 3:
                raise ModelUnavailable("The key is refused.")
            proposal: Proposal = super().propose(request)
            return proposal

    outcome = run_of(land, "gepa", proposer=Gone(faults=False)).go()
    assert (outcome.state, outcome.reason) == (RunState.FAILED, "The key is refused.")
    assert len(outcome.archive.proposals) == 3
    assert not running("gepa")


@pytest.mark.parametrize("kind", RIVALS)
def test_a_run_that_is_stopped_ends_the_rival(land: SimpleNamespace, kind: str) -> None:
    run = run_of(land, kind, 1000)

    def record(event: Event) -> None:
        if isinstance(event, ProposalAsked) and event.number == 4:
            run.stop.set()

    run.record = record
    outcome = run.go()
    assert outcome.state is RunState.STOPPED
    assert len(outcome.archive.proposals) == 5  # what was asked is waited for
    assert not running(kind)


def cuts(lines: list[bytes], kind: str) -> list[int]:
    """After how many lines to cut: everywhere, or late after every kind of line."""
    if kind == "gepa":
        return list(range(1, len(lines) + 1))
    last = {line.split(b'"')[3]: number for number, line in enumerate(lines[:-3], 1)}
    return sorted(last[kind] for kind in last if kind not in (b"run_started", b"step"))


@pytest.mark.parametrize("kind", RIVALS)
def test_a_run_cut_anywhere_ends_as_if_never_cut(
    land: SimpleNamespace, tmp_path: Path, kind: str
) -> None:
    def run(path: Path) -> tuple[object, list[int], list[Event]]:
        """Search with a journal on the disk, from what stands in it; say what was asked."""
        with Journal(path) as journal:
            archive = Archive(read(path), ordered=False)
            journal.append(RunStarted(about={}))
            session = run_of(land, kind, 12, seed=0, archive=archive, record=journal.append)
            end = land.snapshot(session.go().archive)
            return end, [r.number for r in session.proposer.requests], session.journal

    end, _, _ = run(tmp_path / "whole")
    lines = (tmp_path / "whole").read_bytes().splitlines(keepends=True)
    assert {line.split(b'"')[3] for line in lines} >= {b"duplicate", b"evaluation_begun", b"step"}
    for number in cuts(lines, kind):
        path, torn = tmp_path / f"{number}", lines[number][: number % 40] if number % 2 else b""
        path.write_bytes(b"".join(lines[:number]) + torn)
        answered = Archive(read(path), ordered=False).proposals
        again, asked, events = run(path)
        assert again == end, f"cut after line {number}"
        assert asked == list(range(len(answered), 12))  # nothing is paid for twice
        assert not any(isinstance(event, Noted) for event in events)


def test_a_rival_that_fails_or_ends_is_told_in_one_sentence(
    land: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(talk: Talk, settings: Settings) -> None:
        talk.judge(settings.first)
        raise AttributeError("no such thing")

    replaced(monkeypatch, broken)
    outcome = run_of(land, "gepa").go()
    assert outcome.state is RunState.FAILED
    assert "algorithm=gepa failed (AttributeError: no such thing)" in outcome.reason
    replaced(monkeypatch, lambda talk, settings: None)
    outcome = run_of(land, "gepa").go()
    assert (outcome.state, outcome.reason) == (RunState.COMPLETE, "gepa has ended its search.")


def test_a_rival_that_asks_nothing_ends_the_run(
    land: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = threading.Event()
    monkeypatch.setattr(rivals_search, "SILENT_S", 0.3)
    monkeypatch.setattr(rivals_search, "JOIN_S", 0.0)
    replaced(monkeypatch, lambda talk, settings: silent.wait(60) and None)
    outcome = run_of(land, "gepa").go()
    silent.set()
    assert outcome.state is RunState.FAILED
    assert "has asked nothing for 0.3 s" in outcome.reason


def test_what_a_rival_is_told(land: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def curious(talk: Talk, settings: Settings) -> None:
        seen.append(talk.judge(f"\n{settings.first.strip()}"))
        seen.append(talk.judge("a text that no model gave"))
        for _ in range(40):
            try:
                kernel = talk.ask("", settings.first)
            except NoKernel as none:
                seen.append(str(none))
                return
            assert talk.judge(kernel) == talk.judge(kernel.strip())

    replaced(monkeypatch, curious)
    run = run_of(land, "gepa", 40)
    run.go()
    first, unknown, why = seen
    assert (first.score, first.speedup) == (land.speedup_of(run.seed_kernel),) * 2
    assert first.feedback == words(land.verdict_of(run.seed_kernel))
    assert unknown.score == 0.0
    assert unknown.feedback.startswith("Not judged")
    assert why


def test_a_rival_that_asks_otherwise_than_before_is_noted_once(
    land: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refining(talk: Talk, settings: Settings) -> None:
        text = settings.first
        while True:
            text = talk.ask("", text)

    def repeating(talk: Talk, settings: Settings) -> None:
        while True:
            talk.ask("", settings.first)

    replaced(monkeypatch, refining)
    events: list[Event] = []
    run_of(land, "gepa", 5, proposer=land.Mutator(faults=False), record=events.append).go()
    replaced(monkeypatch, repeating)
    archive = Archive(events, ordered=False)
    run = run_of(land, "gepa", 8, archive=archive, proposer=land.Mutator(faults=False))
    assert run.go().state is RunState.COMPLETE
    (note,) = [event for event in run.journal if isinstance(event, Noted)]
    assert note.number == 1
    assert "otherwise than before" in note.text


@pytest.mark.parametrize("kind", RIVALS)
def test_a_package_that_is_missing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        KbexpError, match=rf"needs the package {kind}.*pip install -e '.\[{kind}\]'"
    ):
        validate(settings(kind))


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"num_threads": 4}, "algorithm.num_threads has no place in gepa.*leave it at 1"),
        ({"epsilon": 0.1}, "algorithm.epsilon has no place in gepa.*leave it at 0.0"),
        ({"summarizer": True}, "algorithm.summarizer has no place in gepa.*leave it at false"),
    ],
)
def test_settings_that_a_rival_does_not_have(more: dict[str, Any], sentence: str) -> None:
    with pytest.raises(KbexpError, match=sentence):
        validate(settings("gepa", **more))


def test_its_process_knows_no_key_and_dies_with_us() -> None:
    program = textwrap.dedent(
        """
        import threading
        from kbexp.search.rivals.catalog import Settings
        from kbexp.search.rivals.openevolve import play
        from kbexp.search.rivals.talk import Talk

        asked = threading.Event()
        talk = Talk(asked.set)
        threading.Thread(target=play, args=(talk, Settings(0, "first"))).start()
        asked.wait()
        print("asked", flush=True)
        """
    )
    environment = os.environ | {"OPENAI_API_KEY": "sk-that-must-appear-nowhere"}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"asked\n"
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        for child in children:
            assert "sk-that" not in str(child.environ())
            assert "OPENAI_API_KEY" not in child.environ()
        folder = Path(children[0].cwd())
        assert folder.name.startswith("kbexp-openevolve-")
        process.kill()
    deadline = time.monotonic() + 60
    while any(c.is_running() and c.status() != psutil.STATUS_ZOMBIE for c in children):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not folder.exists()
