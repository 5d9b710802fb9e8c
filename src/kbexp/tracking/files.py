"""The files that MLflow and W&B keep of a run."""

from __future__ import annotations

import json
from pathlib import Path

from kbexp.summary import RunSummary
from kbexp.tracking.run_info import RunInfo


def final_files(run: RunInfo, summary: RunSummary) -> dict[str, str]:
    """Return the best kernel, where there is one, and the result, as texts by their names.

    Those in the run's folder are taken where they are this run's; one that an earlier session
    left there, or that is not written yet, is made from the events.
    """
    files = {}
    best = summary.winner
    if best is not None and best.searched.source:
        written = _text(run.folder / "best_kernel.py")
        source = best.searched.source.encode("utf-8", "replace").decode()
        files["best_kernel.py"] = written if written.startswith(source) else source
    written, made = _text(run.folder / "result.json"), summary.to_record()
    fresh = _same(written, made)
    files["result.json"] = written if fresh else json.dumps(made, indent=2, default=str) + "\n"
    return files


def _same(written: str, made: dict[str, object]) -> bool:
    try:
        found = json.loads(written)
    except ValueError:
        return False
    return isinstance(found, dict) and all(
        found.get(key) == made[key] for key in ("state", "reason", "counts")
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
