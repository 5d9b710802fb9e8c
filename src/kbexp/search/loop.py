"""The way in: runs an algorithm until it is done, out of budget, stopped or failed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Event as Flag

from kbexp.budget import Budget
from kbexp.candidate import Embedder, Proposer, Summarizer
from kbexp.errors import KbexpError
from kbexp.events import Event
from kbexp.kernel import Kernel
from kbexp.search.algorithm import epsilon_net, validate
from kbexp.search.archive import Archive
from kbexp.search.board import Board
from kbexp.search.engine import Engine
from kbexp.search.inflight import InFlight, Submit
from kbexp.search.outcome import Outcome
from kbexp.search.rivals import RIVALS, Tell
from kbexp.search.score import Score
from kbexp.search.steps import Steps
from kbexp.search.stream import Stream
from kbexp.search_config import AlgorithmConfig, SearchConfig, SearchMode


def new_archive(how: SearchConfig) -> Archive:
    """Return an empty archive of the kind that a search needs that goes on in this way."""
    return Archive(ordered=how.mode == SearchMode.steps)


def search(
    config: AlgorithmConfig,
    *,
    how: SearchConfig | None = None,
    seed_kernel: Kernel,
    proposer: Proposer,
    submit: Submit,
    record: Callable[[Event], None],
    commit: Callable[[], None] = lambda: None,
    budget: Budget,
    score: Score,
    seed: int,
    stop: Flag,
    archive: Archive | None = None,
    retest: Submit | None = None,
    summarizer: Summarizer | None = None,
    embedder: Embedder | None = None,
    tell: Tell | None = None,
    grace_s: float = 3.0,
) -> Outcome:
    """Search until all is asked and judged or the budget is spent, whichever is first.

    - `how` says whether that goes in a stream or in steps.
    - `seed_kernel` is judged first, once; everything descends from it.
    - `proposer.propose` is called from up to `config.num_threads` threads at once.
    - `submit` hands a kernel to the evaluator and returns at once; its future gives the verdict.
      Several kernels are handed over at once. A future that is cancelled before its evaluation
      has begun must not run; one that runs should be marked as running, and may end early.
    - `record` writes one event to the journal before the event is used, so that it outlives this
      process, and `commit` has all that was recorded outlive the machine. It is called before a
      request is sent or a kernel handed over, and at the end; only this thread calls both.
    - `seed` is the run's: every request has a seed that follows from it and the request's number.
    - `archive` is what an earlier session of the same run came to, from `new_archive`.
    - `retest` judges on purpose a kernel that has a verdict, with fresh inputs; it is `submit`
      where that never answers from a memory.
    - `summarizer` writes the rolling summary where `config.summarizer` asks for one.
    - `embedder` gives the vectors that the ε-net compares, token trigrams where it is None.
    - `tell` puts a verdict into words, for a rival whose package writes its own questions.
    - When the run is stopped, calls in flight are waited for `grace_s` at most.

    Raises KbexpError for settings that cannot be, before anything is recorded.
    """
    how = how or SearchConfig()
    algorithm = validate(config, how)
    if config.summarizer and summarizer is None:
        raise KbexpError(
            "algorithm.summarizer=true needs a model that can write summaries: set it to false, "
            "or choose another model."
        )
    archive = new_archive(how) if archive is None else archive
    if archive.ordered != (how.mode == SearchMode.steps):
        raise ValueError("the archive is of a search in another mode")
    if archive.held and next(iter(archive.held)) != seed_kernel.id:
        raise ValueError("the archive is of a run with another first kernel")
    budget.resume(archive.spending)
    net = epsilon_net(config, embedder)
    engine: Callable[..., Engine] = Steps if how.mode == SearchMode.steps else Stream
    if config.kind in RIVALS:
        from kbexp.search.rivals.search import RivalSearch

        if tell is None:
            raise ValueError("a rival has to be told verdicts in words")
        engine = partial(RivalSearch, tell=tell)
    return engine(
        config=config,
        how=how,
        algorithm=algorithm,
        seed_kernel=seed_kernel,
        submit=submit,
        retest=retest or submit,
        record=record,
        commit=commit,
        budget=budget,
        score=score,
        seed=seed,
        archive=archive,
        board=Board(archive, score),
        flying=InFlight(proposer, summarizer, net.embedder if net else None),
        net=net,
        grace_s=grace_s,
    ).run(stop)
