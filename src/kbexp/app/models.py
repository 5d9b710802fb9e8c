"""What answers in a run, by its configuration: a model, a recording, a model of embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kbexp.config import LlmConfig, ModelChoice, RunConfig
from kbexp.errors import KbexpError
from kbexp.events import Event, RunStarted
from kbexp.proposals.texts import Texts
from kbexp.score import score_for
from kbexp.search_config import SearchMode
from kbexp.task import Task
from kbexp.tracking import read
from kbexp.tracking.run_info import JOURNAL_NAME

if TYPE_CHECKING:
    from kbexp.candidate import Embedder, Proposal, ProposalRequest, Summarizer

REPLAY = "replay"
"""The model's name where the answers of an earlier run are repeated."""


class RunProposer(Protocol):
    """A proposer that follows its run: `apply` gets every event once it is in the journal."""

    notes: list[str]

    def apply(self, event: Event) -> None:
        """Take one event in."""
        ...

    def propose(self, request: ProposalRequest) -> Proposal:
        """Ask once and return what came."""
        ...


def open_proposer(config: RunConfig, task: Task, journal: Path) -> RunProposer:
    """Return what proposes kernels, with what the run's journal holds so far taken in.

    Raises KbexpError for settings that cannot work and ModelUnavailable for a key that is missing.
    """
    if replays(config.llm):
        from kbexp.proposals.replay import Recording, ReplayProposer

        path = recorded(config.llm)
        return ReplayProposer(Recording.of(path, read(path / JOURNAL_NAME)), task)
    from kbexp.proposals.device import device_facts
    from kbexp.proposals.litellm_setup import import_opto
    from kbexp.proposals.proposer import LlmProposer

    proposer = LlmProposer(
        task,
        device_facts(config.gpu),
        config.llm,
        score=score_for(config.metric),
        by_steps=config.search.mode is SearchMode.steps,
    )
    if config.llm.models and config.llm.choice is ModelChoice.bandit:
        for event in read(journal):
            proposer.apply(event)
    import_opto()
    return proposer


def open_summarizer(config: RunConfig, task: Task) -> Summarizer | None:
    """Return what writes the run's summaries, None where it has none."""
    if not config.algorithm.summarizer:
        return None
    if replays(config.llm):
        from kbexp.proposals.replay import Recording, ReplaySummarizer

        path = recorded(config.llm)
        return ReplaySummarizer(Recording.of(path, read(path / JOURNAL_NAME)))
    from kbexp.proposals.device import device_facts
    from kbexp.proposals.summarizer import LlmSummarizer

    return LlmSummarizer(task, device_facts(config.gpu), config.llm)


def open_embedder(config: RunConfig) -> Embedder | None:
    """Return what embeds kernels, None where the ε-net compares them by their tokens."""
    algorithm = config.algorithm
    if algorithm.embedding_model is None or not algorithm.epsilon:
        return None
    from kbexp.proposals.embedding import LiteLlmEmbedder
    from kbexp.proposals.embedding_cache import default_folder

    return LiteLlmEmbedder(
        algorithm.embedding_model,
        config.llm,
        default_folder(),
        api_base=algorithm.embedding_api_base,
        api_key_env=algorithm.embedding_api_key_env,
        usd_per_mtok=algorithm.embedding_usd_per_mtok,
    )


def replays(config: LlmConfig) -> bool:
    """True where the answers of an earlier run are repeated."""
    return config.model == REPLAY


def recorded(config: LlmConfig) -> Path:
    """Return the folder of the run that is repeated; raises KbexpError where it holds none."""
    if not config.path:
        raise KbexpError(
            "llm.path has no value: give the folder of the run whose answers llm=replay repeats, "
            "as llm.path=…"
        )
    path = Path(config.path).expanduser()
    if not (path / JOURNAL_NAME).is_file():
        raise KbexpError(
            f"There is no run in {path} (llm.path): give the folder of one, in which its "
            f"{JOURNAL_NAME} lies."
        )
    return path


def check_models(config: RunConfig) -> None:
    """Raise KbexpError for texts that cannot be used, and for a recording of another seed."""
    Texts(config.llm.prompt_dir)
    if not replays(config.llm):
        return
    path = recorded(config.llm)
    started = (event for event in read(path / JOURNAL_NAME) if isinstance(event, RunStarted))
    first = next(started, None)
    search: Any = first.about.get("search") if first else None
    seed = search.get("seed") if isinstance(search, Mapping) else None
    if seed != config.seed:
        raise KbexpError(
            f"The run in {path} (llm.path) had the seed {seed}: give seed={seed} to have its "
            "answers once more."
        )
