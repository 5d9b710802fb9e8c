"""A journal on the disk, cut after every byte that matters, goes on as if it had not been."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from kbexp.events import RunStarted
from kbexp.search import Archive
from kbexp.search_config import AlgorithmConfig
from kbexp.tracking import Journal, read


@pytest.mark.parametrize("kind", ["priority", "beam", "random_restart"])
def test_a_journal_cut_at_every_boundary_and_within_lines(
    land: SimpleNamespace, tmp_path: Path, kind: str
) -> None:
    config = AlgorithmConfig(
        name="ps",
        kind=kind,
        num_steps=3,
        num_candidates=3,
        epsilon=0.05,
        summarizer=True,
        num_eval_samples=2,
    )

    def run(path: Path) -> object:
        """Search with a journal on the disk, from what stands in it."""
        with Journal(path) as journal:
            archive = Archive(read(path))
            journal.append(RunStarted(about={}))
            session = land.Run(
                config,
                seed=4,
                archive=archive,
                record=journal.write,
                commit=journal.commit,
                summarizer=land.Summarizer(),
            )
            return land.snapshot(session.go().archive)

    end = run(tmp_path / "whole")
    text = (tmp_path / "whole").read_bytes()
    kinds = {line.split(b'"')[3] for line in text.splitlines()}
    assert kinds >= {
        *(b"run_started", b"proposal_asked", b"proposal_received", b"evaluation_begun"),
        *(b"verdict", b"step", b"summary_written"),
    }
    ends = [i + 1 for i, byte in enumerate(text) if byte == ord("\n")]
    for number, cut in enumerate(ends):
        torn = number % 2 * (1 + number % 40)  # at the boundary, or some bytes into the next line
        path = tmp_path / f"{number}"
        path.write_bytes(text[: cut + torn])
        assert run(path) == end, f"cut after line {number + 1} and {torn} bytes"
        assert land.snapshot(Archive(read(path))) == end
